"""Time correlation functions of equally spaced series, unbiased, by fast Fourier transform."""

import numpy as np
from scipy.fft import next_fast_len

from mlffjax.arrays import Float
from mlffjax.errors import InputError

# Bytes of one chunk of columns, transformed; large enough to keep the transforms efficient.
CHUNK = 64 * 2**20


def autocorrelation(
    series: Float[np.ndarray, "time ..."], *, lags: int | None = None
) -> Float[np.ndarray, "lags ..."]:
    """C(τ) = 1/(n-τ) Σ_t x(t) x(t+τ) of every column, for τ = 0 ... lags-1 intervals.

    The mean is not subtracted. Zero padding keeps the end of the series from meeting its start, and
    each lag is divided by its own number of pairs, so C is unbiased; its noise grows with τ.

    Args:
        series: equally spaced samples along the leading axis; any unit.
        lags: how many lags to return; all n by default.

    Raises:
        InputError: fewer than 2 samples, lags outside 1 ... n, or values that are not finite.
    """
    return correlation(series, series, lags=lags)


def correlation(
    first: Float[np.ndarray, "time ..."],
    second: Float[np.ndarray, "time ..."],
    *,
    lags: int | None = None,
) -> Float[np.ndarray, "lags ..."]:
    """C(τ) = 1/(n-τ) Σ_t a(t) b(t+τ), column by column; see ``autocorrelation``.

    Raises:
        InputError: as ``autocorrelation``, or the two series differ in shape.
    """
    mean = _per_pair(first, second, lags, lambda columns: columns)
    return mean.reshape(len(mean), *np.shape(first)[1:])


def summed_autocorrelation(
    series: Float[np.ndarray, "time ..."], *, lags: int | None = None
) -> Float[np.ndarray, "lags"]:
    """Σ_columns C(τ): the same as summing ``autocorrelation``, one inverse transform for all.

    Raises:
        InputError: as ``autocorrelation``.
    """
    summed = _per_pair(series, series, lags, lambda columns: columns.sum(axis=1, keepdims=True))
    return summed.sum(axis=1)


def _per_pair(first, second, lags, reduce) -> np.ndarray:
    """Mean over t of a(t) b(t+τ) [lags, columns]; ``reduce`` acts on spectra of one chunk."""
    a, b, lags = _checked(first, second, lags)
    n = len(a)
    length = int(next_fast_len(n + lags - 1, True))  # pyright: ignore[reportArgumentType]
    columns_a, columns_b = a.reshape(n, -1), b.reshape(n, -1)
    width = max(1, CHUNK // (length * 24))
    parts = []
    for start in range(0, columns_a.shape[1], width):
        # Series lie along the last axis while transformed: contiguous memory is twice as fast.
        part_a = np.ascontiguousarray(columns_a[:, start : start + width].T, dtype=np.float64)
        spectrum_a = np.fft.rfft(part_a, length, axis=1)
        if b is a:
            spectrum = (spectrum_a.real**2 + spectrum_a.imag**2).T
        else:
            part_b = np.ascontiguousarray(columns_b[:, start : start + width].T, dtype=np.float64)
            spectrum = (spectrum_a.conj() * np.fft.rfft(part_b, length, axis=1)).T
        reduced = np.ascontiguousarray(reduce(spectrum).T)
        parts.append(np.fft.irfft(reduced, length, axis=1)[:, :lags].T)
    return np.concatenate(parts, axis=1) / (n - np.arange(lags))[:, None]


def _checked(first, second, lags) -> tuple[np.ndarray, np.ndarray, int]:
    a = np.asarray(first)
    b = a if second is first else np.asarray(second)
    if a.shape != b.shape:
        raise InputError(f"expected two series of equal shape, got {a.shape} and {b.shape}")
    if a.ndim == 0 or len(a) < 2 or a.size == 0:
        raise InputError(f"expected a series of at least 2 samples, got shape {a.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError(
            "expected finite samples, got values that are not; cut the series where the run failed"
        )
    lags = len(a) if lags is None else lags
    if not 1 <= lags <= len(a):
        raise InputError(f"expected 1 to {len(a)} lags for {len(a)} samples, got {lags}")
    return a, b, lags
