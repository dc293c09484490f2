import jax
import numpy as np
import pytest
from ase.build import bulk
from ase.filters import UnitCellFilter
from ase.optimize import FIRE

import mlffjax
from mlffjax.errors import CompatibilityError, ConfigError, InputError
from mlffjax.pathways import relax as module
from mlffjax.pathways.relax import relax
from mlffjax.pathways.settings import Relaxation
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures.system import from_ase


@pytest.fixture(scope="module")
def potential():
    return lennard_jones((18,), cutoff=5.5)


@pytest.fixture(scope="module")
def rattled():
    atoms = bulk("Ar", a=5.35, cubic=True)
    atoms.rattle(0.15, seed=1)
    return atoms


@pytest.fixture(scope="module")
def of_ase(potential, rattled):
    atoms = rattled.copy()
    atoms.calc = mlffjax.calculator(potential)
    FIRE(atoms, logfile=None).run(fmax=1e-3, steps=500)
    return atoms


def test_relaxes_as_ase_does(potential, rattled, of_ase):
    found = relax([potential], [from_ase(rattled)], Relaxation(fmax=1e-3))[0][0]
    assert found.status == "converged"
    assert found.reason == ""
    # The same steps; rounding only.
    assert found.energy == pytest.approx(of_ase.get_potential_energy(), abs=1e-9)
    np.testing.assert_allclose(found.system.positions, of_ase.positions, atol=1e-6)
    assert found.residual == pytest.approx(np.linalg.norm(found.forces, axis=1).max())
    assert found.residual < 1e-3
    np.testing.assert_array_equal(found.deformation, np.eye(3))
    assert len(found.traces.residual) == found.iterations
    assert found.traces.residual[-1] == found.residual


def test_the_cell_relaxes_to_the_minimum_ase_finds(potential, rattled):
    settings = Relaxation(fmax=2e-4, cell="full")
    found = relax([potential], [from_ase(rattled)], settings)[0][0]
    atoms = rattled.copy()
    atoms.calc = mlffjax.calculator(potential)
    FIRE(UnitCellFilter(atoms), logfile=None).run(fmax=2e-4, steps=500)
    assert found.status == "converged"
    assert found.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
    assert np.linalg.det(found.system.cell) == pytest.approx(atoms.get_volume(), rel=3e-3)
    np.testing.assert_allclose(rattled.cell.array @ found.deformation, found.system.cell)


@pytest.mark.parametrize(
    ("kind", "free"),
    [
        ("isotropic", np.eye(3)),
        ("in_plane", np.diag([1.0, 1.0, 0.0])),
        ("normal", np.diag([0.0, 0.0, 1.0])),
    ],
)
def test_strains_are_projected_on_what_is_allowed(kind, free, rng):
    matrix = rng.normal(size=(3, 3))
    projection = module.strains(kind, 5.0 * np.eye(3), np.ones(3, bool))
    found = np.einsum("abcd,cd->ab", projection, matrix)
    twice = np.einsum("abcd,cd->ab", projection, found)
    np.testing.assert_allclose(twice, found, atol=1e-12)
    if kind == "isotropic":
        np.testing.assert_allclose(found, np.trace(matrix) / 3 * np.eye(3), atol=1e-12)
    else:
        np.testing.assert_allclose(found, free @ matrix @ free, atol=1e-12)


def test_open_directions_are_not_strained(rng):
    matrix = rng.normal(size=(3, 3))
    slab = module.strains("full", np.diag([3.0, 4.0, 20.0]), np.array([True, True, False]))
    found = np.einsum("abcd,cd->ab", slab, matrix)
    np.testing.assert_allclose(found[2], 0, atol=1e-12)
    np.testing.assert_allclose(found[:2, :2], matrix[:2, :2], atol=1e-12)
    with pytest.raises(InputError, match="cell: none"):
        module.strains("normal", np.diag([3.0, 4.0, 20.0]), np.array([True, True, False]))
    with pytest.raises(InputError, match="cell: none"):
        module.strains("full", np.zeros((3, 3)), np.zeros(3, bool))


def test_fixed_atoms_stay(potential, rattled):
    found = relax([potential], [from_ase(rattled)], Relaxation(fmax=1e-3), fixed=(0, -1))[0][0]
    np.testing.assert_array_equal(found.system.positions[[0, -1]], rattled.positions[[0, -1]])
    assert np.linalg.norm(found.forces[[0, -1]], axis=1).max() > 1e-3  # they would like to move
    assert found.status == "converged"


def test_many_structures_with_many_potentials_equal_single_runs(potential, rattled):
    other = lennard_jones((18,), epsilon=0.02, sigma=3.3, cutoff=5.5)
    fewer = rattled.copy()
    del fewer[3]
    fewer = from_ase(fewer)
    structures = [from_ase(rattled), fewer]
    settings = Relaxation(fmax=1e-3)
    together = relax([potential, other], structures, settings, batch_size=3)
    for system, row in zip(structures, together, strict=True):
        for each, found in zip([potential, other], row, strict=True):
            alone = relax([each], [system], settings)[0][0]
            assert found.status == "converged"
            assert found.iterations == alone.iterations
            # Sums over padded atoms in another order.
            assert found.energy == pytest.approx(alone.energy, abs=1e-10)
            assert found.system.positions.shape == system.positions.shape
            np.testing.assert_allclose(found.system.positions, alone.system.positions, atol=1e-7)


def test_giving_up_and_explosions_are_told_apart(potential, rattled):
    short = relax([potential], [from_ase(rattled)], Relaxation(fmax=1e-3, max_steps=4))[0][0]
    assert short.status == "max_steps"
    assert "after 4 iterations" in short.reason
    crushed = from_ase(rattled)
    positions = crushed.positions.copy()
    positions[1] = positions[0] + [0.5, 0.0, 0.0]
    found = relax([potential], [crushed._replace(positions=positions)], Relaxation(fmax=1e-3))[0][0]
    assert found.status == "exploded"
    assert "on top of each other in image 0, atom" in found.reason


def test_bad_input(potential, rattled):
    system = from_ase(rattled)
    with pytest.raises(InputError, match="fixed atoms from 0 to 3"):
        relax([potential], [system], fixed=(4,))
    with pytest.raises(InputError, match="layer for each of 4"):
        relax([potential], [system], layers=(0, 1))
    with pytest.raises(CompatibilityError, match="Kr"):
        relax([potential], [system._replace(numbers=np.full(4, 36, np.int32))])
    with pytest.raises(InputError, match="finite"):
        relax([potential], [system._replace(positions=system.positions * np.nan)])


def test_64_bit_numbers_are_needed(potential, rattled):
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(ConfigError, match="64-bit"):
            relax([potential], [from_ase(rattled)])
    finally:
        jax.config.update("jax_enable_x64", True)
