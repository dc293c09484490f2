import jax
import numpy as np
import pytest

from mlffjax.config import validate
from mlffjax.errors import ConfigError
from mlffjax.structures.generic import halves
from mlffjax.training.batches import collect, gather, plan, samples
from mlffjax.training.generic_data import labelled_by
from mlffjax.training.recipe import unchanged
from mlffjax.training.strategies import finetune, pseudolabel

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def unlabelled(rich):
    frames = rich.generic.frames
    bare = tuple(f._replace(energy=None, forces=None, stress=None) for f in frames)
    return rich._replace(generic=rich.generic._replace(frames=bare))


def extra(recipe, ingredients):
    members = samples(ingredients.dataset.frames, recipe.realize(recipe.trainable))
    return recipe.mix(members)[len(members) :]


def test_unchanged_foundation_has_no_loss(unlabelled):
    """Forces of 0.1 eV/Å and energies of -0.05 eV/atom, so squares of rounding are below 1e-20."""
    recipe = pseudolabel.build(pseudolabel.Config(copies=1), unlabelled, key=KEY)
    made = extra(recipe, unlabelled)
    assert all(sample.energy and sample.stress is not None for sample in made)
    potential = recipe.realize(recipe.trainable)
    shapes = plan([sample.system for sample in made], potential.cutoff, most=1)
    (bucket,) = collect(made, potential.elements, potential.cutoff, shapes, dtype=np.float64)
    batch = gather(bucket.rows, np.arange(len(made)))
    assert float(recipe.loss(recipe.trainable, batch)) < 1e-20
    off = jax.tree.map(lambda leaf: 1.01 * leaf, recipe.trainable)
    assert float(recipe.loss(off, batch)) > 1e-6


def test_structures_are_of_the_half_to_learn_from_and_moved_copies(unlabelled):
    frames = unlabelled.generic.frames
    recipe = pseudolabel.build(pseudolabel.Config(copies=2, ratio=3.0), unlabelled, key=KEY)
    made = extra(recipe, unlabelled)
    distinct = {sample.system.positions.tobytes() for sample in made}
    assert len(distinct) == 3 * 8
    learn = {frames[i].system.positions.tobytes() for i in halves(frames).learn}
    held = {frames[i].system.positions.tobytes() for i in halves(frames).held}
    assert learn <= distinct
    assert not held & distinct


def test_copies_are_moved_and_strained_as_asked(rich):
    config = pseudolabel.Config(copies=200, rattle=0.05, strain=0.02)
    frame = rich.generic.frames[0]
    copies = pseudolabel.moved([frame], config)
    again = pseudolabel.moved([frame], config)
    assert all(
        np.array_equal(a.system.positions, b.system.positions)
        for a, b in zip(copies, again, strict=True)
    )
    cells = np.array([c.system.cell @ np.linalg.inv(frame.system.cell) for c in copies]) - np.eye(3)
    np.testing.assert_allclose(cells, np.swapaxes(cells, 1, 2), atol=1e-12)
    # 600 numbers each: their spread is known to 3 %, ten percent are more than three times that.
    assert np.diagonal(cells, axis1=1, axis2=2).std() == pytest.approx(0.02, rel=0.1)
    moves = [
        c.system.positions - frame.system.positions @ (np.eye(3) + strain)
        for c, strain in zip(copies, cells, strict=True)
    ]
    assert np.std(moves) == pytest.approx(0.05, rel=0.1)


def test_stress_is_labelled_in_crystals_only(rich):
    frame = rich.generic.frames[0]
    slab = frame._replace(system=frame.system._replace(pbc=np.array([True, True, False])))
    data = labelled_by(rich.foundation[0], [frame, slab], [], rich.training)
    assert [f.stress is not None for f in data.learn] == [True, False]


def test_without_weight_it_is_finetuning(unlabelled):
    """The same recipe, so the same bits."""
    ours = pseudolabel.build(pseudolabel.Config(weight=0.0), unlabelled, key=KEY)
    theirs = finetune.build(finetune.Config(), unlabelled, key=KEY)
    assert ours.mix is theirs.mix is unchanged
    assert ours.trainable is theirs.trainable
    assert jax.tree.structure(ours.loss) == jax.tree.structure(theirs.loss)


def test_copies_that_do_not_differ_are_refused():
    with pytest.raises(ConfigError, match="the same structure again"):
        validate({"copies": 2, "rattle": 0, "strain": 0}, pseudolabel.Config, where="here")
