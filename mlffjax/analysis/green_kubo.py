"""Thermal conductivity from the autocorrelation of heat currents (Green and Kubo).

    kappa = 1 / (V k_B T^2) * integral of <J(0) J(t)> over t from 0 to infinity

with the extensive current J. Layered crystals conduct differently along and across the layers:
call once with ``IN_PLANE`` and once with ``CROSS_PLANE``.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

from mlffjax.analysis.correlation import autocorrelation
from mlffjax.analysis.heat_currents import HIGHEST_THZ, Checked, checked
from mlffjax.arrays import Float
from mlffjax.errors import InputError

IN_PLANE = (0, 1)
CROSS_PLANE = (2,)

ENOUGH_PIECES = 5
BLOCK_LENGTHS = 10
"""A block of a trajectory counts as independent if it is so many truncation times long."""
SETTLED_FS = 1000.0
"""The correlation counts as gone when it stayed in its noise so long: longer than a period of any
optical mode, so that a zero crossing is not taken for the end."""
NOISE = 2.5
"""Standard deviations of the noise that the correlation must stay below to count as gone."""
MARGIN = 2.0
"""The integral goes on for as long again: what hides in the noise would add up."""


class GreenKubo(NamedTuple):
    """Autocorrelation, running integral and conductivity; errors are one standard error."""

    lags_fs: Float[np.ndarray, "lags"]
    correlation: Float[np.ndarray, "lags"]  # <J(0) J(t)> per axis, (eV Å per unit of time)²
    correlation_error: Float[np.ndarray, "lags"]
    normalised: Float[np.ndarray, "lags"]  # correlation / its value at 0
    running: Float[np.ndarray, "lags"]  # W/mK, integral up to each lag
    running_error: Float[np.ndarray, "lags"]
    truncation_fs: float  # where the integral is read
    conductivity: float  # W/mK
    error: float  # W/mK; NaN if there are no two independent pieces
    interval: tuple[float, float]  # W/mK, 95 %, from Student's t
    pieces: int  # independent trajectories or blocks behind the errors
    flags: tuple[str, ...]  # what is wrong with this value; empty if nothing


def green_kubo(
    currents: Float[np.ndarray, "trajectories samples 3"],
    times_fs: Float[np.ndarray, "samples"],
    *,
    volume: float,
    temperature_k: float | Float[np.ndarray, "trajectories"],
    axes: Sequence[int] = (0, 1, 2),
    ensemble: str = "nve",
    truncation_fs: float | None = None,
    highest_thz: float = HIGHEST_THZ,
) -> GreenKubo:
    """Conductivity as the running integral at the lag where the correlation has died out.

    The error comes from the spread between trajectories if there are five or more; otherwise each
    is cut into blocks of at least ten truncation times. The truncation depends on taste where
    noise hides a slow tail: compare with ``cepstral``, and look at ``running``.

    Args:
        currents: extensive heat currents of independent trajectories, eV Å per internal unit of
            time; a single trajectory may come without its axis.
        times_fs: of the samples, fs, equally spaced.
        volume: Å³.
        temperature_k: mean temperature, of all or of each trajectory.
        axes: Cartesian components to average over: ``IN_PLANE``, ``CROSS_PLANE`` or all three.
        ensemble: of the production run; anything but "nve" is flagged.
        truncation_fs: where to read the integral; by default twice the first lag after which the
            correlation stays within its noise for a picosecond.
        highest_thz: highest frequency of the motion; sampling must resolve it.

    Raises:
        InputError: see ``heat_currents.checked``; or the truncation is beyond a quarter of the run.
    """
    series = checked(
        currents, times_fs, volume=volume, temperature_k=temperature_k, axes=axes,
        ensemble=ensemble, highest_thz=highest_thz,
    )  # fmt: skip
    samples, interval = series.heat.shape[1], series.interval_fs
    longest = samples // 4
    whole = _correlations(series.heat, longest)
    cut, settled = _truncation(whole.mean(axis=0), series, truncation_fs)
    flags = series.flags if settled else (*series.flags, _UNSETTLED)
    blocks = _blocks(len(series.heat), samples, cut)
    pieces = blocks * len(series.heat)
    if pieces < ENOUGH_PIECES:
        flags = (*flags, _FEW.format(pieces))
    lags = min(longest, samples // blocks // 2)
    split = _split(series.heat, blocks)
    correlations = whole if blocks == 1 else _correlations(split, lags)
    integrals = _running(correlations, np.repeat(series.prefactor, blocks), interval)
    running = _running(whole, series.prefactor, interval).mean(axis=0)[:lags]
    error = _standard_error(integrals[:, :lags])
    value, spread = float(running[cut]), float(error[cut])
    reach = float(scipy.stats.t.ppf(0.975, pieces - 1)) * spread if pieces > 1 else np.nan
    mean = whole.mean(axis=0)[:lags]
    return GreenKubo(
        lags_fs=np.arange(lags) * interval,
        correlation=mean,
        correlation_error=_standard_error(correlations[:, :lags]),
        normalised=mean / mean[0],
        running=running,
        running_error=error,
        truncation_fs=cut * interval,
        conductivity=value,
        error=spread,
        interval=(value - reach, value + reach),
        pieces=pieces,
        flags=flags,
    )


_UNSETTLED = (
    "the correlation did not die out within a quarter of the run, so the integral is not "
    "converged: run longer"
)
_FEW = (
    "only {} independent pieces (trajectories, or blocks of ten truncation times) stand behind the "
    f"error bar; {ENOUGH_PIECES} are needed: run longer or more often"
)


def _correlations(
    currents: Float[np.ndarray, "pieces samples axes"], lags: int
) -> Float[np.ndarray, "pieces lags"]:
    """Autocorrelation of each piece, averaged over the axes."""
    return autocorrelation(np.swapaxes(currents, 0, 1), lags=lags).mean(axis=2).T


def _running(
    correlations: Float[np.ndarray, "pieces lags"],
    prefactor: Float[np.ndarray, "pieces"],
    interval: float,
) -> Float[np.ndarray, "pieces lags"]:
    """Conductivity up to each lag by the trapezoidal rule, W/mK."""
    steps = (correlations[:, 1:] + correlations[:, :-1]) / 2
    integral = np.concatenate([np.zeros((len(steps), 1)), np.cumsum(steps, axis=1)], axis=1)
    return prefactor[:, None] * interval * integral


def _truncation(
    correlation: Float[np.ndarray, "lags"], series: Checked, truncation_fs: float | None
) -> tuple[int, bool]:
    """Lag to cut at, and whether the correlation is gone there.

    At long lags the estimate of a Gaussian process has the variance sum_m C(m)^2 / samples,
    whatever the lag.
    """
    lags = len(correlation)
    if truncation_fs is not None:
        cut = round(truncation_fs / series.interval_fs)
        if not 1 <= cut < lags:
            longest = (lags - 1) * series.interval_fs
            raise InputError(
                f"expected a truncation between {series.interval_fs:g} and {longest:g} fs (a "
                f"quarter of the run), got {truncation_fs:g} fs"
            )
        return cut, True
    samples = series.heat.size  # of all trajectories and axes
    early = correlation[: lags // 4]
    noise = (2 * (early**2).sum() - early[0] ** 2) / samples
    window = max(round(SETTLED_FS / series.interval_fs), 1)
    if window >= lags:
        return lags - 1, False
    loud = np.concatenate([[0], np.cumsum(correlation**2 > NOISE**2 * noise)])
    quiet = loud[window:] == loud[:-window]  # from this lag on for the whole window
    cut = int(np.ceil(MARGIN * quiet.argmax()))
    return (max(cut, 1), True) if quiet.any() and cut < lags else (lags - 1, False)


def _blocks(trajectories: int, samples: int, cut: int) -> int:
    """Blocks per trajectory: one if there are trajectories enough, else as many as are needed."""
    if trajectories >= ENOUGH_PIECES:
        return 1
    wanted = -(-2 * ENOUGH_PIECES // trajectories)
    return max(min(wanted, samples // (BLOCK_LENGTHS * cut)), 1)


def _split(
    currents: Float[np.ndarray, "trajectories samples axes"], blocks: int
) -> Float[np.ndarray, "pieces shorter axes"]:
    length = currents.shape[1] // blocks
    kept = currents[:, : blocks * length]
    return kept.reshape(-1, length, currents.shape[2])


def _standard_error(values: Float[np.ndarray, "pieces lags"]) -> Float[np.ndarray, "lags"]:
    if len(values) < 2:
        return np.full(values.shape[1], np.nan)
    return values.std(axis=0, ddof=1) / np.sqrt(len(values))
