from typing import Any

import numpy as np
import pytest
import scipy.signal

from mlffjax.analysis.cepstral import cepstral
from mlffjax.errors import InputError

VOLUME, TEMPERATURE, INTERVAL = 5000.0, 300.0, 5.0


def relaxing(shape, *, tau_fs=100.0, seed=0):
    """Gaussian currents with <J(0) J(t)> = exp(-t / tau): a first-order autoregression."""
    decay = np.exp(-INTERVAL / tau_fs)
    noise = np.random.default_rng(seed).normal(size=(shape[0], shape[1] + 500, *shape[2:]))
    noise *= np.sqrt(1 - decay**2)
    return np.asarray(scipy.signal.lfilter([1.0], [1.0, -decay], noise, axis=1))[:, 500:]


def exact(tau_fs=100.0):
    """Conductivity of that current in W/mK, from SI constants."""
    charge, boltzmann, mass = 1.6021766208e-19, 1.38064852e-23, 1.660539040e-27
    decay = np.exp(-INTERVAL / tau_fs)
    integral = INTERVAL * 1e-15 * (0.5 + decay / (1 - decay))
    return charge**3 / mass * integral / (VOLUME * 1e-30 * boltzmann * TEMPERATURE**2)


def estimate(currents, **changes):
    settings: dict[str, Any] = {"volume": VOLUME, "temperature_k": TEMPERATURE} | changes
    return cepstral(currents, np.arange(currents.shape[-2]) * INTERVAL, **settings)


def test_a_known_process_has_its_conductivity_in_si_units():
    found = estimate(relaxing((1, 40000, 3)))
    assert abs(found.conductivity - exact()) < 3 * found.error
    assert 0 < found.error < 0.2 * exact()
    assert found.interval[0] < found.conductivity < found.interval[1]
    assert found.smoothed[0] == found.conductivity
    assert found.flags == ()


def test_the_smoothed_spectrum_is_the_process_one():
    found = estimate(relaxing((4, 20000, 3)))
    decay = np.exp(-INTERVAL / 100.0)
    angle = 2 * np.pi * found.frequencies_thz * 1e-3 * INTERVAL
    known = exact() * (1 - decay) ** 2 / np.abs(1 - decay * np.exp(-1j * angle)) ** 2
    # The tail is flat and low; relative deviations are those of the logarithm, 2 % here.
    assert np.abs(np.log(found.smoothed / known)).max() < 0.25
    assert abs(np.log(found.spectrum / known).mean()) < 0.1  # digamma(12) - log(12) = -0.04


def test_error_bars_are_as_large_as_the_scatter():
    """With a fixed number of coefficients the theory is exact; a spread of 40 is known to 11 %.

    The logarithm of this spectrum has the cepstrum decay^n / n, and 0.951^150 / 150 is nothing.
    """
    found = [estimate(relaxing((1, 4000, 3), seed=s), coefficients=150) for s in range(40)]
    values = np.log([one.conductivity for one in found])
    claimed = found[0].error / found[0].conductivity
    assert 0.65 < values.std(ddof=1) / claimed < 1.4
    assert abs(values.mean() - np.log(exact())) < 4 * claimed / np.sqrt(40)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Long correlations need many coefficients, too many for the criterion alone.

    Of 40 intervals of 95 % more than 5 miss with a probability of 1.4 %.
    """
    missed = 0
    for seed in range(40):
        found = estimate(relaxing((2, 8000, 3), tau_fs=600.0, seed=seed), lowpass_thz=15.0)
        missed += not found.interval[0] < exact(600.0) < found.interval[1]
    assert missed <= 5


def test_the_low_pass_leaves_the_value_and_drops_optical_peaks():
    acoustic = relaxing((2, 20000, 3))
    # A peak at 10 THz, far above what carries heat here.
    time = np.arange(20000)[:, None] * INTERVAL
    optical = 3 * relaxing((2, 20000, 3), tau_fs=2000.0, seed=3)
    both = acoustic + optical * np.cos(2 * np.pi * 0.010 * time)
    found = estimate(both, lowpass_thz=8.0)
    assert found.frequencies_thz[-1] <= 8.0
    assert found.coefficients < estimate(both).coefficients
    assert abs(found.conductivity - exact()) < 3 * found.error + 0.02 * exact()


def test_a_current_that_leaks_in_is_taken_out():
    """Heat + 3 x particles has ten times the conductivity; the reduced one is that of heat."""
    heat, particles = relaxing((4, 10000, 3)), relaxing((4, 10000, 3), tau_fs=300.0, seed=1)
    mixed = heat + 3 * particles
    naive, reduced = estimate(mixed), estimate(mixed, others=particles[:, :, None])
    assert naive.conductivity > 5 * exact()
    assert abs(reduced.conductivity - exact()) < 3 * reduced.error
    # Whatever the zero of energy, the reduced value is the same; 1e-10 is rounding.
    again = estimate(heat - 50 * particles, others=-2e3 * particles[:, :, None])
    np.testing.assert_allclose(again.conductivity, reduced.conductivity, rtol=1e-9)


def test_the_reduced_estimate_is_unbiased():
    """40 runs with two currents taken out of 6: the mean of the logarithm within 4 errors."""
    values = []
    for seed in range(40):
        currents = relaxing((2, 3000, 3, 3), seed=seed)
        mixed = currents[..., 0] + currents[..., 1] - currents[..., 2]
        others = np.moveaxis(currents[..., 1:], -1, 2)
        found = estimate(mixed, others=others, coefficients=150)
        values.append(np.log(found.conductivity))
        claimed = found.error / found.conductivity
    assert abs(np.mean(values) - np.log(exact())) < 4 * claimed / np.sqrt(40)
    assert 0.65 < np.std(values, ddof=1) / claimed < 1.4


def test_other_currents_are_checked():
    heat, one = relaxing((1, 2000, 3)), relaxing((1, 2000, 1, 3), seed=1)
    with pytest.raises(InputError, match="depend on each other"):
        estimate(heat, others=np.concatenate([one, -3 * one], axis=2))
    with pytest.raises(InputError, match="add trajectories"):
        estimate(heat, axes=(2,), others=one)
    with pytest.raises(InputError, match="others, 3"):
        estimate(heat, others=one[:, :1500])
    with pytest.raises(InputError, match="finite other"):
        estimate(heat, others=one * np.nan)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lowpass_thz": 0.1}, "low-pass"),
        ({"lowpass_thz": 200.0}, "low-pass"),
        ({"coefficients": 0}, "coefficients"),
        ({"highest_thz": 101.0}, "Nyquist"),
        ({"temperature_k": None}, "temperature"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        estimate(relaxing((1, 2000, 3)), **changes)


def test_a_current_that_vanishes_has_no_spectrum():
    with pytest.raises(InputError, match="vanishes"):
        estimate(np.zeros((1, 2000, 3)))


@pytest.mark.filterwarnings("ignore")
def test_sportran_finds_the_same(monkeypatch, tmp_path):
    """SporTran takes extensive currents in eV Å/ps as "metal" units."""
    monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)  # it needs a numpy below 2
    monkeypatch.chdir(tmp_path)
    sportran = pytest.importorskip("sportran")
    current = relaxing((1, 40000, 3))
    per_ps = current[0] * 1e3 / 10.180505  # one internal unit of time is 10.180505 fs
    peer = sportran.HeatCurrent(
        per_ps, DT_FS=INTERVAL, UNITS="metal", TEMPERATURE=TEMPERATURE, VOLUME=VOLUME
    )
    peer.cepstral_analysis(manual_cutoffK=119)  # which keeps 120
    ours = estimate(current, coefficients=120)
    # Same formulas, but for the two real frequencies, which are 2 of 20001.
    np.testing.assert_allclose(ours.conductivity, float(peer.kappa), rtol=0.01)
    np.testing.assert_allclose(ours.error, float(peer.kappa_std), rtol=0.01)
