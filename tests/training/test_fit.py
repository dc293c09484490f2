import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from mlffjax import trees
from mlffjax.errors import CapacityError, TrainingError
from mlffjax.graphs.batching import Shape
from mlffjax.potential.base import Potential
from mlffjax.potential.pair import LennardJonesModel
from mlffjax.training import fit as loop
from mlffjax.training import metrics
from mlffjax.training.batches import plan
from mlffjax.training.config import LossConfig, ScheduleConfig, TrainingConfig
from mlffjax.training.fit import fit
from mlffjax.training.history import Status
from mlffjax.training.losses import supervised
from mlffjax.training.recipe import all_weights, standard

TRACES: list[str] = []


@dataclasses.dataclass(frozen=True)
class CountedModel(LennardJonesModel):
    """Lennard-Jones that notes when Python runs through it, which is when JAX traces."""

    def atomic_energies(self, params, graph):
        TRACES.append(type(graph.positions).__name__)
        return super().atomic_energies(params, graph)


SHORT = TrainingConfig(epochs=3, learning_rate=1e-4, precision="float64", loss=LossConfig(stress=0))

LONG = TrainingConfig(
    epochs=100,
    learning_rate=3e-3,
    ema=0.9,
    clip=None,
    precision="float64",
    # Forces alone leave a narrow valley between depth and size of the well.
    loss=LossConfig(energy=1e3, forces=1e2, stress=1.0),
    schedule=ScheduleConfig(kind="cosine", floor=1e-3),
)


@pytest.fixture(scope="module")
def train(frames):
    return (*frames[:5], *frames[6:10])


@pytest.fixture(scope="module")
def validation(frames):
    return frames[5], frames[10]


@pytest.fixture(scope="module")
def recipe(guess):
    return standard(*all_weights(guess), SHORT)


def test_known_potential_is_recovered(guess, truth, train, validation):
    """Both parameters of the potential that made the labels, from labels alone."""
    fitted = fit(standard(*all_weights(guess), LONG), train, validation, LONG, seed=0)
    for name in ("epsilon", "sigma"):
        found, known = fitted.potential.params["weights"][name], truth.params["weights"][name]
        # The loss has its only minimum there; 100 epochs bring Adam to about 1e-9.
        assert float(found) == pytest.approx(float(known), rel=1e-6)
    assert fitted.best.validation.forces_rmse < 1e-5 * fitted.history[0].validation.forces_rmse
    assert fitted.best.validation.energy_mae < 1e-5 * fitted.history[0].validation.energy_mae


def test_history_tells_the_course(recipe, train, validation):
    fitted = fit(recipe, train, validation, SHORT, seed=0)
    assert [epoch.number for epoch in fitted.history] == [0, 1, 2, 3]
    assert fitted.status is Status.MAX_EPOCHS
    assert fitted.history[0].train_loss is None
    assert [epoch.learning_rate for epoch in fitted.history[1:]] == [1e-4] * 3
    errors = [epoch.validation.forces_mae for epoch in fitted.history]
    assert fitted.best.number == int(np.argmin(errors))
    assert errors[3] < errors[0]
    seconds = [epoch.seconds for epoch in fitted.history]
    assert seconds == sorted(seconds)


def test_equal_seeds_give_equal_bits_and_others_do_not(recipe, train, validation):
    config = SHORT.model_copy(update={"precision": "float32"})
    first, again, other = (fit(recipe, train, validation, config, seed=s) for s in (0, 0, 1))
    bits = [[np.asarray(x).tobytes() for x in jax.tree.leaves(f.potential)] for f in (first, again)]
    assert bits[0] == bits[1]
    losses = [[epoch.train_loss for epoch in f.history] for f in (first, again, other)]
    assert losses[0] == losses[1] != losses[2]


def test_one_compilation_per_shape_serves_epochs_seeds_rates_and_constants(
    guess, train, validation
):
    model = CountedModel(guess.model.elements, guess.model.cutoff)

    def run(seed, rate, energy, frames, shapes=None):
        constants = {"atomic_energies": jnp.full(1, energy, jnp.float64)}
        params = {"weights": guess.params["weights"], "constants": constants}
        made = standard(*all_weights(Potential(params, model)), SHORT, learning_rate=rate)
        before = len(TRACES)
        fit(made, frames, validation, SHORT, seed=seed, shapes=shapes)
        return len(TRACES) - before

    shapes = plan([frame.system for frame in (*train, *validation)], guess.cutoff, most=3)
    assert len(shapes) == 2
    # Two shapes, each with a step and a validation.
    assert run(0, 1e-4, 0.0, train) == 4
    assert run(1, 2e-4, 3.0, train) == 0
    # Other frames, another number of them: the shapes decide.
    assert run(2, 1e-4, 0.0, (*train[:2], *train[6:]), shapes) == 0


def test_run_that_does_not_improve_stops_early(guess, train, validation, label):
    """Validation frames that agree with the start: it is best at once, patience counts epochs."""
    config = SHORT.model_copy(update={"epochs": 50, "patience": 4})
    recipe = standard(*all_weights(guess), config)
    agreeing = [label(frame.system, guess) for frame in validation]
    fitted = fit(recipe, train, agreeing, config, seed=0)
    assert fitted.status is Status.EARLY_STOPPED
    assert fitted.best.number == 0
    assert fitted.history[-1].number == 4
    for kept, given in zip(jax.tree.leaves(fitted.potential), jax.tree.leaves(guess), strict=True):
        np.testing.assert_array_equal(kept, given)


def test_last_weights_are_kept_on_request(guess, train, validation, label):
    """Validation frames that agree with the start would keep it; here they decide nothing."""
    config = SHORT.model_copy(update={"keep": "last", "ema": None})
    recipe = standard(*all_weights(guess), config)
    agreeing = [label(frame.system, guess) for frame in validation]
    fitted = fit(recipe, train, agreeing, config, seed=0)
    other = fit(recipe, train, validation, config, seed=0)
    assert fitted.best == fitted.history[-1]
    assert "epoch 3 is kept" in fitted.explanation
    assert float(fitted.potential.params["weights"]["sigma"]) != float(
        guess.params["weights"]["sigma"]
    )
    for kept, same in zip(
        jax.tree.leaves(fitted.potential), jax.tree.leaves(other.potential), strict=True
    ):
        np.testing.assert_array_equal(kept, same)
    lost = standard(*all_weights(guess), config, learning_rate=1e3)
    diverged = fit(lost, train, validation, config.model_copy(update={"epochs": 50}), seed=0)
    assert diverged.status is Status.DIVERGED
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(diverged.potential))


def test_divergence_is_a_result_that_keeps_the_best(guess, train, validation):
    """A rate so large that sigma leaves all reason: the run ends, nothing raises."""
    config = SHORT.model_copy(update={"epochs": 50, "ema": None})
    recipe = standard(*all_weights(guess), config, learning_rate=1e3)
    fitted = fit(recipe, train, validation, config, seed=0)
    assert fitted.status is Status.DIVERGED
    assert fitted.history[-1].number < 50
    assert math.isfinite(fitted.best.validation.forces_mae)
    assert "diverged in epoch" in fitted.explanation
    assert "lower the learning rate" in fitted.explanation
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(fitted.potential))


def test_loss_that_is_not_a_number_is_divergence(recipe, train, validation):
    lost = recipe._replace(penalty=lambda weights: jnp.nan * weights["sigma"])
    fitted = fit(lost, train, validation, SHORT, seed=0)
    assert fitted.status is Status.DIVERGED
    assert fitted.best.number == 0
    assert math.isnan(fitted.history[1].train_loss)


def test_time_limit_ends_a_run_after_the_epoch_it_cuts(recipe, train, validation, monkeypatch):
    answers = iter([False, False, True, True])  # before, after step 1, after step 2, at the end
    monkeypatch.setattr(loop, "PEEK", 1)
    monkeypatch.setattr(loop, "_out_of_time", lambda run: next(answers))
    fitted = fit(recipe, train, validation, SHORT, seed=0)
    assert fitted.status is Status.OUT_OF_TIME
    assert len(fitted.history) == 2
    assert fitted.best.number == 1  # two steps, and they were not lost


def test_time_limit_counts_from_the_start(recipe, train, validation):
    config = SHORT.model_copy(update={"epochs": 10**6, "max_seconds": 1e-9})
    fitted = fit(recipe, train, validation, config, seed=0)
    assert fitted.status is Status.OUT_OF_TIME
    assert [epoch.number for epoch in fitted.history] == [0]


def test_nothing_to_train_is_scored_and_returned(recipe, truth, train, validation):
    fixed = recipe._replace(trainable={}, realize=Partial(lambda given, _: given, truth))
    fitted = fit(fixed, train, validation, SHORT, seed=0)
    assert fitted.status is Status.NOT_TRAINED
    assert len(fitted.history) == 1
    assert fitted.best.validation.forces_mae < 1e-12
    assert fitted.potential is truth


def test_observer_hears_of_steps_and_epochs(recipe, train, validation, monkeypatch):
    monkeypatch.setattr(loop, "PEEK", 2)
    events = []
    fit(recipe, train, validation, SHORT, seed=0, observe=events.append)
    # Five small and four large cells in batches of four: 2 + 1 steps an epoch.
    assert [(e.epoch, e.step, e.steps) for e in events] == [
        (epoch, step, 3) for epoch in (1, 2, 3) for step in (2, 3)
    ]
    assert [e.latest.number for e in events] == [0, 1, 1, 2, 2, 3]
    assert {e.epochs for e in events} == {3}


def test_averaged_weights_are_the_ones_scored_and_kept(recipe, train, validation):
    """With an average that hardly moves, so does the score."""
    slow = SHORT.model_copy(update={"ema": 0.999999})
    quick = SHORT.model_copy(update={"ema": None})
    moved = [
        fit(recipe, train, validation, c, seed=0).potential.params["weights"]["sigma"]
        - recipe.trainable["sigma"]
        for c in (slow, quick)
    ]
    assert 0 < float(moved[0]) < float(moved[1])


def test_penalty_pulls(recipe, train, validation):
    """A strong pull to where training starts keeps it there (L2-SP)."""
    start = recipe.trainable

    def anchor(anchored, weights):
        return 1e12 * sum((weights[name] - anchored[name]) ** 2 for name in weights)

    config = SHORT.model_copy(update={"epochs": 20, "ema": None, "patience": 100})
    pulled = recipe._replace(penalty=Partial(anchor, start))
    free, held = (
        fit(r, train, validation, config, seed=0).potential.params["weights"]
        for r in (recipe, pulled)
    )
    assert abs(float(held["sigma"] - start["sigma"])) < 0.3 * abs(
        float(free["sigma"] - start["sigma"])
    )


def test_mix_decides_what_is_learned(guess, truth, train, validation):
    """Frames with impossible forces do no harm once the mix gives them no weight."""
    spoilt = tuple(frame._replace(forces=frame.forces + 5.0) for frame in train[:3])

    def mix(members):
        assert len(members) == len(train) + 3
        return [m._replace(weight=0.0) if m.forces.max() > 3 else m for m in members]

    config = SHORT.model_copy(update={"epochs": 20, "learning_rate": 2e-3})
    recipe = standard(*all_weights(guess), config)
    plain, mixed = (
        fit(r, (*train, *spoilt), validation, config, seed=0)
        for r in (recipe, recipe._replace(mix=mix))
    )
    assert mixed.best.validation.forces_mae < plain.best.validation.forces_mae
    assert mixed.best.validation.forces_mae < 0.5 * mixed.history[0].validation.forces_mae


def test_heads_reach_the_loss(guess, truth, train, validation):
    """Two sets of labels, two depths, one shared size: heads need a loss, not another loop."""
    depth = truth.params["weights"]["epsilon"]
    weights = {"epsilons": jnp.full(2, 0.009), "sigma": jnp.asarray(3.36)}
    frozen = guess.replace(params={"constants": guess.params["constants"]})

    def head(frozen, number, weights):
        own = {"epsilon": weights["epsilons"][number], "sigma": weights["sigma"]}
        return frozen.replace(params={**frozen.params, "weights": own})

    def loss(frozen, weights, batch):
        parts = [batch._replace(weight=batch.weight * (batch.head == n)) for n in (0, 1)]
        single = supervised(LONG.loss)
        return sum(single(Partial(head, frozen, n), weights, parts[n]) for n in (0, 1))

    def twice(item):
        return item._replace(energy=2 * item.energy, forces=2 * item.forces, stress=2 * item.stress)

    recipe = standard(weights, Partial(head, frozen, 1), LONG)._replace(
        loss=Partial(loss, frozen),
        mix=lambda members: [*members, *(twice(m)._replace(head=1) for m in members)],
    )
    fitted = fit(recipe, train, [twice(frame) for frame in validation], LONG, seed=0)
    found = fitted.potential.params["weights"]["epsilon"]
    assert float(found) == pytest.approx(2 * float(depth), rel=1e-5)


def test_types_of_the_leaves_survive(guess, train, validation):
    """float64 in, float32 training, float64 out: potentials of all strategies stack."""
    config = SHORT.model_copy(update={"precision": "float32", "ema": None})
    fitted = fit(standard(*all_weights(guess), config), train, validation, config, seed=0)
    assert fitted.best.number > 0
    stacked = trees.stack([fitted.potential, guess])
    assert {leaf.dtype for leaf in jax.tree.leaves(fitted.potential)} == {jnp.dtype("float64")}
    assert trees.length(stacked) == 2


def test_energies_and_stresses_may_lack(recipe, train, validation):
    bare = [frame._replace(energy=None, stress=None) for frame in train]
    fitted = fit(recipe, bare, validation, SHORT, seed=0)
    assert fitted.best.number == 3


@pytest.mark.parametrize(("first", "second"), [(0, 2), (4, 0)])
def test_empty_sets_are_refused(recipe, train, validation, first, second):
    with pytest.raises(TrainingError, match=f"got {first} and {second}"):
        fit(recipe, train[:first], validation[:second], SHORT, seed=0)


def test_shapes_that_do_not_hold_the_frames_are_refused(recipe, train, validation):
    with pytest.raises(CapacityError, match="none of the shapes"):
        fit(recipe, train, validation, SHORT, seed=0, shapes=[Shape(4, 64, 1)])


def test_double_precision_needs_64_bit_numbers(recipe, train, validation):
    with jax.enable_x64(False), pytest.raises(TrainingError, match="JAX_ENABLE_X64"):
        fit(recipe, train, validation, SHORT, seed=0)


@pytest.mark.parametrize("kind", ["adamw", "schedule_free_adamw"])
def test_other_optimizers_learn_as_well(kind, guess, train, validation):
    """Schedule-free weights are averages, kept and scored; equal seeds give equal bits."""
    choices = {"optimizer": kind, "ema": None, "epochs": 40, "learning_rate": 3e-3}
    config = SHORT.model_copy(update=choices)
    recipe = standard(*all_weights(guess), config)
    fitted, again = (fit(recipe, train, validation, config, seed=0) for _ in range(2))
    assert fitted.best.validation.forces_mae < 0.2 * fitted.history[0].validation.forces_mae
    # The potential that is kept is the one that was scored.
    kept = fitted.potential.params["weights"]
    assert [float(x) for x in jax.tree.leaves(kept)] == [
        float(x) for x in jax.tree.leaves(again.potential.params["weights"])
    ]
    found = metrics.evaluate(fitted.potential, validation, dtype=np.float64)[metrics.ALL]
    assert found.forces_mae == pytest.approx(fitted.best.validation.forces_mae, rel=1e-10)
