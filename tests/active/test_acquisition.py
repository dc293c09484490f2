import numpy as np
import pytest
from ase.build import bulk

from mlffjax import trees
from mlffjax.active.acquisition import (
    AcquisitionConfig,
    NothingLeft,
    acquire,
    closest_contact,
    place_digest,
)
from mlffjax.config import validate
from mlffjax.errors import ConfigError, InputError
from mlffjax.potential.pair import lennard_jones
from mlffjax.representation.features import outputs
from mlffjax.structures.checks import structure_digest
from mlffjax.structures.geometry import radii
from mlffjax.structures.system import Frame, System, from_ase

CRYSTAL = from_ase(bulk("Ar", "fcc", a=5.3, cubic=True) * (2, 1, 1))
MODELS = [
    trees.cast(lennard_jones((18,), epsilon=e, sigma=s, cutoff=5.0), np.float64)
    for e, s in ((0.010, 3.4), (0.014, 3.35))
]


def frame(system, index, trajectory="md"):
    return Frame(system, None, None, None, "md", trajectory, float(index), f"{index}", "", {})


def settings(kind="at_random", **changes):
    return validate({"select": {"kind": kind}} | changes, AcquisitionConfig, where="test")


@pytest.fixture
def candidates(rng):
    return [
        frame(CRYSTAL._replace(positions=CRYSTAL.positions + rng.normal(scale=0.1, size=(8, 3))), i)
        for i in range(8)
    ]


def test_what_is_labelled_repeated_or_senseless_is_dropped_with_a_reason(candidates):
    labelled = candidates[0].system
    close = CRYSTAL.positions.copy()
    close[1] = close[0] + [1.0, 0.0, 0.0]
    pushed = CRYSTAL.positions.copy()
    pushed[1] = pushed[0] + [2.0, 0.0, 0.0]
    odd = [CRYSTAL._replace(positions=places) for places in (close, pushed)]
    everything = [*candidates, candidates[3], *(frame(s, 20 + n) for n, s in enumerate(odd))]
    found = acquire(everything, [labelled], MODELS, settings(contact=0.5), 5)
    reasons = {each.index: each.reason for each in found.dropped}
    assert set(reasons) == {0, 8, 9, 10}
    assert "label" in reasons[0]
    assert "candidate 3" in reasons[8]
    assert "covalent radii" in reasons[9]
    assert "eV/Å" in reasons[10]
    assert len(found.indices) == 5
    assert not set(found.indices) & set(reasons)


def test_near_copies_are_dropped(candidates):
    moved = candidates[2].system
    near = frame(moved._replace(positions=moved.positions + 5.3 * np.array([1.0, 0, 0])), 30)
    found = acquire([*candidates, near], [], MODELS, settings(), 20 - 12)
    # The same crystal moved as a whole: other positions, equal features.
    assert [(each.index, "features" in each.reason) for each in found.dropped] == [(8, True)]
    kept = acquire([*candidates, near], [], MODELS, settings(duplicate=0), 9)
    assert not kept.dropped


def test_scores_belong_to_the_chosen_after_others_were_dropped(candidates):
    labelled = [candidates[0].system, candidates[5].system]
    found = acquire(candidates, labelled, MODELS, settings("force_disagreement"), 3)
    for index, score in zip(found.indices, found.scores, strict=True):
        forces = np.stack([outputs(m, [candidates[index].system]).forces for m in MODELS])
        spread = np.sqrt(((forces - forces.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0))
        assert score == pytest.approx(spread.max(), rel=1e-9)
    assert not {0, 5} & set(found.indices)


def test_fewer_than_asked_are_all_taken_with_a_warning(candidates):
    with pytest.warns(RuntimeWarning, match="only 8 candidates"):
        found = acquire(candidates, [], MODELS, settings("farthest_point"), 9)
    assert sorted(found.indices) == list(range(8))


def test_nothing_to_choose_from(candidates):
    with pytest.raises(InputError, match="got none; add"):
        acquire([], [], MODELS, settings(), 1)
    with pytest.raises(InputError, match="models"):
        acquire(candidates, [], [], settings(), 1)
    with pytest.raises(InputError, match="none of 8: it has a label"):
        acquire(candidates, [f.system for f in candidates], MODELS, settings(), 1)


def test_one_model_is_no_committee(candidates):
    with pytest.raises(InputError, match="at least 2"):
        acquire(candidates, [], MODELS[:1], settings("force_disagreement"), 2)


def test_unknown_kind_is_named():
    with pytest.raises(ConfigError, match="farthest_point"):
        settings("farthest_points")


def test_contact_counts_periodic_images():
    size = float(radii(np.array([18]))[0])
    cell = np.diag([2.0, 20.0, 20.0])
    lone = System(np.zeros((1, 3)), np.array([18], np.int32), cell, np.ones(3, bool))
    assert closest_contact(lone) == pytest.approx(2.0 / (2 * size))
    assert closest_contact(lone._replace(pbc=np.zeros(3, bool))) == np.inf


def test_key_is_of_the_structure_to_a_millionth_of_an_angstrom():
    moved = CRYSTAL._replace(positions=CRYSTAL.positions + 1e-9)
    assert structure_digest(moved) == structure_digest(CRYSTAL)
    assert structure_digest(
        CRYSTAL._replace(positions=CRYSTAL.positions + 1e-4)
    ) != structure_digest(CRYSTAL)


def test_nothing_left_is_told_from_other_mistakes(candidates):
    with pytest.raises(NothingLeft, match="it has a label"):
        acquire(candidates[:1], [candidates[0].system], MODELS, settings(), 1)


def test_lattice_vectors_do_not_make_another_place(rng):
    steps = rng.integers(-2, 3, size=(len(CRYSTAL.numbers), 3))
    moved = CRYSTAL._replace(positions=CRYSTAL.positions + steps @ CRYSTAL.cell)
    assert place_digest(moved) == place_digest(CRYSTAL)
    assert structure_digest(moved) != structure_digest(CRYSTAL)
    open_one = CRYSTAL._replace(pbc=np.array([True, True, False]))
    lifted = open_one._replace(positions=open_one.positions + CRYSTAL.cell[2])
    assert place_digest(lifted) != place_digest(open_one)


def test_rigidity_asks_for_what_labels_determine_least(candidates, rng):
    """Of one model: small and large rattles, of which small ones are labelled."""
    labelled = [candidates[0].system, candidates[5].system]
    moved = CRYSTAL.positions + rng.normal(scale=0.35, size=(8, 3))
    wild = frame(CRYSTAL._replace(positions=moved), 40)
    kind = settings("rigidity", contact=0, largest_force=1e6)
    found = acquire([*candidates, wild], labelled, MODELS[:1], kind, 2)
    assert found.indices[0] == 8
    assert np.all(np.diff(np.array(found.scores, float)) < 0)
    with pytest.raises(InputError, match="expected labelled structures"):
        acquire(candidates, [], MODELS[:1], kind, 1)
