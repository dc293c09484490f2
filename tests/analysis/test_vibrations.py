import numpy as np
import pytest

from mlffjax.analysis import vibrations
from mlffjax.errors import InputError

STEP = 5.0  # fs
TOP = 8.0  # THz
SITES = 8


def chain(rng, frames, mass=100.0):
    """Exact motion of a periodic chain, in x, y and z alike, every mode with the same energy.

    ν_q = TOP |sin(π q / N)|, q = 1 ... N-1.
    """
    time, site = STEP * np.arange(frames), np.arange(SITES)
    velocities = np.zeros((frames, SITES, 3))
    for q in range(1, SITES):
        omega = 2e-3 * np.pi * TOP * abs(np.sin(np.pi * q / SITES))
        wave = np.cos(2 * np.pi * q * site / SITES) + np.sin(2 * np.pi * q * site / SITES)
        phases = rng.uniform(0, 2 * np.pi, size=3)
        velocities += wave[:, None] * np.cos(omega * time[:, None] + phases)[:, None, :]
    return velocities, np.full(SITES, mass), np.full(SITES, 52), time


def test_harmonic_chain(rng):
    """Each frequency has the weight of its degeneracy, at its place."""
    arguments = chain(rng, 12000)
    found = vibrations.density_of_states(*arguments, longest_fs=6000.0)
    spacing = found.frequency_thz[1]
    assert found.total.sum() * spacing == pytest.approx(3 * SITES - 3, rel=1e-12)
    # Half a Hann window of 6 ps: lines 0.17 THz wide.
    assert found.resolution_thz == pytest.approx(1 / 6, rel=1e-2)
    exact = TOP * np.sin(np.pi * np.arange(1, SITES // 2 + 1) / SITES)
    for line, degeneracy in zip(exact, [6, 6, 6, 3], strict=True):
        near = abs(found.frequency_thz - line) < 0.3
        weight = found.total[near].sum() * spacing
        # Products of different modes average to 1/(T Δν) of each; 60 ps, 0.6 THz.
        assert weight == pytest.approx(degeneracy, rel=0.05)
        peak = found.frequency_thz[near][found.total[near].argmax()]
        assert peak == pytest.approx(line, abs=float(found.resolution_thz) / 2)
        half = found.frequency_thz[near][found.total[near] > found.total[near].max() / 2]
        assert np.ptp(half) == pytest.approx(float(found.resolution_thz), rel=0.3)
    assert not found.aliased
    np.testing.assert_allclose(found.partial.sum(axis=0), found.total)


def test_chain_at_constant_density_of_states_near_zero_is_empty(rng):
    found = vibrations.density_of_states(*chain(rng, 6000), longest_fs=3000.0)
    gap = found.frequency_thz < 2.0  # the lowest mode of the chain is at 3.06 THz
    assert abs(found.total[gap]).sum() * found.frequency_thz[1] < 0.3


def springs(rng, frames, frequencies, masses):
    """Independent oscillators with one kT each, in equilibrium with a weak thermostat."""
    time = STEP * np.arange(frames)
    phase = rng.uniform(0, 2 * np.pi, size=(len(masses), 3))
    phase = phase + np.cumsum(0.03 * rng.normal(size=(frames, len(masses), 3)), axis=0)
    turn = 2e-3 * np.pi * np.asarray(frequencies)[:, None] * time[:, None, None]
    return np.cos(turn + phase) / np.sqrt(masses)[:, None], time


def test_species_share_the_modes_whatever_their_mass(rng):
    masses = np.array([50.0] * 5 + [130.0] * 15)
    numbers = np.array([24] * 5 + [52] * 15)
    velocities, time = springs(rng, 8000, [7.0] * 5 + [3.0] * 15, masses)
    found = vibrations.density_of_states(
        velocities, masses, numbers, time, longest_fs=2000.0, modes=60
    )
    assert found.species.tolist() == [24, 52]
    weight = found.partial.sum(axis=1) * found.frequency_thz[1]
    np.testing.assert_allclose(weight, [15, 45], rtol=1e-3)
    peaks = found.frequency_thz[found.partial.argmax(axis=1)]
    np.testing.assert_allclose(peaks, [7, 3], atol=0.25)


def test_error_bars_of_the_spectrum(rng):
    """Against the spread over many trajectories."""
    masses, spectra, errors = np.full(4, 60.0), [], []
    for _ in range(30):
        velocities, time = springs(rng, 4000, [5.0] * 4, masses)
        found = vibrations.density_of_states(
            velocities, masses, np.full(4, 24), time, longest_fs=1000.0
        )
        spectra.append(found.total)
        errors.append(found.total_error)
    near = abs(found.frequency_thz - 5) < 1
    ratio = np.sqrt((np.array(errors) ** 2).mean(0)) / np.std(spectra, axis=0, ddof=1)
    assert 0.6 < np.median(ratio[near]) < 1.5


def test_autocorrelation_of_an_oscillator(rng):
    masses = np.full(6, 80.0)
    velocities, time = springs(rng, 6000, [4.0] * 6, masses)
    found = vibrations.velocity_autocorrelation(velocities, masses, time, longest_fs=500.0)
    # The phase diffuses by 0.03² a frame, which damps by exp(-0.03²/2) a frame.
    frames = np.arange(len(found.value))
    exact = np.cos(2e-3 * np.pi * 4.0 * STEP * frames) * np.exp(-0.5 * 0.03**2 * frames)
    assert found.value[0] == 1
    # The first lag is fixed by the normalisation; noise of 18 oscillators over 30 ps below it.
    np.testing.assert_allclose(found.value, exact, atol=0.05)
    assert found.scale == pytest.approx(1.5, rel=0.02)  # three times m <cos²>/m
    assert found.times_fs[-1] == 500.0
    assert (found.error[1:] > 0).all()


def test_central_differences(rng):
    time = 2.0 * np.arange(2000)
    omega = 2e-3 * np.pi * 5.0
    positions = np.sin(omega * time)[:, None, None] * np.ones((1, 2, 3)) + 40
    found = vibrations.central_velocities(positions, time)
    factor = np.sin(omega * 2.0) / (omega * 2.0)
    exact = omega * np.cos(omega * time[1:-1]) * factor
    np.testing.assert_allclose(found[:, 0, 0], exact, atol=1e-12)
    with pytest.raises(InputError, match="at least 3 frames"):
        vibrations.central_velocities(positions[:2], time[:2])


def test_sampling_that_folds_frequencies_is_refused(rng):
    velocities, masses, numbers, time = chain(rng, 2000)

    def spectrum(every, **options):
        return vibrations.density_of_states(
            velocities[::every], masses, numbers, time[::every], **options
        )

    with pytest.raises(InputError, match=r"every 100 fs: frequencies above 5 THz"):
        spectrum(20)
    with pytest.raises(InputError, match="up to 4 THz for samples every 100 fs, got 8 THz"):
        spectrum(20, highest_thz=8.0)
    assert not spectrum(2).aliased
    assert not spectrum(8, highest_thz=9.0).aliased


def test_folded_frequencies_are_flagged(rng):
    """29 THz, sampled at 16.7 THz at most, shows up at 4; 33 close to the edge of the band."""
    masses = np.full(4, 60.0)
    time = 30.0 * np.arange(4000)
    turn = 2e-3 * np.pi * np.array([5.0, 5.0, 5.0, 17.3])[:, None] * time[:, None, None]
    velocities = np.cos(turn + rng.uniform(0, 6, size=(4, 3)))
    found = vibrations.density_of_states(velocities, masses, np.full(4, 24), time, highest_thz=10.0)
    assert found.aliased


def test_bad_input(rng):
    velocities, masses, numbers, time = chain(rng, 200)
    with pytest.raises(InputError, match=r"longest lag from 5 to 195 fs .* got 200 fs"):
        vibrations.velocity_autocorrelation(velocities, masses, time, longest_fs=200.0)
    with pytest.raises(InputError, match="not all zero"):
        vibrations.velocity_autocorrelation(0 * velocities, masses, time)
    with pytest.raises(InputError, match="not all zero"):
        vibrations.density_of_states(0 * velocities, masses, numbers, time)
    with pytest.raises(InputError, match="velocities of shape"):
        vibrations.velocity_autocorrelation(velocities[:, 0], masses, time)
    with pytest.raises(InputError, match="8 positive masses"):
        vibrations.velocity_autocorrelation(velocities, masses[1:], time)
