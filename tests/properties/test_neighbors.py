"""Neighbour lists over random cells against two independent programs and every-image summation."""

import ase.neighborlist
import matscipy.neighbours
import numpy as np
import pytest
from references.cells import KINDS, PBC, brute_force, random_system

from mlffjax.errors import CapacityError, HealthError
from mlffjax.graphs import neighbors, skin
from mlffjax.graphs.batching import Shape, build, shape_of
from mlffjax.graphs.neighbors import neighbors_within
from mlffjax.structures.system import to_ase

FEW, MANY = 200, 10_000
ROUNDING = 1e-9  # Å; edges this close to the cutoff may be counted or not


def ours(system, cutoff):
    near = neighbors_within(system, cutoff)
    rows, slots = np.nonzero(near.mask)
    assert_mirrored(near)
    return rows, near.neighbors[rows, slots], near.shifts[rows, slots]


def assert_mirrored(near):
    """Each edge knows the edge that goes back; empty slots know themselves."""
    atoms, slots = near.mask.shape
    edge = np.arange(atoms * slots)
    back = near.reverse.ravel()
    np.testing.assert_array_equal(back[back], edge)
    used = near.mask.ravel()
    np.testing.assert_array_equal(back[~used], edge[~used])
    np.testing.assert_array_equal(near.neighbors.ravel()[back[used]], edge[used] // slots)
    shifts = near.shifts.reshape(-1, 3)
    np.testing.assert_array_equal(shifts[back[used]], -shifts[used])


def of_ase(system, cutoff):
    return ase.neighborlist.neighbor_list("ijS", to_ase(system), cutoff)


def of_pymatgen(system, cutoff):
    neighbors = pytest.importorskip("pymatgen.optimization.neighbors")
    cell = to_ase(system).cell.complete().array
    i, j, shifts, lengths = neighbors.find_points_in_spheres(
        all_coords=np.ascontiguousarray(system.positions),
        center_coords=np.ascontiguousarray(system.positions),
        r=float(cutoff),
        pbc=np.ascontiguousarray(system.pbc, dtype=np.int64),
        lattice=np.ascontiguousarray(cell),
        tol=1e-8,
    )
    other = (lengths > 1e-8) & (lengths < cutoff)  # it counts the atom itself, and the cutoff
    return i[other], j[other], np.rint(shifts[other]).astype(int)


def assert_same(system, cutoff, found, expected, program):
    """Equal sets of edges, but for those at the cutoff to rounding."""
    found, expected = ({(int(i), int(j), *map(int, s)) for i, j, s in zip(*edges, strict=True)}
                       for edges in (found, expected))  # fmt: skip
    for i, j, *shift in found ^ expected:
        vector = system.positions[j] - system.positions[i] + np.array(shift) @ system.cell
        assert abs(np.linalg.norm(vector) - cutoff) < ROUNDING, (program, system, cutoff, i, j)


def systems(count, seed):
    """Each kind of cell with each mixture of periods in turn."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        pbc = PBC[(number // len(KINDS)) % len(PBC)]
        yield random_system(rng, kind, pbc), rng.uniform(2.0, 5.5)


def compare(count, seed, *others):
    edges = 0
    for system, cutoff in systems(count, seed):
        found = ours(system, cutoff)
        edges += len(found[0])
        for other in others:
            assert_same(system, cutoff, found, other(system, cutoff)[:3], other.__name__)
    assert edges > 10 * count  # not all are empty


def test_agrees_in_cells_of_every_kind():
    compare(FEW, 0, of_ase, brute_force)


@pytest.mark.slow
def test_agrees_in_ten_thousand_cells():
    compare(MANY, 1, of_ase, brute_force)


@pytest.mark.slow
def test_agrees_with_pymatgen_in_ten_thousand_cells():
    pytest.importorskip("pymatgen.optimization.neighbors")
    compare(MANY, 1, of_pymatgen)


def test_a_list_that_lacks_an_edge_is_refused(rng, monkeypatch):
    """As matscipy 1.2 makes them in 40 of 1500 such cells."""
    system = random_system(rng, "skewed", PBC[-1])

    def forgetful(quantities, **given):
        return [values[1:] for values in matscipy.neighbours.neighbour_list(quantities, **given)]

    monkeypatch.setattr(neighbors, "neighbour_list", forgetful)
    with pytest.raises(HealthError, match=r"not symmetric.*pip install 'matscipy>=1\.3'"):
        neighbors_within(system, 5.0)


def test_no_atom_sees_a_neighbour_in_an_empty_cell(rng):
    for pbc in PBC:
        system = random_system(rng, "empty", pbc, atoms=1)
        assert not neighbors_within(system, 5.0).mask.any()


def test_what_does_not_fit_is_always_refused(rng):
    elements = (24, 51, 52)
    for number, (system, cutoff) in enumerate(systems(60, 2)):
        needed = shape_of(build([system], elements, cutoff))
        name = Shape._fields[number % 3]
        small = needed._replace(**{name: getattr(needed, name) - (4 if name == "slots" else 1)})
        if min(small) > 0:
            with pytest.raises(CapacityError, match="do not fit"):
                build([system], elements, cutoff, shape=small)
        elif name == "graphs":
            with pytest.raises(CapacityError):
                build([system], elements, cutoff, shape=small)


def test_narrowing_reports_every_overflow():
    for system, cutoff in systems(12, 3):
        if len(system.numbers) < 2 or not system.pbc.any():
            continue
        near = skin.make(system, cutoff, 0.5)
        counts = neighbors_within(system, cutoff).mask.sum(axis=1)
        for slots in (4, 8):
            graph, narrowing = skin.prune(near.graph, cutoff, slots)
            assert int(narrowing.slots) == counts.max()
            if counts.max() <= slots:
                assert int(graph.edge_mask.sum()) == counts.sum()
