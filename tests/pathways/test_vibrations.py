import dataclasses

import ase.units
import jax
import numpy as np
import pytest
from ase.vibrations import Vibrations
from pathways.argon import CUTOFF, HELD, at, crystal, hop, landscape, system

import mlffjax
from mlffjax import trees
from mlffjax.errors import CompatibilityError, ConfigError, InputError
from mlffjax.pathways import surface, vibrations
from mlffjax.pathways.saddle import refine_minimum
from mlffjax.pathways.vibrations import lowest_modes, normal_modes
from mlffjax.potential.pair import LennardJonesModel, lennard_jones
from mlffjax.structures.system import to_ase

EPSILON, SIGMA = 0.0104, 3.40
MASS = 39.948  # u, of argon
WELL = 2 ** (1 / 6) * SIGMA  # Å, the pair's minimum
SPRING = 72 * EPSILON / (2 ** (1 / 3) * SIGMA**2)  # eV/Å², its curvature


def argon(cutoff=CUTOFF):
    return lennard_jones((18,), epsilon=EPSILON, sigma=SIGMA, cutoff=cutoff)


def thz(eigenvalue):
    """Through SI units, by ASE's constants."""
    joule, angstrom, u = ase.units._e, 1e-10, ase.units._amu
    return np.sqrt(eigenvalue * joule / angstrom**2 / u) / (2 * np.pi) * 1e-12


@pytest.fixture(scope="module")
def relaxed():
    return refine_minimum(argon(), hop(0.0)).system


def test_dimer_has_one_vibration_with_the_reduced_mass():
    masses = np.array([30.0, 50.0])
    found = normal_modes(argon(8.5), system([[0, 0, 0], [WELL, 0, 0]]), masses=masses)
    reduced = 30.0 * 50.0 / 80.0
    assert found.freedom == len(found.eigenvalues) == 1
    assert found.frequencies[0] == pytest.approx(thz(SPRING / reduced), rel=1e-8)
    assert found.wavenumbers[0] == pytest.approx(
        thz(SPRING / reduced) * 1e12 / ase.units._c / 100, rel=1e-8
    )
    # Amplitudes are inverse to the masses; unit norm.
    moved = found.displacements[0, :, 0]
    assert moved[0] / moved[1] == pytest.approx(-50.0 / 30.0)
    assert np.linalg.norm(found.displacements[0]) == pytest.approx(1.0)


def test_fcc_of_nearest_neighbours_vibrates_as_its_springs_say():
    """At X: longitudinal 8 k / m, transverse 4 k / m; the cubic cell folds three X onto Gamma."""
    lattice = np.sqrt(2) * WELL
    basis = lattice * np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    # The pair force vanishes, and the cutoff lies before second neighbours.
    found = normal_modes(argon(1.35 * WELL), system(basis, lattice * np.eye(3)))
    expected = np.repeat([4.0, 8.0], [6, 3]) * SPRING / MASS
    np.testing.assert_allclose(found.eigenvalues, expected, rtol=1e-8)


def test_frequencies_are_those_of_ase(tmp_path, relaxed):
    atoms = to_ase(relaxed)
    atoms.calc = mlffjax.calculator(argon())
    moving = [0, 3, 7]
    ase_modes = Vibrations(atoms, indices=moving, name=str(tmp_path / "v"), delta=0.01, nfree=4)
    ase_modes.run()
    quanta = np.real(ase_modes.get_energies())  # eV
    fixed = np.ones(len(atoms), bool)
    fixed[moving] = False
    found = normal_modes(argon(), relaxed, masses=atoms.get_masses(), fixed=fixed)
    planck = ase.units._hplanck / ase.units._e * 1e12
    # Fourth-order differences over 0.01 Å.
    np.testing.assert_allclose(found.frequencies * planck, np.sort(quanta), rtol=1e-4)
    assert found.freedom == 9


def test_saddle_has_one_imaginary_frequency(relaxed):
    saddle = landscape("double_well", height=0.2, width=1.0, across=2.0)
    found = normal_modes(saddle, at(0.0, 0.0, 0.0), fixed=HELD, masses=np.array([1.0, 4.0]))
    # d²/dx² of h ((x/w)² - 1)² at 0 is -4 h / w².
    assert found.frequencies[0] == pytest.approx(-thz(4 * 0.2 / 4.0), rel=1e-8)
    assert found.unstable() == 1
    assert normal_modes(argon(), relaxed).unstable() == 0


def test_translations_are_projected_out_of_a_crystal(relaxed):
    found = normal_modes(argon(), relaxed, masses=np.linspace(10, 60, 31))
    assert found.freedom == len(found.eigenvalues) == 3 * 31 - 3
    assert found.frequencies[0] > 0.1  # no zero is left
    momentum = np.einsum("a,mak->mk", np.linspace(10, 60, 31), found.displacements)
    np.testing.assert_allclose(momentum, 0, atol=1e-10)


@pytest.mark.parametrize(
    ("positions", "pbc", "motions"),
    [
        ([[0, 0, 0]], (False,) * 3, 3),
        ([[0, 0, 0], [0, 0, 4.0]], (False,) * 3, 5),
        ([[0, 0, 0], [0, 0, 4.0], [0, 3.0, 1.0]], (False,) * 3, 6),
        ([[0, 0, 0], [0, 3.0, 4.0]], (False, False, True), 4),
        ([[0, 0, 0], [0, 0, 4.0]], (False, False, True), 3),  # a straight wire
        ([[0, 0, 0], [0, 3.0, 4.0]], (True, True, False), 3),
    ],
)
def test_rigid_motions_follow_the_periodic_directions(positions, pbc, motions):
    made = system(positions, 10 * np.eye(3))._replace(pbc=np.array(pbc))
    prepared = surface.make(argon(), made)
    rows = surface.rigid_motions(prepared, made.positions)
    assert len(rows) == motions
    np.testing.assert_allclose(rows @ rows.T, np.eye(motions), atol=1e-12)
    rest = surface.complement(rows)
    np.testing.assert_allclose(rows @ rest, 0, atol=1e-12)
    assert rest.shape[1] == rows.shape[1] - motions


def test_lowest_modes_are_the_first_of_all(relaxed):
    masses = np.linspace(20, 60, 31)
    every, few = (f(argon(), hop(0.5), masses=masses) for f in (normal_modes, lowest_modes))
    np.testing.assert_allclose(few.eigenvalues, every.eigenvalues[:4], rtol=1e-8)
    assert few.freedom == every.freedom
    assert len(few.eigenvalues) == 4
    overlap = np.abs((few.displacements[0] * every.displacements[0]).sum())
    assert overlap == pytest.approx(1.0, abs=1e-6)


def test_units_are_those_of_ase():
    assert vibrations.frequency(np.array([2.0, -2.0])) == pytest.approx([thz(2.0), -thz(2.0)])
    assert pytest.approx(1e12 / ase.units._c / 100) == vibrations.WAVENUMBER


def test_bad_input_is_told():
    potential, made = argon(), crystal(1)
    with pytest.raises(InputError, match="positive masses, u, got 0 for atom 2"):
        normal_modes(potential, made, masses=np.array([1.0, 1.0, 0.0, 1.0]))
    with pytest.raises(InputError, match="one mass for each of 4 atoms"):
        normal_modes(potential, made, masses=np.ones(3))
    with pytest.raises(InputError, match="all are fixed"):
        normal_modes(potential, made, fixed=np.ones(4, bool))
    with pytest.raises(InputError, match="one truth value for each of 4 atoms"):
        normal_modes(potential, made, fixed=np.zeros(3, bool))
    with pytest.raises(InputError, match="nothing can vibrate"):
        normal_modes(potential, system([[0, 0, 0]]))
    with pytest.raises(InputError, match="use normal_modes"):
        lowest_modes(potential, system([[0, 0, 0], [WELL, 0, 0]]))


class Rough(LennardJonesModel):
    supports = frozenset({"atomic_energies"})


def test_a_potential_without_second_derivatives_is_refused():
    potential = dataclasses.replace(argon(), model=Rough((18,), CUTOFF))
    with pytest.raises(CompatibilityError, match="second derivatives"):
        normal_modes(potential, crystal(1))


def test_single_precision_is_refused(monkeypatch):
    monkeypatch.setattr(jax.config, "read", lambda name: False)
    with pytest.raises(ConfigError, match="64-bit"):
        surface.make(argon(), crystal(1))


def test_lists_that_outgrow_their_room_are_made_anew():
    potential, compact = trees.cast(argon(), np.float64), crystal(2).positions[:8]
    prepared = surface.make(potential, system(10 * compact))
    assert prepared.shape.slots < 7
    dense = surface.graph_at(prepared, compact)
    assert dense.neighbors.shape[1] == surface.MORE_SLOTS
    fresh = surface.make(potential, system(compact))
    energies = [surface.slope(one, compact)[0] for one in (prepared, fresh)]
    assert energies[0] == pytest.approx(energies[1], rel=1e-12)
