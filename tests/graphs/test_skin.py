"""A list with a skin gives the edges that a fresh list would, or says that it cannot."""

import jax
import numpy as np
import pytest
from ase import Atoms

from mlffjax.errors import InputError
from mlffjax.graphs import skin
from mlffjax.graphs.batching import build
from mlffjax.graphs.graph import edge_vectors
from mlffjax.structures.system import from_ase

CUTOFF, ELEMENTS = 4.0, (24, 51, 52)
prune = jax.jit(skin.prune, static_argnums=(1, 2))


def crystal(pbc=True):
    """A skewed cell thinner than two cutoffs."""
    return from_ase(
        Atoms(
            "CrSbTe2",
            cell=[[4.6, 0.2, 0], [-2.1, 4.0, 0.3], [0.4, -0.6, 5.1]],
            scaled_positions=[[0, 0, 0], [0.5, 0.4, 0.3], [0.1, 0.6, 0.7], [0.7, 0, 0.6]],
            pbc=pbc,
        )
    )


def deformed(system, rng, size):
    """Every atom and the cell moved by random amounts of a given size."""
    strain = np.eye(3) + size * rng.normal(size=(3, 3)) * 0.05
    positions = system.positions @ strain + size * rng.normal(size=system.positions.shape)
    return system._replace(positions=positions, cell=system.cell @ strain)


def at(near, system):
    return near.graph._replace(positions=system.positions, cell=system.cell[None])


def edges(graph):
    """Edges as a set of (receiver, sender, shift)."""
    rows, slots = np.nonzero(graph.edge_mask)
    table = np.column_stack([rows, graph.neighbors[rows, slots], graph.shifts[rows, slots]])
    return set(map(tuple, table.astype(int)))


@pytest.mark.parametrize("pbc", [True, [True, True, False], [False, True, False], False])
def test_a_valid_list_prunes_to_the_fresh_one(rng, pbc):
    system = crystal(pbc)
    near = skin.make(system, CUTOFF, 0.8)
    valid = 0
    for trial in range(60):
        moved = deformed(system, rng, 0.02 + 0.4 * trial / 60)
        if skin.is_valid(near, moved):
            valid += 1
            pruned, found = prune(at(near, moved), CUTOFF, 64)
            fresh = build([moved], ELEMENTS, CUTOFF, dtype=np.float64)
            assert edges(jax.tree.map(np.asarray, pruned)) == edges(fresh)
            assert found.slots == fresh.edge_mask.sum(axis=1).max()
            lengths = np.linalg.norm(edge_vectors(fresh, 99.0), axis=-1)
            np.testing.assert_allclose(found.closest, lengths.min(), rtol=1e-14)
    assert 3 < valid < 60  # the criterion was tried on both sides


def test_mirrors_of_pruned_edges_are_mirrors():
    near = skin.make(crystal(), CUTOFF, 0.8)
    pruned = jax.tree.map(np.asarray, prune(at(near, crystal()), CUTOFF, 64)[0])
    vectors = np.asarray(edge_vectors(pruned, 99.0)).reshape(-1, 3)
    mask = pruned.edge_mask.reshape(-1)
    mirror = pruned.reverse.reshape(-1)
    np.testing.assert_allclose(vectors[mirror[mask]], -vectors[mask], atol=1e-14)
    assert (mirror[~mask] == np.flatnonzero(~mask)).all()


def test_too_few_slots_are_reported():
    system = crystal()
    near = skin.make(system, CUTOFF, 0.8)
    most = build([system], ELEMENTS, CUTOFF).edge_mask.sum(axis=1).max()
    assert prune(at(near, system), CUTOFF, 4)[1].slots == most
    assert skin.crowding(near, CUTOFF) == most
    assert skin.crowding(near, CUTOFF + 0.8) == near.graph.edge_mask.sum(axis=1).max()


def test_what_moves_no_atom_against_another_keeps_a_list_valid():
    system = crystal()
    near = skin.make(system, CUTOFF, 0.5)
    strain = np.eye(3) * 1.1  # edges grow, so none can come in
    assert skin.is_valid(near, system._replace(positions=system.positions + 50.0))
    assert skin.is_valid(
        near, system._replace(positions=system.positions @ strain, cell=system.cell @ strain)
    )
    assert skin.is_valid(near, system._replace(numbers=system.numbers[::-1]))
    assert not skin.is_valid(near, system._replace(pbc=np.array([True, True, False])))
    assert not skin.is_valid(
        near, system._replace(numbers=system.numbers[:3], positions=system.positions[:3])
    )


def test_no_list_is_valid_for_what_is_not_finite():
    system = crystal()
    near = skin.make(system, CUTOFF, 0.5)
    assert skin.is_valid(near, system)
    for value in (np.nan, np.inf):
        assert not skin.is_valid(near, system._replace(positions=system.positions + value))
        assert not skin.is_valid(near, system._replace(cell=system.cell + value))


def test_one_atom_may_use_the_whole_skin_and_two_share_it():
    system = crystal()._replace(pbc=np.zeros(3, bool))
    near = skin.make(system, CUTOFF, 1.0)
    one, two = np.zeros((2, 4, 3))
    one[0, 0] = 0.95
    two[0, 0], two[1, 0] = 0.55, -0.55
    assert skin.is_valid(near, system._replace(positions=system.positions + one))
    assert not skin.is_valid(near, system._replace(positions=system.positions + two))


def test_impossible_structures_are_named():
    system = crystal()
    with pytest.raises(InputError, match="finite positions"):
        skin.make(system._replace(positions=system.positions * np.nan), CUTOFF, 0.5)
    flat = system.cell * [[1], [1], [0]]
    with pytest.raises(InputError, match="lie in one plane"):
        skin.make(system._replace(cell=flat), CUTOFF, 0.5)
    skin.make(system._replace(cell=flat, pbc=np.array([True, True, False])), CUTOFF, 0.5)


@pytest.mark.parametrize("pbc", [True, [True, True, False], False])
def test_the_slack_on_the_device_is_never_more_generous_than_the_host(rng, pbc):
    system = crystal(pbc)
    near = skin.make(system, CUTOFF, 0.8, atoms=6)
    slack = jax.jit(skin.slack, static_argnums=(3, 4))
    padding = np.zeros((2, 3))
    said_valid = 0
    for trial in range(60):
        moved = deformed(system, rng, 0.5 * trial / 60)
        positions = np.concatenate([moved.positions, padding])
        left = slack(skin.anchor(near), positions, moved.cell, CUTOFF, 0.8)
        said_valid += left >= 0
        assert left < 0 or skin.is_valid(near, moved)
    assert 5 < said_valid < 60
    at_rest = np.concatenate([system.positions, padding])
    # Rounding of a few additions of numbers of order 5.
    np.testing.assert_allclose(
        slack(skin.anchor(near), at_rest, system.cell, CUTOFF, 0.8), 0.8, atol=1e-13
    )
