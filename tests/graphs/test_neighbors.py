import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st

from mlffjax.graphs.neighbors import neighbors_within
from mlffjax.structures.system import from_ase


def edges(near):
    rows, slots = np.nonzero(near.mask)
    return sorted(
        (int(i), int(near.neighbors[i, s]), *map(int, near.shifts[i, s]))
        for i, s in zip(rows, slots, strict=True)
    )


def ase_edges(atoms, cutoff):
    i, j, shifts = neighbor_list("ijS", atoms, cutoff)
    return sorted((int(a), int(b), *map(int, s)) for a, b, s in zip(i, j, shifts, strict=True))


@given(seed=st.integers(0, 2**32 - 1), pbc=st.tuples(*[st.booleans()] * 3))
@settings(max_examples=40, deadline=None)
def test_agrees_with_ase_in_any_cell(seed, pbc):
    rng = np.random.default_rng(seed)
    cell = rng.normal(scale=1.2, size=(3, 3)) + np.diag(rng.uniform(2, 6, 3))
    if np.linalg.det(cell) < 2:
        cell = np.diag([3.0, 4.0, 5.0])
    atoms = Atoms("Cr3", scaled_positions=rng.uniform(-1.5, 1.5, (3, 3)), cell=cell, pbc=pbc)
    cutoff = rng.uniform(2.0, 5.0)
    assert edges(neighbors_within(from_ase(atoms), cutoff)) == ase_edges(atoms, cutoff)


@pytest.mark.parametrize(
    "atoms",
    [molecule("H2O"), Atoms("Te"), bulk("Cr", "bcc", a=2.9)],
    ids=["cluster without a cell", "lone atom", "one-atom crystal"],
)
def test_agrees_with_ase_at_the_edges_of_use(atoms):
    assert edges(neighbors_within(from_ase(atoms), 4.0)) == ase_edges(atoms, 4.0)


def test_every_edge_points_to_its_mirror_image():
    atoms = bulk("Cr", "bcc", a=2.9) * (2, 1, 1)
    near = neighbors_within(from_ase(atoms), 5.0)
    slots = near.mask.shape[1]
    rows, columns = np.nonzero(near.mask)
    mirrored = near.reverse[rows, columns]
    j, s = np.divmod(mirrored, slots)
    np.testing.assert_array_equal(j, near.neighbors[rows, columns])
    np.testing.assert_array_equal(near.neighbors[j, s], rows)
    np.testing.assert_array_equal(near.shifts[j, s], -near.shifts[rows, columns])
    np.testing.assert_array_equal(near.reverse[j, s], rows * slots + columns)
