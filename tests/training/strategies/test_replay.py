import jax
import numpy as np
import pytest

from mlffjax.errors import CompatibilityError
from mlffjax.structures.generic import halves
from mlffjax.training.batches import collect, gather, plan, samples, shuffled
from mlffjax.training.fit import fit
from mlffjax.training.metrics import evaluate
from mlffjax.training.strategies import finetune, replay

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def tuned(rich):
    """Outcome of a recipe on the same frames."""
    frames = rich.dataset.frames
    return lambda recipe: fit(recipe, frames[:6], frames[6:], rich.training, seed=3)


@pytest.mark.parametrize(("ratio", "expected"), [(0.5, 3), (1.5, 9)])
def test_every_epoch_holds_the_ratio(rich, ratio, expected):
    recipe = replay.build(replay.Config(ratio=ratio, weight=0.25), rich, key=KEY)
    potential = recipe.realize(recipe.trainable)
    learned = recipe.mix(samples(rich.dataset.frames[:6], potential))
    shapes = plan([sample.system for sample in learned], potential.cutoff, most=1)
    buckets = collect(learned, potential.elements, potential.cutoff, shapes)
    compositions = set()
    for epoch in (1, 2):
        draws = shuffled(buckets, 4, seed=0, epoch=epoch)
        weights = [np.asarray(gather(buckets[d.bucket].rows, d.rows).weight) for d in draws]
        assert (np.concatenate(weights) == 0.25).sum() == expected
        assert (np.concatenate(weights) == 1.0).sum() == 6
        compositions.add(tuple(map(tuple, weights)))
    assert len(compositions) == 2  # batches are mixed anew


@pytest.mark.parametrize("nothing", [{"weight": 0.0}, {"ratio": 0.0}])
def test_without_weight_it_is_finetuning_bit_by_bit(rich, tuned, nothing):
    ours = tuned(replay.build(replay.Config(**nothing), rich, key=KEY))
    theirs = tuned(finetune.build(finetune.Config(), rich, key=KEY))
    jax.tree.map(np.testing.assert_array_equal, ours.potential, theirs.potential)
    # and it is not the start, which would be equal as well
    before = rich.foundation[0].params["weights"]
    assert not np.array_equal(ours.potential.params["weights"]["sigma"], before["sigma"])


def test_labels_of_another_method_get_their_own_reference_energies(rich):
    """-40 eV per atom goes away; what the methods differ by otherwise is some meV per atom."""
    recipe = replay.build(replay.Config(), rich, key=KEY)
    members = samples(rich.dataset.frames, recipe.realize(recipe.trainable))
    extra = recipe.mix(members)[len(members) :]
    for sample in extra:
        frame = next(f for f in rich.generic.frames if f.system is sample.system)
        interaction = frame.energy + 40.0 * len(frame.forces)
        assert sample.energy == pytest.approx(interaction, abs=0.02 * len(frame.forces))
    with pytest.raises(CompatibilityError, match="cannot be compared"):
        replay.build(replay.Config(generic_reference_energies="keep"), rich, key=KEY)


def test_held_half_is_never_learned_from_and_reported(rich, tuned):
    recipe = replay.build(replay.Config(ratio=5.0), rich, key=KEY)
    frames = rich.generic.frames
    learned = {id(s.system) for s in recipe.mix(samples(rich.dataset.frames, rich.foundation[0]))}
    held = {id(frames[i].system) for i in halves(frames).held}
    assert len(held) == 8
    assert not learned & held
    notes = tuned(recipe).notes
    assert any("8 held-out generic structures: force MAE from" in note for note in notes)


def test_replay_keeps_what_finetuning_forgets(rich):
    """Forces on held-out generic structures, whose method is neither foundation's nor data's."""
    held = [rich.generic.frames[i] for i in halves(rich.generic.frames).held]
    changes = {"epochs": 60, "patience": 60, "learning_rate": 2e-3, "keep": "last"}
    training = rich.training.model_copy(update=changes)

    def error(strategy, **choices):
        made = strategy.build(strategy.Config(**choices), rich._replace(training=training), key=KEY)
        frames = rich.dataset.frames
        fitted = fit(made, frames[:3], frames[3:6], training, seed=0)
        assert fitted.status == "max_epochs"
        return evaluate(fitted.potential, held, buckets=1, dtype=np.float64)["all"].forces_mae

    assert error(replay, weight=3.0, ratio=4.0) < 0.6 * error(finetune)


def test_what_is_missing_is_named(rich):
    with pytest.raises(CompatibilityError, match="replay learns from structures of other"):
        replay.build(replay.Config(), rich._replace(generic=None), key=KEY)
    bare = rich.generic._replace(frames=(rich.generic.frames[0]._replace(energy=None),))
    with pytest.raises(
        CompatibilityError, match=r"1 of 1 frames lack energy or forces.*pseudolabel"
    ):
        replay.build(replay.Config(), rich._replace(generic=bare), key=KEY)
