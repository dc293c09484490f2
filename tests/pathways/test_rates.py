import ase.units
import numpy as np
import pytest
from pathways.argon import CUTOFF, HELD, at, hop, landscape

from mlffjax.errors import InputError
from mlffjax.pathways import rates
from mlffjax.pathways.rates import diffusion_coefficient, harmonic, vineyard, zero_point_energy
from mlffjax.pathways.saddle import refine_minimum, refine_saddle
from mlffjax.pathways.vibrations import lowest_modes, normal_modes
from mlffjax.potential.pair import lennard_jones

HEIGHT, WIDTH, ACROSS, MASS = 0.2, 1.3, 2.0, 7.0  # eV, Å, eV/Å², u
MASSES = np.array([1.0, MASS])


def thz(eigenvalue):
    """Through SI units, by ASE's constants."""
    root = np.sqrt(eigenvalue * ase.units._e / 1e-20 / ase.units._amu)
    return root / (2 * np.pi) * 1e-12


@pytest.fixture(scope="module")
def well():
    return landscape("double_well", height=HEIGHT, width=WIDTH, across=ACROSS)


@pytest.fixture(scope="module")
def points(well):
    minimum = refine_minimum(well, at(-1.1, 0.1, 0.0), fixed=HELD)
    return minimum, refine_saddle(well, at(-0.2, 0.1, 0.0), fixed=HELD)


@pytest.fixture(scope="module")
def vacancy():
    potential = lennard_jones((18,), cutoff=CUTOFF)
    return potential, refine_minimum(potential, hop(0.0)), refine_saddle(potential, hop(0.42))


def test_double_well_has_the_closed_form(well, points):
    """Across, minimum and saddle are alike; along, the minimum's curvature is 8 h / w²."""
    found = harmonic(well, *points, masses=MASSES)
    along = thz(8 * HEIGHT / WIDTH**2 / MASS)
    assert found.prefactor_thz == pytest.approx(along, rel=1e-6)
    assert found.barrier == pytest.approx(HEIGHT, abs=1e-10)
    assert found.correction == 0.0
    temperature = np.array([300.0, 900.0])
    expected = along * np.exp(-HEIGHT / (ase.units.kB * temperature))
    np.testing.assert_allclose(found.at(temperature), expected, rtol=1e-5)


def test_zero_point_energy_is_half_a_quantum_a_mode(well, points):
    planck = ase.units._hplanck / ase.units._e * 1e12
    assert pytest.approx(planck, rel=1e-6) == rates.PLANCK
    along, across = thz(8 * HEIGHT / WIDTH**2 / MASS), thz(ACROSS / MASS)
    below = normal_modes(well, points[0].system, fixed=HELD, masses=MASSES)
    assert zero_point_energy(below) == pytest.approx(planck * (along + 2 * across) / 2, rel=1e-6)
    found = harmonic(well, *points, masses=MASSES, zero_point=True)
    # The saddle has lost the mode along the path.
    assert found.correction == pytest.approx(-planck * along / 2, rel=1e-6)
    assert found.at(300.0) > harmonic(well, *points, masses=MASSES).at(300.0)


def test_prefactor_is_the_ratio_of_determinants(vacancy):
    """Independent of which modes there are: sqrt(det below / |det above|) |unstable| / 2 pi."""
    potential, minimum, saddle = vacancy
    masses = np.linspace(20, 60, 31)
    below, above = (
        normal_modes(potential, point.system, masses=masses) for point in (minimum, saddle)
    )
    assert len(below.eigenvalues) == 90
    assert (above.eigenvalues > 0).sum() == 89
    logarithms = [np.log(np.abs(modes.eigenvalues)).sum() / 2 for modes in (below, above)]
    unstable = thz(-above.eigenvalues[0])
    expected = unstable * np.exp(logarithms[0] - logarithms[1])
    found = harmonic(potential, minimum, saddle, masses=masses).prefactor_thz
    assert found == pytest.approx(expected, rel=1e-9)
    assert found == pytest.approx(vineyard(below, above), rel=1e-9)


def test_heavier_atoms_jump_less_often_by_the_root_of_the_mass(vacancy):
    potential, minimum, saddle = vacancy
    light, heavy = (
        harmonic(potential, minimum, saddle, masses=np.full(31, mass)) for mass in (10.0, 40.0)
    )
    assert light.prefactor_thz / heavy.prefactor_thz == pytest.approx(2.0, rel=1e-9)
    assert light.barrier == heavy.barrier


def test_modes_must_match(vacancy):
    potential, minimum, saddle = vacancy
    below, above = (normal_modes(potential, point.system) for point in (minimum, saddle))
    with pytest.raises(InputError, match="all 90 modes of the minimum, got 4"):
        vineyard(lowest_modes(potential, minimum.system), above)
    with pytest.raises(InputError, match="0 imaginary frequencies at the minimum"):
        vineyard(above, above)
    with pytest.raises(InputError, match="1 imaginary frequencies at the saddle"):
        vineyard(below, below)
    fixed = np.arange(31) > 20
    with pytest.raises(InputError, match="minimum and saddle of one system, got 63 and 90"):
        vineyard(normal_modes(potential, minimum.system, fixed=fixed), above)
    with pytest.raises(InputError, match="all 90 modes"):
        zero_point_energy(below._replace(eigenvalues=below.eigenvalues[:4]))


def test_rates_need_converged_points(well, points):
    with pytest.raises(InputError, match="stationary point of order 0, got one of order 1"):
        harmonic(well, points[1], points[1])
    with pytest.raises(InputError, match="above 0 K"):
        harmonic(well, *points).at(0.0)
    free = refine_minimum(lennard_jones((18,), cutoff=CUTOFF), hop(0.0))
    with pytest.raises(InputError, match="same fixed atoms"):
        harmonic(well, free, points[1])


def test_diffusion_is_that_of_a_random_walk(rng):
    """Walkers on a square lattice that jump at random times; 4 neighbours, two dimensions."""
    rate, jump, time = 0.5, 1.7, 200.0
    walkers = 20000
    steps = rng.poisson(4 * rate * time, size=walkers)
    x = rng.binomial(steps, 0.5)  # jumps along x, the rest along y
    ends = [jump * (2 * rng.binomial(n, 0.5) - n) for n in (x, steps - x)]
    slope = (ends[0] ** 2 + ends[1] ** 2).mean() / (4 * time)
    found = diffusion_coefficient(rate, jump=jump, paths=4, dimensions=2)
    # The mean of 20000 squared distances is known to about 1 / sqrt(20000).
    assert float(found) == pytest.approx(slope, rel=0.03)
    np.testing.assert_allclose(
        diffusion_coefficient(np.array([1.0, 2.0]), jump=2.0, paths=6, dimensions=3), [4.0, 8.0]
    )


@pytest.mark.parametrize(
    "choice",
    [
        {"jump": 0.0, "paths": 4, "dimensions": 2},
        {"jump": 1.0, "paths": 0, "dimensions": 2},
        {"jump": 1.0, "paths": 1, "dimensions": 4},
    ],
)
def test_diffusion_needs_a_lattice(choice):
    with pytest.raises(InputError, match="positive jump length"):
        diffusion_coefficient(1.0, **choice)
