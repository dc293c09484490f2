"""Thermal conductivity from the spectrum of heat currents at zero frequency, by cepstral analysis.

The conductivity is half the power spectrum at zero frequency. Its logarithm is a smooth function
plus noise of *known* variance; the first few Fourier coefficients of the logarithm (the cepstrum)
hold the smooth part, and an information criterion says how many [1]. So there is no cut-off time to
choose, and one trajectory gives an error bar.

The criterion weighs coefficients one by one. A narrow peak at zero frequency, which long-lived
phonons make, is held by many small coefficients of one sign, each below its noise; dropped
together they lower the conductivity by many error bars. So we keep four times the number. For
exponential correlations of 20 to 1000 fs sampled every 5 fs, intervals of 95 % then held the truth
in 92 to 97 % of the cases; with the plain number in 0 to 92 %, at worst 61 % too low.

Where atoms diffuse, heat also travels with them, and the zero of energy would matter. Then the
spectrum of the heat current is replaced by what is left of it when everything that correlates with
the particle currents is taken out, at each frequency [2]: the Schur complement of the matrix of
cross spectra.

References:
    [1] Ercole, Marcolongo and Baroni, Sci. Rep. 7, 15835 (2017), doi:10.1038/s41598-017-15843-2.
    [2] Bertossa, Grasselli, Ercole and Baroni, Phys. Rev. Lett. 122, 255901 (2019),
        doi:10.1103/PhysRevLett.122.255901.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.special

from mlffjax.analysis.heat_currents import HIGHEST_THZ, checked
from mlffjax.arrays import Float
from mlffjax.errors import InputError

FEWEST_BINS = 50
KEPT = 4
"""Coefficients kept for each one that the information criterion finds."""


class Cepstral(NamedTuple):
    """Spectrum and conductivity; at zero frequency the smoothed spectrum is the conductivity."""

    frequencies_thz: Float[np.ndarray, "bins"]
    spectrum: Float[np.ndarray, "bins"]  # W/mK, as measured (reduced if other currents were given)
    smoothed: Float[np.ndarray, "bins"]  # W/mK
    conductivity: float  # W/mK
    error: float  # W/mK, one standard error
    interval: tuple[float, float]  # W/mK, 95 %; the logarithm is normally distributed
    coefficients: int  # cepstral coefficients kept
    flags: tuple[str, ...]  # what is wrong with this value; empty if nothing


def cepstral(
    currents: Float[np.ndarray, "trajectories samples 3"],
    times_fs: Float[np.ndarray, "samples"],
    *,
    volume: float,
    temperature_k: float | Float[np.ndarray, "trajectories"],
    axes: Sequence[int] = (0, 1, 2),
    others: Float[np.ndarray, "trajectories samples others 3"] | None = None,
    lowpass_thz: float | None = None,
    coefficients: int | None = None,
    ensemble: str = "nve",
    highest_thz: float = HIGHEST_THZ,
) -> Cepstral:
    """Conductivity from the cepstrum of heat currents.

    Args:
        currents: extensive heat currents of independent trajectories, eV Å per internal unit of
            time; a single trajectory may come without its axis.
        times_fs: of the samples, fs, equally spaced.
        volume: Å³.
        temperature_k: mean temperature, of all or of each trajectory.
        axes: Cartesian components to average over; equivalent by symmetry.
        others: currents to remove, such as ``heat_currents.independent_currents``, any unit. Each
            costs one of the ``trajectories * axes`` samples per frequency, which must be more.
        lowpass_thz: use the spectrum below this frequency only. Choose it just below strong
            optical peaks, which need many coefficients, and check that its choice does not matter.
        coefficients: how many to keep; by default four times what the information
            criterion finds.
        ensemble: of the production run; anything but "nve" is flagged.
        highest_thz: highest frequency of the motion; sampling must resolve it.

    Raises:
        InputError: see ``heat_currents.checked``; or the other currents do not fit, depend on each
            other or are too many; or too little of the spectrum is left.
    """
    series = checked(
        currents, times_fs, volume=volume, temperature_k=temperature_k, axes=axes,
        ensemble=ensemble, highest_thz=highest_thz,
    )  # fmt: skip
    heat = series.heat * np.sqrt(series.prefactor)[:, None, None]
    removed = _removed(others, series.heat.shape, tuple(axes))
    together = np.concatenate([heat[:, :, None], removed], axis=2)
    kept = _kept_bins(heat.shape[1], series.interval_fs, lowpass_thz)
    spectrum = _reduced_spectrum(together, series.interval_fs, kept) / 2
    averaged = heat.shape[0] * heat.shape[2]
    freedom = averaged - removed.shape[2]
    cepstrum = _cepstrum(_logarithm(spectrum, heat.shape[1], freedom))
    variance = float(scipy.special.polygamma(1, freedom)) / (
        2 * (kept - 1)
    )  # of each but the first
    count = _count(cepstrum, variance) if coefficients is None else coefficients
    if not 1 <= count < kept:
        raise InputError(f"expected 1 to {kept - 1} coefficients, got {count}")
    bias = float(scipy.special.digamma(freedom)) - np.log(averaged)
    smoothed = np.exp(_smooth(cepstrum, count, kept) - bias)
    value = float(smoothed[0])
    spread = float(np.sqrt(variance * (4 * count - 2)))
    return Cepstral(
        frequencies_thz=np.arange(kept) * 1e3 / (heat.shape[1] * series.interval_fs),
        spectrum=spectrum,
        smoothed=smoothed,
        conductivity=value,
        error=value * spread,
        interval=(float(value * np.exp(-1.96 * spread)), float(value * np.exp(1.96 * spread))),
        coefficients=count,
        flags=series.flags,
    )


def _removed(
    others: np.ndarray | None, shape: tuple[int, ...], axes: tuple[int, ...]
) -> Float[np.ndarray, "trajectories samples others axes"]:
    """Currents to take out, scaled to unit variance."""
    trajectories, samples, components = shape
    if others is None:
        return np.zeros((trajectories, samples, 0, components))
    given = np.asarray(others, np.float64)
    given = given if given.ndim == 4 else given[None]
    if given.ndim != 4 or given.shape[:2] != shape[:2] or given.shape[3] != 3:
        raise InputError(
            f"expected other currents [{trajectories}, {samples}, others, 3], got {given.shape}"
        )
    if not np.isfinite(given).all():
        raise InputError("expected finite other currents, got values that are not")
    given = given[..., axes]
    count = given.shape[2]
    if count >= trajectories * components:
        raise InputError(
            f"{count} other currents need more than {count} heat currents to average over, got "
            f"{trajectories} trajectories along {components} axes; add trajectories"
        )
    scale = np.sqrt((given**2).mean(axis=(0, 1, 3)))
    given = given / np.where(scale > 0, scale, 1)[:, None]
    overlap = np.einsum("tnax,tnbx->ab", given, given) / given[:, :, 0].size
    if count and np.linalg.eigvalsh(overlap)[0] < 1e-8:  # rounding of sums of velocities is 1e-14
        raise InputError(
            "the other currents depend on each other: with the centre of mass at rest one of them "
            "follows from the rest, and absent elements have none; use independent_currents"
        )
    return given


def _kept_bins(samples: int, interval: float, lowpass_thz: float | None) -> int:
    """How many frequencies, from zero on, are used."""
    every = samples // 2 + 1
    if lowpass_thz is None:
        return every
    kept = int(np.floor(lowpass_thz * 1e-3 * samples * interval)) + 1
    if not FEWEST_BINS <= kept <= every:
        step = 1e3 / (samples * interval)
        raise InputError(
            f"expected a low-pass frequency between {FEWEST_BINS * step:g} and "
            f"{(every - 1) * step:g} THz for this run, got {lowpass_thz:g} THz"
        )
    return kept


def _reduced_spectrum(
    currents: Float[np.ndarray, "trajectories samples currents axes"], interval: float, kept: int
) -> Float[np.ndarray, "bins"]:
    """Two-sided power spectrum of the first current, less what the others explain."""
    samples = currents.shape[1]
    waves = np.fft.rfft(currents, axis=1)[:, :kept]
    cross = np.einsum("tkax,tkbx->kab", waves, waves.conj()) * interval / samples
    cross /= currents.shape[0] * currents.shape[3]
    power = np.einsum("kaa->ka", cross).real
    if (power[0] < 1e-12 * power[1]).any():
        cross[0] = cross[1]  # somebody subtracted the mean: that frequency holds rounding only
    spectrum = cross[:, 0, 0].real
    if cross.shape[1] > 1:
        coupling = cross[:, 1:, 0]
        explained = np.linalg.solve(cross[:, 1:, 1:], coupling[..., None])[..., 0]
        spectrum = spectrum - (coupling.conj() * explained).sum(axis=1).real
    if not (spectrum > 0).all():
        raise InputError(
            "the spectrum of the heat current vanishes at some frequency; is it a recorded current?"
        )
    return spectrum


def _logarithm(
    spectrum: Float[np.ndarray, "bins"], samples: int, freedom: int
) -> Float[np.ndarray, "bins"]:
    """Logarithm with the same mean error everywhere.

    Zero and the highest frequency are real, have half the degrees of freedom and another mean.
    """
    half = np.log(2) + scipy.special.digamma(freedom / 2) - scipy.special.digamma(freedom)
    logarithm = np.log(spectrum)
    logarithm[0] -= half
    if samples % 2 == 0 and len(spectrum) == samples // 2 + 1:
        logarithm[-1] -= half
    return logarithm


def _cepstrum(logarithm: Float[np.ndarray, "bins"]) -> Float[np.ndarray, "bins"]:
    """Cosine coefficients of an even function given at zero and positive frequencies."""
    return np.fft.irfft(logarithm)[: len(logarithm)]


def _count(cepstrum: Float[np.ndarray, "bins"], variance: float) -> int:
    """How many coefficients to keep.

    The information criterion asks for the least chi squared of the rest plus twice the number.
    """
    rest = np.cumsum((cepstrum[1:-1] ** 2)[::-1])[::-1] / variance
    least = int(np.argmin(rest + 2 * np.arange(1, len(rest) + 1))) + 1
    return min(KEPT * least, len(rest))


def _smooth(
    cepstrum: Float[np.ndarray, "bins"], count: int, bins: int
) -> Float[np.ndarray, "bins"]:
    """Logarithm of the spectrum from the first coefficients."""
    kept = np.where(np.arange(bins) < count, cepstrum, 0.0)
    both_ways = np.concatenate([kept, kept[-2:0:-1]])
    return np.fft.rfft(both_ways).real
