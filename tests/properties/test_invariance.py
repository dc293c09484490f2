"""What no description of a structure may change: energies, forces and stress over random cells."""

import jax
import numpy as np
import pytest
from references.cells import KINDS, PBC, random_system, unimodular
from scipy.spatial.transform import Rotation

from mlffjax import trees
from mlffjax.config import validate
from mlffjax.graphs.batching import Shape, build
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import predict
from mlffjax.registry import resolve
from mlffjax.structures.system import System

ELEMENTS = (24, 51, 52)
SHAPE, WIDER = Shape(24, 128, 3), Shape(40, 160, 5)
CUTOFF = 4.0
CASES = 40
# Sums of some hundred terms of order 1 in another order: 1e-15 times the number of terms, and a
# factor of 1e2 for cancellation. Energies relative to the sum of their parts, see ``scale``.
EXACT = 1e-10
# The same in single precision (6e-8), with the rounding of positions of 10 Å times a steep force.
SINGLE = 2e-4


def potential_of(kind):
    if kind == "mace":
        settings = {"r_max": CUTOFF, "num_bessel": 4, "max_ell": 2, "correlation": 2,
                    "hidden_irreps": "4x0e + 4x1o", "radial_mlp": (8,)}  # fmt: skip
    else:
        settings = {"cutoff": CUTOFF}
    source = resolve("potential.sources", kind)
    model = source.energy_model(validate(settings, source.Config, where="test"), ELEMENTS)
    return Potential(model.init(key=jax.random.key(1)), model)


@pytest.fixture(scope="module", params=["mace", "lennard_jones"])
def evaluate(request):
    """Predictions for up to three structures at once, in either precision and either shape."""
    compiled = jax.jit(predict)
    potentials = {kind: trees.cast(potential_of(request.param), kind)
                  for kind in (np.float64, np.float32)}  # fmt: skip

    def of(*systems, shape=SHAPE, dtype=np.float64):
        graph = build(systems, ELEMENTS, CUTOFF, shape=shape, dtype=dtype)
        found = jax.tree.map(np.asarray, compiled(potentials[dtype], graph))
        counts = np.cumsum([0, *(len(system.numbers) for system in systems)])
        return [
            (found.energy[k], found.forces[counts[k] : counts[k + 1]], found.stress[k])
            for k in range(len(systems))
        ]

    return of


def cases(count=CASES, seed=7, **choices):
    """Structures of each kind of cell with each mixture of periods in turn."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        kind, pbc = KINDS[number % len(KINDS)], PBC[(3 * number) % len(PBC)]
        # 2 Å: steep walls would only test how well sums of huge terms cancel.
        system = random_system(rng, kind, pbc, elements=ELEMENTS, closest=2.0, **choices)
        yield rng, _complete(system)


def _complete(system):
    """Volume defines the stress; where there is no third vector any will do."""
    empty = ~system.cell.any(axis=1)
    if not empty.any():
        return system
    basis = np.linalg.qr(np.concatenate([system.cell[~empty], np.eye(3)]).T)[0][:, :3].T
    cell = system.cell.copy()
    cell[empty] = 10.0 * basis[(~empty).sum() :]
    return system._replace(cell=cell)


def assert_same(found, expected, *, tolerance=EXACT, forces=None, stress=None, factor=1.0):
    energy, force, tensor = expected
    force, tensor = (force if forces is None else forces), (tensor if stress is None else stress)
    scale = 1 + abs(energy) + np.abs(force).max(initial=0)
    assert np.isfinite(found[0])
    assert found[0] == pytest.approx(factor * energy, abs=tolerance * scale * factor)
    np.testing.assert_allclose(found[1], force, atol=tolerance * scale)
    np.testing.assert_allclose(found[2], tensor, atol=tolerance * scale)


def test_rotations_turn_forces_and_stress(evaluate):
    largest = 0.0
    for rng, system in cases():
        turn = Rotation.from_rotvec(3 * rng.normal(size=3)).as_matrix()
        if rng.random() < 0.5:
            turn = -turn  # neither model can tell left from right
        moved = system._replace(positions=system.positions @ turn.T, cell=system.cell @ turn.T)
        (plain,), (found,) = evaluate(system), evaluate(moved)
        assert_same(found, plain, forces=plain[1] @ turn.T, stress=turn @ plain[2] @ turn.T)
        largest = max(largest, np.abs(plain[1]).max())
    assert largest > 0.01  # eV/Å: there was something to turn


def test_translations_change_nothing(evaluate):
    for rng, system in cases():
        steps = rng.integers(-3, 4, (len(system.numbers), 3)) * system.pbc
        positions = system.positions + rng.uniform(-50, 50, 3) + steps @ system.cell
        (plain,), (found,) = evaluate(system), evaluate(system._replace(positions=positions))
        assert_same(found, plain)


def test_the_order_of_atoms_does_not_matter(evaluate):
    for rng, system in cases():
        order = rng.permutation(len(system.numbers))
        other = system._replace(positions=system.positions[order], numbers=system.numbers[order])
        (plain,), (found,) = evaluate(system), evaluate(other)
        assert_same(found, plain, forces=plain[1][order])


def test_another_basis_of_the_lattice_is_the_same_crystal(evaluate):
    for rng, system in cases():
        if not system.pbc.all():
            continue
        (plain,) = evaluate(system)
        (found,) = evaluate(system._replace(cell=unimodular(rng) @ system.cell))
        assert_same(found, plain)


def test_supercells_are_that_many_cells(evaluate):
    for rng, system in cases(atoms=4):
        axis = int(rng.integers(3))
        count = int(rng.integers(2, 5)) if system.pbc[axis] else 1
        places = np.concatenate([system.positions + k * system.cell[axis] for k in range(count)])
        cell = system.cell.copy()
        cell[axis] *= count
        large = System(places, np.tile(system.numbers, count), cell, system.pbc)
        (plain,), (found,) = evaluate(system), evaluate(large)
        assert_same(found, plain, factor=count, forces=np.tile(plain[1], (count, 1)))


def test_neither_padding_nor_company_matters(evaluate):
    before = None
    for _, system in cases():
        (plain,), (padded,) = evaluate(system), evaluate(system, shape=WIDER)
        assert_same(padded, plain)
        if before is not None:
            both = evaluate(before[0], system, before[0])
            assert_same(both[1], plain)
            assert_same(both[0], before[1])
            np.testing.assert_array_equal(both[0][1], both[2][1])
        before = system, plain


def test_single_precision_stays_close(evaluate):
    worst = 0.0
    for _, system in cases():
        (plain,), (single,) = evaluate(system), evaluate(system, dtype=np.float32)
        assert single[0].dtype == np.float32
        assert_same(single, plain, tolerance=SINGLE)
        worst = max(worst, abs(float(single[0]) - plain[0]))
    assert worst > 0  # the two are not the same program


def test_lone_atoms_without_neighbours_feel_nothing(evaluate):
    for pbc in PBC:
        system = System(np.zeros((1, 3)), np.array([51], np.int32), 50 * np.eye(3), np.array(pbc))
        ((energy, forces, stress),) = evaluate(system)
        assert np.isfinite(energy)
        np.testing.assert_array_equal(forces, 0)
        np.testing.assert_array_equal(stress, 0)
