import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from mlffjax.errors import CompatibilityError, TrainingError
from mlffjax.potential.base import Potential
from mlffjax.potential.pair import LennardJonesModel
from mlffjax.training import fleet as fleets
from mlffjax.training.batches import plan
from mlffjax.training.checkpoints import Keeper
from mlffjax.training.config import LossConfig, ScheduleConfig, TrainingConfig
from mlffjax.training.fit import fit
from mlffjax.training.fleet import fit_many
from mlffjax.training.history import Status
from mlffjax.training.leash import Leash
from mlffjax.training.members import Member
from mlffjax.training.recipe import all_weights, standard

TRACES: list[str] = []
BASE = TrainingConfig(epochs=4, learning_rate=1e-3, precision="float64", ema=0.9)


@dataclasses.dataclass(frozen=True)
class CountedModel(LennardJonesModel):
    """Lennard-Jones that notes when Python runs through it, which is when JAX traces."""

    def atomic_energies(self, params, graph):
        TRACES.append(type(graph.positions).__name__)
        return super().atomic_energies(params, graph)


def changed(**entries):
    return BASE.model_copy(update=entries)


def pull(strength, start, weights):
    return strength * sum((weights[name] - start[name]) ** 2 for name in weights)


@pytest.fixture(scope="module")
def train(frames):
    return (*frames[:5], *frames[6:10])


@pytest.fixture(scope="module")
def validation(frames):
    return frames[5], frames[10]


@pytest.fixture(scope="module")
def make(guess, train, validation):
    """A member with what differs from the base."""

    def member(*, frames=train, held=validation, seed=0, strength=0.0, stiffness=0.0, **entries):
        config = changed(**entries)
        recipe = standard(*all_weights(guess), config)
        penalty = Partial(pull, jnp.asarray(strength), recipe.trainable)
        leash = Leash(recipe.trainable, jax.tree.map(lambda x: stiffness + 0 * x, recipe.trainable))
        return Member(recipe._replace(penalty=penalty, leash=leash), frames, held, config, seed)

    return member


@pytest.fixture(scope="module")
def variants(make, train, validation):
    """Everything that may differ within one program, and members that end at different times."""
    return (
        make(),
        make(seed=1),
        make(learning_rate=3e-3, schedule=ScheduleConfig(kind="cosine")),
        make(loss=LossConfig(energy=50.0, forces=1.0, stress=3.0)),
        make(strength=1e4, ema=None),
        make(stiffness=1e3),
        make(clip=0.05),
        make(frames=train[2:8], held=validation[:1], epochs=2),
        make(learning_rate=1e3, epochs=50, ema=None),  # diverges
        make(epochs=50, patience=1, learning_rate=0.5),  # stops early
    )


@pytest.fixture(scope="module")
def alone(variants):
    return [fit(m.recipe, m.train, m.validation, m.config, seed=m.seed) for m in variants]


def same(ours, theirs):
    """Equal ends; numbers to what reordered float64 sums grow to in some tens of steps of Adam."""
    assert ours.status == theirs.status
    assert ours.best.number == theirs.best.number
    assert len(ours.history) == len(theirs.history)
    for one, other in zip(ours.history, theirs.history, strict=True):
        assert one.learning_rate == other.learning_rate
        for name in ("energy_mae", "energy_rmse", "forces_mae", "forces_rmse"):
            first, second = (getattr(epoch.validation, name) for epoch in (one, other))
            assert first == pytest.approx(second, rel=1e-9, nan_ok=True)
        if one.train_loss is not None and math.isfinite(other.train_loss):
            assert one.train_loss == pytest.approx(other.train_loss, rel=1e-9)
    leaves = (jax.tree.leaves(fitted.potential) for fitted in (ours, theirs))
    for one, other in zip(*leaves, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize("width", [1, 4])
def test_members_end_as_they_would_alone(variants, alone, width):
    told = {}
    together = fit_many(variants, width=width, finished=told.__setitem__)
    for ours, theirs in zip(together, alone, strict=True):
        same(ours, theirs)
    assert {fitted.status for fitted in together} == {
        Status.MAX_EPOCHS,
        Status.DIVERGED,
        Status.EARLY_STOPPED,
    }
    assert all(told[number] is fitted for number, fitted in enumerate(together))


def test_what_cannot_step_together_is_refused(make, guess):
    with pytest.raises(TrainingError, match="at least one run"):
        fit_many([])
    with pytest.raises(TrainingError, match=r"run 1 cannot .* max_seconds"):
        fit_many([make(), make(max_seconds=1.0)])
    with pytest.raises(CompatibilityError, match=r"runs \[1\] differ"):
        fit_many([make(), make(batch=3)])
    idle = make()
    idle = idle._replace(recipe=idle.recipe._replace(trainable={}))
    with pytest.raises(TrainingError, match="nothing to train"):
        fit_many([idle])
    with pytest.raises(TrainingError, match="got 0 and 2"):
        fit_many([make(frames=())])


def test_one_compilation_serves_all_members_epochs_and_ends(guess, train, validation):
    model = CountedModel(guess.model.elements, guess.model.cutoff)
    shapes = plan([frame.system for frame in (*train, *validation)], guess.cutoff, most=3)
    assert len(shapes) == 2

    def traces(*rates, epochs):
        members = []
        for seed, rate in enumerate(rates):
            config = changed(learning_rate=rate, epochs=epochs + seed)
            recipe = standard(*all_weights(Potential(guess.params, model)), config)
            members.append(Member(recipe, train, validation, config, seed))
        before = len(TRACES)
        fit_many(members, shapes=shapes)
        return len(TRACES) - before

    # Two shapes, each with a step and a validation; members end one after the other.
    assert traces(1e-4, 2e-4, 1e-3, epochs=2) == 4
    assert traces(3e-4, 5e-4, 1e-4, epochs=3) == 0


def test_observers_hear_of_their_own_run(make, monkeypatch):
    monkeypatch.setattr(fleets, "PEEK", 2)
    heard = {0: [], 1: []}
    members = [
        make(seed=seed, epochs=epochs)._replace(observe=heard[seed].append)
        for seed, epochs in ((0, 2), (1, 1))
    ]
    fit_many(members)
    # Five small and four large cells in batches of four: 2 + 1 steps an epoch.
    assert [(e.epoch, e.step, e.steps, e.epochs) for e in heard[0]] == [
        (epoch, step, 3, 2) for epoch in (1, 2) for step in (2, 3)
    ]
    assert [(e.epoch, e.step) for e in heard[1]] == [(1, 2), (1, 3)]


def test_structures_beyond_memory_are_refused(make, monkeypatch):
    monkeypatch.setattr("mlffjax.training.members.room", lambda: 1000)
    with pytest.raises(TrainingError, match=r"run 0 .* fill the memory"):
        fit_many([make(), make(seed=1)])
    # Each would fit alone.
    monkeypatch.setattr("mlffjax.training.members._fills_memory", lambda member: False)
    with pytest.raises(TrainingError, match="to fit into memory"):
        fit_many([make(), make(seed=1)])


class Killed(Exception):
    pass


def test_killed_members_go_on_in_other_company(make, tmp_path, monkeypatch):
    """Two runs are killed within an epoch, one of them goes on with a third, the other alone."""
    monkeypatch.setattr(fleets, "PEEK", 1)
    monkeypatch.setattr("mlffjax.training.fit.PEEK", 1)
    monkeypatch.setattr("mlffjax.training.checkpoints.SHARE", 1e9)  # whatever it costs
    options = [{"seed": 0, "learning_rate": 3e-3}, {"seed": 1}, {"seed": 2}]
    undisturbed = fit_many([make(**entries) for entries in options])

    def die(progress):
        if (progress.epoch, progress.step) == (2, 2):
            raise Killed

    def kept(number, **more):
        keeper = Keeper(tmp_path / str(number))
        return make(checkpoint_seconds=0.0, **options[number])._replace(checkpoint=keeper, **more)

    with pytest.raises(Killed):
        fit_many([kept(0), kept(1, observe=die)])
    heard = []
    first, third = fit_many([kept(0, observe=heard.append), kept(2)])
    assert [(event.epoch, event.step) for event in heard][:2] == [(2, 2), (2, 3)]
    member = kept(1)
    second = fit(*member[:4], seed=member.seed, checkpoint=member.checkpoint)
    for ours, theirs in zip((first, second, third), undisturbed, strict=True):
        same(ours, theirs)


def test_structures_of_several_runs_are_kept_once(make, variants, train):
    same_data = fleets._prepare([make(seed=seed) for seed in range(3)], None, 1)
    assert sum(len(bucket.index) for bucket in same_data.train) == len(train)
    assert sum(len(bucket.index) for bucket in same_data.validation) == 2
