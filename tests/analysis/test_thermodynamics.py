import numpy as np
import pytest
import scipy.signal
from ase.cell import Cell

from mlffjax import units
from mlffjax.analysis import thermodynamics
from mlffjax.errors import InputError
from mlffjax.structures import builders


def noise(rng, memory, n):
    decay = np.exp(-1 / memory)
    white = rng.normal(size=n + 500) * np.sqrt(1 - decay**2)
    return np.asarray(scipy.signal.lfilter([1], [1, -decay], white))[-n:]


def test_averages_of_components(rng):
    tensor = 2.0 + rng.normal(size=(4000, 3, 3))
    found = thermodynamics.averages({"temperature": noise(rng, 5, 4000), "tensor": tensor})
    assert found["tensor"].mean.shape == (3, 3)
    # 4000 independent samples of width 1.
    np.testing.assert_allclose(found["tensor"].error, 1 / np.sqrt(4000), rtol=0.5)
    assert found["temperature"].correlation_time == pytest.approx(5, rel=0.4)
    with pytest.raises(InputError, match="energy: expected a series"):
        thermodynamics.averages({"energy": np.zeros(1)})


def test_pressure_is_a_third_of_the_trace(rng):
    tensor = rng.normal(size=(500, 3, 3))
    found = thermodynamics.pressure(tensor)
    assert found.mean == pytest.approx(np.einsum("tii->", tensor) / 1500)
    with pytest.raises(InputError, match="pressure tensors"):
        thermodynamics.pressure(tensor[:, 0])


def test_lattice_parameters_against_ase(rng):
    cells = builders.bulk().cell + 0.05 * rng.normal(size=(300, 3, 3))
    found = thermodynamics.lattice(cells)
    reference = np.array([Cell(cell).cellpar() for cell in cells]).mean(axis=0)
    np.testing.assert_allclose(np.concatenate([found.lengths.mean, found.angles.mean]), reference)
    np.testing.assert_allclose(found.volume.mean, np.mean([Cell(c).volume for c in cells]))
    with pytest.raises(InputError, match="fixed cell"):
        thermodynamics.lattice(cells[0])


def test_bulk_modulus(rng):
    """A volume with the fluctuations that 40 GPa allow at 300 K."""
    volume, modulus = 1500.0, 40.0
    width = np.sqrt(units.KB * 300 * volume / (modulus * units.GPA))
    volumes = volume + width * noise(rng, 3, 20000)
    found = thermodynamics.bulk_modulus(volumes, 300.0)
    assert found.mean == pytest.approx(modulus, abs=4 * float(found.error))
    assert found.error < 2
    with pytest.raises(InputError, match="constant pressure"):
        thermodynamics.bulk_modulus(np.full(9, volume), 300.0)
    with pytest.raises(InputError, match="temperature"):
        thermodynamics.bulk_modulus(volumes, 0.0)


@pytest.mark.parametrize("memory", [0.1, 8])
def test_errors_of_slopes_cover(rng, memory):
    times, slope = 2.0 * np.arange(1500), 3e-4
    off = []
    for _ in range(150):
        found = thermodynamics.trend(5.0 + slope * times + noise(rng, memory, 1500), times)
        off.append((found.slope - slope) / found.error)
    # 68 % expected; binomial noise of 150 is 4 %.
    assert 0.52 < (np.abs(off) < 1).mean() < 0.82
    assert found.scatter == pytest.approx(1, rel=0.3)
    assert found.intercept == pytest.approx(5, abs=0.6)


def test_a_line_is_exact():
    times = 7.0 + 2.0 * np.arange(50)
    found = thermodynamics.trend(1e6 + 1e-3 * (times - 7), times)
    assert found.slope == pytest.approx(1e-3)
    assert found.intercept == pytest.approx(1e6)
    assert found.error < 1e-10


def test_energy_drift_units():
    """1 meV a ns for each of 10 atoms."""
    times = np.arange(0.0, 1e5, 100)
    found = thermodynamics.energy_drift(-123.4 + 10 * 1e-3 * times / 1e6, times, 10)
    assert found.slope == pytest.approx(1.0, rel=1e-6)
    assert found.intercept == pytest.approx(-12340)
    with pytest.raises(InputError, match="1 atom or more"):
        thermodynamics.energy_drift(times, times, 0)


def test_growth_of_displacements(rng, monkeypatch):
    """Atoms that fly apart: RMSD = speed t, whatever the whole does."""
    masses = np.array([1.0, 3.0])
    times = 10.0 * np.arange(100)
    apart = np.array([[3.0, 0, 0], [-1.0, 0, 0]]) * 1e-3  # centre of mass at rest
    positions = apart * times[:, None, None] + 50 * np.sin(times / 90)[:, None, None] + 7
    found = thermodynamics.displacement_growth(positions, masses, times)
    speed = 1e-3 * np.sqrt((9 + 1) / 2)
    np.testing.assert_allclose(found.rmsd, speed * times, atol=1e-10)
    assert found.rmsd_trend.slope == pytest.approx(speed)
    monkeypatch.setattr(thermodynamics, "CHUNK", 7)
    again = thermodynamics.displacement_growth(positions, masses, times)
    np.testing.assert_allclose(again.rmsd, found.rmsd)
    assert found.msd_trend.slope == pytest.approx(speed**2 * times[-1], rel=1e-6)


def test_bad_input():
    with pytest.raises(InputError, match="at least 3 samples"):
        thermodynamics.trend(np.zeros(2), np.arange(2.0))
    with pytest.raises(InputError, match="times that increase"):
        thermodynamics.trend(np.zeros(4), np.zeros(4))
    with pytest.raises(InputError, match="at least 2 frames"):
        thermodynamics.displacement_growth(np.zeros((1, 2, 3)), np.ones(2), np.zeros(1))
