import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.mep import NEB

from mlffjax.pathways import neb

IMAGES, ATOMS = 8, 5
EXACT = 1e-12  # some hundred float64 operations on numbers of order one

pull = jax.jit(neb.pull)


@pytest.fixture
def case(rng):
    """Random places and forces; energies with rising, falling and extreme images."""
    positions = np.cumsum(rng.normal(size=(IMAGES, ATOMS, 3)), axis=0)
    energies = np.array([0.0, 0.3, 0.9, 0.5, 0.2, 1.4, 1.1, 0.1])
    return positions, energies, rng.normal(size=(IMAGES, ATOMS, 3))


def of_ase(positions, energies, forces, stiffness, *, climb):
    images = [Atoms("Ar5", positions=p) for p in positions]
    for atoms, energy, force in zip(images, energies, forces, strict=True):
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=force)
    band = NEB(images, k=list(stiffness), climb=climb, method="improvedtangent")
    return band.get_forces().reshape(-1, ATOMS, 3)


def ours(case, stiffness, *, climb, count=IMAGES):
    return pull(*case, stiffness=stiffness, climbing=jnp.array(climb), count=jnp.array(count))


@pytest.mark.parametrize("climb", [False, True])
@pytest.mark.parametrize(
    "stiffness", [np.full(7, 0.1), np.linspace(0.1, 2, 7)], ids=["one", "many"]
)
def test_force_equals_that_of_ase(case, stiffness, climb):
    found = ours(case, stiffness, climb=climb)
    expected = of_ase(*case, stiffness, climb=climb)
    np.testing.assert_allclose(found.force[1:-1], expected, atol=EXACT)
    np.testing.assert_array_equal(found.force[np.array([0, -1])], 0)
    assert found.top == 5
    largest = np.linalg.norm(expected, axis=-1).max(axis=-1)
    np.testing.assert_allclose(found.residual[1:-1], largest, atol=EXACT)


@pytest.mark.parametrize(
    "energies", [[0, 0, 0, 0, 1, 1, 0, 0], [0, 1, 2, 3, 4, 5, 6, 7], [3, 2, 2, 2, 1, 0, 0, 0]]
)
def test_force_equals_that_of_ase_for_flat_and_monotonic_bands(case, energies):
    case = (case[0], np.array(energies, float), case[2])
    expected = of_ase(*case, np.full(7, 0.1), climb=False)
    found = ours(case, np.full(7, 0.1), climb=False).force[1:-1]
    index = [k for k in range(6) if len({*energies[k : k + 3]}) > 1]  # see the next test
    np.testing.assert_allclose(found[np.array(index)], expected[index], atol=EXACT)


def test_three_equal_energies_have_the_tangent_between_neighbours(case):
    """ASE's tangent vanishes there, and the image would slide along the path."""
    steps = np.diff(case[0], axis=0)
    found = np.asarray(neb.tangents(jnp.asarray(steps), jnp.zeros(IMAGES)))
    expected = steps[1:] + steps[:-1]
    expected /= np.linalg.norm(expected, axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(found[1:-1], expected, atol=EXACT)


def test_climbing_image_feels_no_spring_and_the_opposite_force_along_the_path(case):
    found = ours(case, np.full(7, 5.0), climb=True)
    forces, tangent = case[2][5], np.asarray(found.tangent[5])
    along = (forces * tangent).sum()
    np.testing.assert_allclose(found.force[5], forces - 2 * along * tangent, atol=EXACT)


def test_nothing_climbs_where_an_end_is_highest(case):
    positions, energies, forces = case
    energies = energies + np.array([2.0] + [0.0] * 7)
    found, plain = (ours((positions, energies, forces), np.ones(7), climb=c) for c in (True, False))
    np.testing.assert_array_equal(found.force, plain.force)


def test_padding_changes_nothing(case):
    positions, energies, forces = case
    padded = (
        np.concatenate([positions, positions[-1:], positions[-1:]]),
        np.append(energies, [energies[-1]] * 2),
        np.concatenate([forces, np.full((2, ATOMS, 3), 7.0)]),
    )
    found = ours(padded, np.full(9, 0.1), climb=True)
    expected = ours(case, np.full(7, 0.1), climb=True)
    np.testing.assert_array_equal(found.force[:IMAGES], expected.force)
    np.testing.assert_array_equal(found.force[IMAGES:], 0)
    assert found.top == expected.top


def test_springs_are_stiff_at_the_top_and_soft_below_the_higher_end():
    energies = jnp.array([0.0, 0.2, 0.6, 1.0, 0.8, 0.4])
    found = neb.springs(energies, softest=jnp.array(0.1), stiffest=jnp.array(1.1))
    # k = 1.1 - (1.0 - E) / (1.0 - 0.4), E the higher end of each segment.
    np.testing.assert_allclose(found, [0.1, 1.1 - 0.4 / 0.6, 1.1, 1.1, 1.1 - 0.2 / 0.6], rtol=EXACT)
    plain = neb.springs(energies, softest=jnp.array(0.3), stiffest=jnp.array(0.3))
    np.testing.assert_allclose(plain, 0.3, rtol=EXACT)
    downhill = neb.springs(-jnp.arange(4.0), softest=jnp.array(0.1), stiffest=jnp.array(1.0))
    np.testing.assert_allclose(downhill, 0.1, rtol=EXACT)
