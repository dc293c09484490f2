"""Straight lines through mean square displacements, whose points are strongly correlated."""

from typing import NamedTuple

import numpy as np
import scipy.stats

from mlffjax.arrays import Float, Int

ITERATIONS = 3  # the covariance depends on the line; changes are then far below the error
FEWEST = 4  # lags in a window
LEVER = 4  # at least between the last and the first lag of a window
TOLERANCE = 0.1  # of the slope over the window
UNLIKELY = 0.02  # probability of a point so far from the line, on either side


class Fit(NamedTuple):
    """A line through the MSD along one direction; slope per lag, Å²."""

    slope: float
    slope_error: float
    intercept: float
    linear: bool  # neither curved nor with a point far from the line
    lags: Int[np.ndarray, "lags"]
    weights: Float[np.ndarray, "lags"]  # slope = weights @ MSD


def fit_window(lags: Int[np.ndarray, "lags"], msd: Float[np.ndarray, "all"], samples: int) -> Fit:
    """Generalised least squares with the covariance of the line that is found.

    The line counts as linear if it bends by less than a tenth of its slope or twice the error of
    that, and no point lies where a chi-squared distribution with the variance of the point hardly
    reaches: MSDs at long lags are sums of few squares.

    Args:
        lags: frames; the window.
        msd: along one direction, mean over atoms and directions, Å²; at all lags from 0.
        samples: independent coordinates that were averaged.
    """
    design = np.stack([np.ones(len(lags)), lags, lags * (lags / lags[-1])], axis=1)
    value = msd[lags]
    intercept, slope = np.linalg.lstsq(design[:, :2], value, rcond=None)[0]
    weights = np.zeros((2, len(lags)))
    for _ in range(ITERATIONS):
        covariance = covariance_of(lags, _model(slope, intercept, lags, msd), len(msd)) / samples
        weights = _weights(design[:, :2], covariance)
        intercept, slope = weights @ value
    covariance = covariance_of(lags, _model(slope, intercept, lags, msd), len(msd)) / samples
    bent = _weights(design, covariance)[2]
    curvature, error = abs(bent @ value), np.sqrt(bent @ covariance @ bent)
    straight = curvature <= max(TOLERANCE * slope, 2 * error)
    line = np.maximum(intercept + slope * lags, 1e-300)
    terms = 2 * line**2 / np.diag(covariance)
    below = scipy.stats.chi2.cdf(terms * value / line, terms)
    return Fit(
        slope=float(slope),
        slope_error=float(np.sqrt(weights[1] @ covariance @ weights[1])),
        intercept=float(intercept),
        linear=bool(straight and ((below > UNLIKELY) & (below < 1 - UNLIKELY)).all()),
        lags=lags,
        weights=weights[1],
    )


def choose_window(
    lags: Int[np.ndarray, "lags"], msd: Float[np.ndarray, "all"], samples: int
) -> Fit:
    """The longest window that ends at the last lag and is linear; else the shortest."""
    last = len(lags) - FEWEST
    starts = [start for start in range(last) if lags[start] * LEVER <= lags[-1]] or [0]
    fits = (fit_window(lags[start:], msd, samples) for start in starts)
    fit = next(fits)
    while not fit.linear and (shorter := next(fits, None)) is not None:
        fit = shorter
    return fit


def exponent(lags: Int[np.ndarray, "lags"], msd: Float[np.ndarray, "all"]) -> float:
    """d log MSD / d log t over the window, vibrations included."""
    return float(np.polyfit(np.log(lags), np.log(np.maximum(msd[lags], 1e-300)), 1)[0])


def covariance_of(
    lags: Int[np.ndarray, "lags"], model: Float[np.ndarray, "early"], frames: int
) -> Float[np.ndarray, "lags lags"]:
    """Covariance of the MSD of one coordinate of one atom at lags that share one trajectory.

    Displacements of a Gaussian process with stationary increments have the covariance
    C(u) = [M(u+k) + M(u-m) - M(u) - M(u+k-m)] / 2 when they start u frames apart and last k and m,
    with M the MSD; their squares have 2 C(u)². This is summed over all pairs of origins.

    Args:
        lags: k, m; increasing.
        model: M at lags 0, 1, 2 ..., to beyond which M is linear.
        frames: of the trajectory.
    """
    longest = int(lags[-1]) + len(model)
    tail = np.arange(1, 2 * longest + 1) * (model[-1] - model[-2]) + model[-1]
    # M(|τ|) at τ = -2 longest ... 2 longest, so that the arguments are slices.
    half = np.concatenate([model, tail])[: 2 * longest + 1]
    both = np.concatenate([half[:0:-1], half])
    middle = 2 * longest
    u = np.arange(-longest, longest + 1)
    result = np.empty((len(lags), len(lags)))

    def at(shift: int) -> np.ndarray:
        return both[middle + shift - longest : middle + shift + longest + 1]

    for row, k in enumerate(lags.tolist()):
        for column, m in enumerate(lags[: row + 1].tolist()):
            shared = 0.5 * (at(k) + at(-m) - at(0) - at(k - m))
            pairs = np.minimum(frames - m, frames - k - u) - np.maximum(0, -u)
            total = np.maximum(pairs, 0) @ shared**2
            result[row, column] = result[column, row] = 2 * total / ((frames - k) * (frames - m))
    # Enough to invert the covariance of neighbouring lags that say the same.
    return result + (1e-10 * np.trace(result) / len(lags) + 1e-300) * np.eye(len(lags))


def _model(slope: float, intercept: float, lags: np.ndarray, msd: np.ndarray) -> np.ndarray:
    """The line with the MSD's own way up to it, [early lags + 2].

    Vibrations, and motion inside a cage, are not independent from frame to frame when frames are
    close; how the MSD rises to the line says for how long they persist. A line with a negative part
    has the noise of the nearest one without.
    """
    if slope < 0:
        slope, intercept = 0.0, float(msd[lags].mean())
    elif intercept <= 0:
        slope, intercept = float((msd[lags] / lags).mean()), 0.0
    line = intercept + slope * np.arange(lags[-1] + 1)
    reached = np.flatnonzero(msd[1 : len(line)] >= line[1:])
    early = int(reached[0]) + 1 if len(reached) else int(lags[-1])
    early = early if intercept > 0 else 1
    tail = intercept + slope * np.arange(early, early + 2)
    return np.concatenate([[0.0], msd[1:early], tail])


def _weights(design: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Linear estimator of the coefficients with the least variance, [coefficients, lags]."""
    # Scaled so that lags with small and large errors count alike in the factorisation.
    scale = np.sqrt(np.diag(covariance))
    solved = np.linalg.solve(covariance / np.outer(scale, scale), design / scale[:, None])
    normal = (design / scale[:, None]).T @ solved
    return np.linalg.solve(normal, solved.T) / scale
