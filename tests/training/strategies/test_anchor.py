import jax
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.errors import CompatibilityError
from mlffjax.structures.generic import halves
from mlffjax.training.batches import collect, gather, plan, samples
from mlffjax.training.config import LossConfig, ScheduleConfig
from mlffjax.training.fisher import fisher
from mlffjax.training.fit import fit
from mlffjax.training.generic_data import labelled, labelled_by
from mlffjax.training.metrics import ALL, evaluate
from mlffjax.training.recipe import all_weights
from mlffjax.training.strategies import anchor, finetune

RATE = 1e-3
FORCES = LossConfig(stress=0)  # quicker to compile


def start(ingredients, **choices):
    return anchor.build(anchor.Config(**choices), ingredients, key=jax.random.key(0))


@pytest.fixture(scope="module")
def last(rich):
    """Ingredients whose runs keep the last weights, and a way to train with them."""
    training = rich.training.model_copy(
        update={
            "keep": "last",
            "learning_rate": RATE,
            "epochs": 40,
            "ema": None,
            "batch": 2,
            "loss": FORCES,
        }
    )
    ingredients = rich._replace(training=training)
    frames = ingredients.dataset.frames

    def weights(recipe):
        fitted = fit(recipe, frames[:4], frames[4:6], training, seed=0)
        return fitted.potential.params["weights"]

    return ingredients, weights


@pytest.fixture(scope="module")
def generic_error(rich):
    """Force MAE against the foundation's own labels of other materials, eV/Å."""
    potential, training = rich.foundation[0], rich.training
    data = labelled_by(potential, (), rich.generic.frames[:4], training)

    def error(weights):
        realized = all_weights(data.potential)[1](weights)
        return evaluate(realized, data.held, buckets=1, dtype=np.float64)[ALL].forces_mae

    return error


def distance(weights, ingredients):
    foundation = ingredients.foundation[0].params["weights"]
    return max(abs(float(weights[name] - foundation[name])) for name in weights)


@pytest.mark.parametrize("importance", ["equal", "fisher"])
def test_without_strength_it_is_naive_fine_tuning_to_the_bit(last, importance):
    ingredients, trained = last
    naive = finetune.build(finetune.Config(), ingredients, key=jax.random.key(0))
    ours = start(ingredients, strength=0, importance=importance)
    first, second = trained(naive), trained(ours)
    assert distance(first, ingredients) > RATE
    for name, leaf in first.items():
        assert np.asarray(leaf).tobytes() == np.asarray(second[name]).tobytes()


@pytest.mark.parametrize("importance", ["equal", "fisher"])
def test_strength_goes_from_naive_fine_tuning_to_the_foundation(last, generic_error, importance):
    """Weights and what is forgotten; in the limit to the bit, as F > 0 for both weights."""
    ingredients, trained = last
    ends = [
        trained(start(ingredients, strength=s, importance=importance)) for s in (0, 30, 1e3, 1e30)
    ]
    moved = [distance(weights, ingredients) for weights in ends]
    assert moved[0] > 10 * RATE
    assert moved == sorted(moved, reverse=True)
    assert moved[0] > moved[1] > 1.1 * moved[2] > 0
    assert moved[-1] == 0
    forgotten = [generic_error(weights) for weights in ends]
    assert forgotten == sorted(forgotten, reverse=True)
    assert forgotten[0] > 1.1 * forgotten[2] > forgotten[-1]
    assert forgotten[-1] < 1e-12  # eV/Å, rounding


@pytest.mark.parametrize(
    "choices",
    [
        {"optimizer": "amsgrad", "ema": 0.99},
        {"optimizer": "adam", "precision": "float32", "devices": "auto"},
        {"optimizer": "schedule_free_adamw"},
    ],
    ids=lambda choices: choices["optimizer"],
)
def test_the_limit_is_the_foundation_on_every_path(last, choices):
    """To the bit, but for the average that schedule-free learning recomputes in every step."""
    ingredients, _ = last
    training = ingredients.training.model_copy(update={"epochs": 5} | choices)
    frames = ingredients.dataset.frames
    recipe = start(ingredients._replace(training=training), strength=1e30)
    fitted = fit(recipe, frames[:4], frames[4:6], training, seed=0)
    found = fitted.potential.params["weights"]
    if "schedule" in training.optimizer:
        assert distance(found, ingredients) < 4e-15
    else:
        for name, leaf in trees.cast(recipe.trainable, training.precision).items():
            assert float(leaf) == float(found[name])


def test_training_ends_where_loss_and_penalty_balance(rich):
    """Gradient of the loss + strength (w - w*) = 0, all frames in every step."""
    training = rich.training.model_copy(
        update={
            "keep": "last",
            "epochs": 80,
            "ema": None,
            "batch": 6,
            "learning_rate": RATE,
            "loss": FORCES,
            "schedule": ScheduleConfig(kind="cosine", floor=1e-3),
        }
    )
    given = rich._replace(training=training)
    recipe, frames = start(given, strength=100.0), given.dataset.frames
    fitted = fit(recipe, frames[:6], frames[6:8], training, seed=0)
    weights = fitted.potential.params["weights"]
    potential = recipe.realize(recipe.trainable)
    shapes = plan([frame.system for frame in frames[:6]], potential.cutoff, most=1)
    (bucket,) = collect(
        samples(frames[:6], potential),
        potential.elements,
        potential.cutoff,
        shapes,
        dtype=np.float64,
    )
    slope = jax.jit(jax.grad(lambda w: recipe.loss(w, gather(bucket.rows, np.arange(6)))))
    first, last = slope(recipe.trainable), slope(weights)
    balance = last["sigma"] + 100.0 * (weights["sigma"] - recipe.trainable["sigma"])
    assert abs(float(last["sigma"])) > 0.1 * abs(float(first["sigma"])) > 1e-3
    # 80 steps of Adam bring it down by so much.
    assert abs(float(balance)) < 0.05 * abs(float(last["sigma"]))


def test_importances_come_from_the_half_of_the_generic_structures_to_learn_from(rich):
    recipe = start(rich, strength=2.0, importance="fisher")
    data = labelled(rich, "anchor", "reestimated")
    assert len(data.learn) == len(halves(rich.generic.frames).learn) < len(rich.generic.frames)
    expected = fisher(data.potential, data.learn, rich.training)
    for name, leaf in recipe.leash.stiffness.items():
        assert float(leaf) == pytest.approx(2 * float(expected[name]), rel=1e-12)
        assert float(leaf) > 0
    assert any(f"on {len(data.learn)} generic structures" in note for note in recipe.notes)


def test_runs_of_other_strengths_share_their_program(rich):
    first, second = (start(rich, strength=s) for s in (0.1, 10.0))
    assert jax.tree.structure((first.loss, first.leash)) == jax.tree.structure(
        (second.loss, second.leash)
    )
    assert first.optimizer is second.optimizer


def test_needs(rich):
    assert anchor.Config().generic is None
    assert anchor.Config(importance="fisher").generic == "labels"
    with pytest.raises(CompatibilityError, match=r"strategy anchor.*structures of other materials"):
        start(rich._replace(generic=None), importance="fisher")
    start(rich._replace(generic=None))
