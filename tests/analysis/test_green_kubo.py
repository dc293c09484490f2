from typing import Any

import numpy as np
import pytest
import scipy.signal

from mlffjax.analysis.green_kubo import CROSS_PLANE, IN_PLANE, green_kubo
from mlffjax.errors import InputError

VOLUME, TEMPERATURE, INTERVAL = 5000.0, 300.0, 5.0


def relaxing(shape, *, tau_fs=100.0, seed=0):
    """Gaussian currents with <J(0) J(t)> = exp(-t / tau): a first-order autoregression."""
    decay = np.exp(-INTERVAL / tau_fs)
    noise = np.random.default_rng(seed).normal(size=(shape[0], shape[1] + 500, *shape[2:]))
    noise *= np.sqrt(1 - decay**2)
    return np.asarray(scipy.signal.lfilter([1.0], [1.0, -decay], noise, axis=1))[:, 500:]


def exact(tau_fs=100.0, variance=1.0):
    """Conductivity of that current in W/mK, from SI constants and the trapezoidal sum.

    A current of 1 eV Å / (Å sqrt(u/eV)) is 1.602176565e-19 J * 9822.69474 m/s.
    """
    charge, boltzmann, mass = 1.6021766208e-19, 1.38064852e-23, 1.660539040e-27
    decay = np.exp(-INTERVAL / tau_fs)
    integral = INTERVAL * 1e-15 * (0.5 + decay / (1 - decay))  # s
    current = charge * np.sqrt(charge / mass)  # W m
    return variance * current**2 * integral / (VOLUME * 1e-30 * boltzmann * TEMPERATURE**2)


def times(samples):
    return np.arange(samples) * INTERVAL


def conductivity(currents, **changes):
    settings: dict[str, Any] = {"volume": VOLUME, "temperature_k": TEMPERATURE} | changes
    return green_kubo(currents, times(currents.shape[-2]), **settings)


def test_a_known_process_has_its_conductivity_in_si_units():
    found = conductivity(relaxing((20, 10000, 3)))
    assert found.flags == ()
    assert found.pieces == 20
    # Four standard errors, and an error small enough (about 2 %) for wrong units to show.
    assert abs(found.conductivity - exact()) < 4 * found.error
    assert found.error < 0.04 * exact()
    assert found.interval[0] < found.conductivity < found.interval[1]


def test_error_bars_cover_the_truth_as_often_as_they_say():
    """Of 30 intervals of 95 % more than 4 miss with a probability of 2 %."""
    missed = 0
    for seed in range(30):
        found = conductivity(relaxing((6, 2000, 3), seed=seed))
        missed += not found.interval[0] < exact() < found.interval[1]
    assert missed <= 4


def test_the_correlation_is_the_process_one_and_its_integral_the_running_conductivity():
    found = conductivity(relaxing((40, 4000, 3)))
    early = found.lags_fs < 300
    decay = np.exp(-found.lags_fs / 100.0)
    assert np.abs(found.normalised - decay)[early].max() < 0.05  # noise is 0.01
    assert found.normalised[0] == 1.0
    assert (np.abs(found.correlation - decay) < 5 * found.correlation_error + 1e-12)[early].all()
    final = np.searchsorted(found.lags_fs, found.truncation_fs)
    assert found.running[final] == found.conductivity
    assert found.running[0] == 0.0
    slope = np.diff(found.running) / np.diff(found.lags_fs)
    middle = (found.correlation[1:] + found.correlation[:-1]) / 2
    np.testing.assert_allclose(slope / slope[0], middle / middle[0], atol=1e-8)


def test_axes_are_kept_apart():
    currents = relaxing((12, 4000, 3)) * [1.0, 1.0, 0.5]
    along, across = (conductivity(currents, axes=a) for a in (IN_PLANE, CROSS_PLANE))
    assert abs(along.conductivity - exact()) < 4 * along.error
    assert abs(across.conductivity - exact() / 4) < 4 * across.error
    assert across.conductivity < 0.5 * along.conductivity


def test_each_trajectory_counts_at_its_own_temperature():
    currents = relaxing((6, 2000, 3))
    hot = np.array([300.0, 300.0, 300.0, 600.0, 600.0, 600.0])
    scaled = currents * (hot / 300.0)[:, None, None]
    same = conductivity(scaled, temperature_k=hot, truncation_fs=500.0)
    plain = conductivity(currents, truncation_fs=500.0)
    np.testing.assert_allclose(same.conductivity, plain.conductivity, rtol=1e-12)


def test_one_long_trajectory_is_cut_into_blocks():
    found = conductivity(relaxing((1, 100000, 3))[0])
    assert found.pieces == 10
    assert found.flags == ()
    assert abs(found.conductivity - exact()) < 4 * found.error


def test_what_makes_a_value_doubtful_is_flagged():
    short = conductivity(relaxing((1, 2000, 3)), truncation_fs=2000.0)
    assert "1 independent pieces" in short.flags[0]
    assert np.isnan(short.error)
    slow = conductivity(relaxing((5, 1200, 3), tau_fs=4000.0))
    assert any("did not die out" in flag for flag in slow.flags)
    bath = conductivity(relaxing((5, 2000, 3)), ensemble="nvt_langevin")
    assert "nvt_langevin" in bath.flags[0]
    assert "nve" in bath.flags[0]


def test_another_zero_crossing_is_not_the_end():
    """An optical mode makes the correlation cross zero long before the slow part is gone."""
    slow = relaxing((10, 8000, 3), tau_fs=400.0)
    phase = np.random.default_rng(5).uniform(0, 2 * np.pi, (10, 1, 3))
    omega = 2 * np.pi / 300.0
    fast = 1.5 * relaxing((10, 8000, 3), tau_fs=800.0, seed=1)
    fast = fast * np.cos(omega * times(8000)[:, None] + phase)
    found = conductivity(slow + fast)
    assert found.truncation_fs > 800
    # The mode adds Re[tau / (1 + i omega tau)] = tau / (1 + (omega tau)²), 0.4 % of 800 fs, 4 fs.
    added = 1.5**2 / 2 * 800 / (1 + (omega * 800) ** 2) / 400
    assert abs(found.conductivity - exact(400.0) * (1 + added)) < 4 * found.error


GOOD = np.random.default_rng(0).normal(size=(2, 1200, 3))


def broken(value):
    currents = GOOD.copy()
    currents[1, 7, 2] = value
    return currents


@pytest.mark.parametrize(
    ("currents", "changes", "message"),
    [
        (GOOD[:, :900], {}, "at least 1000 samples"),
        (broken(np.nan), {}, "trajectory 1 .* sample 7"),
        (broken(np.inf), {}, "not finite"),
        (GOOD, {"volume": None}, "volume"),
        (GOOD, {"volume": -3.0}, "volume"),
        (GOOD, {"temperature_k": None}, "temperature"),
        (GOOD, {"temperature_k": 0.0}, "temperature"),
        (GOOD, {"temperature_k": [300.0, 310.0, 305.0]}, "one per trajectory"),
        (GOOD, {"axes": ()}, "axes"),
        (GOOD, {"axes": (0, 0)}, "axes"),
        (GOOD, {"axes": (3,)}, "axes"),
        (GOOD, {"truncation_fs": 1e6}, "truncation"),
        (GOOD, {"highest_thz": 200.0}, "Nyquist"),
        (GOOD[..., :2], {}, "trajectories, samples, 3"),
    ],
)
def test_what_cannot_be_used_is_refused(currents, changes, message):
    with pytest.raises(InputError, match=message):
        conductivity(currents, **changes)


def test_times_are_checked():
    def with_times(values):
        return green_kubo(GOOD, values, volume=VOLUME, temperature_k=TEMPERATURE)

    gap = times(1200)
    gap[600:] += INTERVAL
    with pytest.raises(InputError, match="sample 600 follows after 10 fs"):
        with_times(gap)
    with pytest.raises(InputError, match=r"sampled every 25 fs.*Nyquist"):
        with_times(np.arange(1200) * 25.0)
    with pytest.raises(InputError, match="1200 times"):
        with_times(times(1199))
    with pytest.raises(InputError, match="equally spaced"):
        with_times(np.zeros(1200))
