import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax.errors import CompatibilityError
from mlffjax.structures.generic import halves
from mlffjax.training.batches import collect, gather, plan, samples
from mlffjax.training.config import LossConfig, ScheduleConfig
from mlffjax.training.fisher import fisher
from mlffjax.training.fit import fit
from mlffjax.training.generic_data import labelled
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
def test_ever_larger_strength_ends_at_the_foundation(last, importance):
    ingredients, trained = last
    moved = [
        distance(trained(start(ingredients, strength=s, importance=importance)), ingredients)
        for s in (0, 1e2, 1e4, 1e8)
    ]
    assert moved[0] > 10 * RATE
    assert moved[0] > moved[1] > moved[2]
    # What is left are Adam's steps, whose length does not depend on the penalty.
    assert moved[3] < RATE / 2


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


def test_penalty_is_half_the_weighted_square(rich):
    recipe = start(rich, strength=3.0)
    moved = {
        name: leaf + d
        for (name, leaf), d in zip(recipe.trainable.items(), (0.1, -0.2), strict=True)
    }
    assert float(recipe.penalty(recipe.trainable)) == 0
    assert float(recipe.penalty(moved)) == pytest.approx(1.5 * (0.1**2 + 0.2**2), rel=1e-12)
    slope = jax.grad(recipe.penalty)(moved)
    assert [float(leaf) for leaf in slope.values()] == pytest.approx([0.3, -0.6])


def test_importances_come_from_the_half_of_the_generic_structures_to_learn_from(rich):
    recipe = start(rich, strength=2.0, importance="fisher")
    data = labelled(rich, "anchor", "reestimated")
    assert len(data.learn) == len(halves(rich.generic.frames).learn) < len(rich.generic.frames)
    expected = fisher(data.potential, data.learn, rich.training)
    moved = {**recipe.trainable, "sigma": recipe.trainable["sigma"] + 0.1}
    assert float(recipe.penalty(moved)) == pytest.approx(float(expected["sigma"]) * 0.01)
    assert any(f"on {len(data.learn)} generic structures" in note for note in recipe.notes)


def test_runs_of_other_strengths_share_their_program(rich):
    first, second = (start(rich, strength=s) for s in (0.1, 10.0))
    assert jax.tree.structure((first.loss, first.penalty)) == jax.tree.structure(
        (second.loss, second.penalty)
    )
    assert first.optimizer is second.optimizer


def test_needs(rich):
    assert anchor.Config().generic is None
    assert anchor.Config(importance="fisher").generic == "labels"
    with pytest.raises(CompatibilityError, match=r"strategy anchor.*structures of other materials"):
        start(rich._replace(generic=None), importance="fisher")
    start(rich._replace(generic=None))


def test_penalty_is_taken_in_the_precision_of_training(rich):
    recipe = start(rich)
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), recipe.trainable)
    assert recipe.penalty(low).dtype == jnp.float32
