import jax
import numpy as np
import pytest
from pathways.argon import CUTOFF, hop

from mlffjax import trees
from mlffjax.graphs.batching import build
from mlffjax.pathways import hessians
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import energies_and_forces
from mlffjax.potential.pair import lennard_jones
from mlffjax.potential.sources import mace

forces_of = jax.jit(energies_and_forces)
hessian = jax.jit(hessians.hessian)
STEP = 0.01  # Å


def rattled(atoms=6):
    made = hop(0.3)
    shift = np.random.default_rng(2).normal(scale=0.05, size=made.positions.shape)
    keep = slice(None, atoms)
    return made._replace(positions=(made.positions + shift)[keep], numbers=made.numbers[keep])


def of_lennard_jones():
    return trees.cast(lennard_jones((18,), cutoff=CUTOFF), np.float64)


def of_mace():
    model = mace.energy_model(mace.example(), (18,))
    return trees.cast(Potential(model.init(key=jax.random.key(1)), model), np.float64)


@pytest.fixture(scope="module", params=[of_lennard_jones, of_mace], ids=["lennard_jones", "mace"])
def potential(request):
    return request.param()


@pytest.fixture(scope="module")
def structure():
    return rattled()


@pytest.fixture(scope="module")
def graph(potential, structure):
    return build([structure], (18,), potential.cutoff, dtype=np.float64)


@pytest.fixture(scope="module")
def found(potential, graph):
    return np.asarray(hessian(potential, graph, np.arange(6)))


def test_hessian_is_the_derivative_of_the_forces(potential, structure, graph, found):
    def force(atom, axis, step):
        positions = structure.positions.copy()
        positions[atom, axis] += step
        # The list of the start: nothing enters the cutoff within the step, up to the smooth end.
        moved = graph._replace(positions=positions)
        return np.asarray(forces_of(potential, moved)[1]).reshape(-1)

    for column in (0, 4, 17):
        atom, axis = divmod(column, 3)
        # Fourth order in the step of 0.01 Å; 1e-4 of the largest element.
        near = force(atom, axis, STEP) - force(atom, axis, -STEP)
        far = force(atom, axis, 2 * STEP) - force(atom, axis, -2 * STEP)
        expected = -(8 * near - far) / (12 * STEP)
        np.testing.assert_allclose(found[column], expected, atol=1e-4 * np.abs(found).max())


def test_hessian_is_symmetric_and_knows_no_translation(found):
    np.testing.assert_array_equal(found, found.T)
    for axis in range(3):
        along = np.tile(np.eye(3)[axis], 6)
        # Cancellation of sums over 18 numbers.
        np.testing.assert_allclose(found @ along, 0, atol=1e-12 * np.abs(found).max())


@pytest.fixture(scope="module")
def argon(structure):
    """The cheap potential, its graph and its whole Hessian."""
    potential = of_lennard_jones()
    made = build([structure], (18,), potential.cutoff, dtype=np.float64)
    return potential, made, np.asarray(hessian(potential, made, np.arange(6)))


def test_fixed_atoms_leave_a_block_of_the_whole(argon):
    potential, graph, whole = argon
    block = np.asarray(hessian(potential, graph, np.array([1, 4])))
    rows = [3, 4, 5, 12, 13, 14]
    np.testing.assert_allclose(block, whole[np.ix_(rows, rows)], atol=1e-12 * np.abs(whole).max())


def test_product_is_that_of_the_matrix(argon):
    potential, graph, whole = argon
    direction = np.random.default_rng(0).normal(size=(6, 3))
    product = jax.jit(hessians.product)(potential, graph, np.arange(6), direction)
    expected = (whole @ direction.reshape(-1)).reshape(-1, 3)
    # Sums of 18 products in another order.
    np.testing.assert_allclose(product, expected, atol=1e-12 * np.abs(whole).max() * 18)


def test_gradient_is_minus_the_force_of_the_free_atoms(argon):
    potential, graph, _ = argon
    energy, gradient = jax.jit(hessians.gradient)(potential, graph, np.array([2, 5]))
    expected, forces = forces_of(potential, graph)
    assert energy == pytest.approx(float(expected[0]), rel=1e-12)
    np.testing.assert_allclose(gradient, -np.asarray(forces)[[2, 5]], atol=1e-13)
