"""Whether stated uncertainties agree with errors.

A standard deviation s is given for every prediction, e is its error. Calibrated means that e/s is
distributed as a standard normal variable; that alone is cheap (one s for everything can have it),
so sharpness and rank say whether s tells good predictions from bad ones.
"""

from typing import NamedTuple

import numpy as np
from scipy import special, stats

from mlffjax.arrays import Float
from mlffjax.errors import InputError


class Calibration(NamedTuple):
    """Scores of uncertainties; lower is better but for ``rank``.

    Attributes:
        nll: negative log likelihood of an error, mean; s in the unit the errors came in.
        miscalibration: area between observed and expected parts, 0 to 0.5 (``miscalibration``).
        rank: Spearman's correlation of s with |e|; below 1 even if s is right, because e scatters;
            NaN if all s, or all |e|, are equal.
        sharpness: rms of s, unit of the errors.
        rmse: rms of e, unit of the errors.
        factor: rms of e/s, the factor that would recalibrate; above 1 is over-confident. Few values
            whose s is nearly zero rule it, and ``nll``.
        typical: median of |e/s| over that of a standard normal variable; the same for most values.
    """

    nll: float
    miscalibration: float
    rank: float
    sharpness: float
    rmse: float
    factor: float
    typical: float


def calibration(
    errors: Float[np.ndarray, "values"], deviations: Float[np.ndarray, "values"]
) -> Calibration:
    """All scores at once.

    Args:
        errors: signed, any unit.
        deviations: one standard deviation of each, in the same unit, positive.

    Raises:
        InputError: fewer than 2 values, unequal numbers of them, or values that are not finite, or
            deviations that are not positive.
    """
    errors, deviations = _checked(errors, deviations)
    ratio = errors / deviations
    return Calibration(
        nll=float(np.mean(0.5 * ratio**2 + np.log(deviations)) + 0.5 * np.log(2 * np.pi)),
        miscalibration=miscalibration(errors, deviations),
        rank=_rank(deviations, np.abs(errors)),
        sharpness=_rms(deviations),
        rmse=_rms(errors),
        factor=_rms(ratio),
        typical=float(np.median(np.abs(ratio)) / special.ndtri(0.75)),
    )


def coverage(
    errors: Float[np.ndarray, "values"],
    deviations: Float[np.ndarray, "values"],
    expected: Float[np.ndarray, "parts"],
) -> Float[np.ndarray, "parts"]:
    """Part of the errors inside the central interval that ``expected`` of them should be in.

    Below the diagonal: over-confident. Reference: Kuleshov, Fenner, Ermon, ICML 2018.

    Args:
        errors: signed.
        deviations: one standard deviation of each.
        expected: parts from 0 to 1.

    Raises:
        InputError: as ``calibration``.
    """
    inside = np.sort(_smallest(*_checked(errors, deviations)))
    return np.searchsorted(inside, np.asarray(expected), side="right") / len(inside)


def miscalibration(
    errors: Float[np.ndarray, "values"], deviations: Float[np.ndarray, "values"]
) -> float:
    """Area between ``coverage`` and the diagonal, integrated exactly; 0 to 0.5.

    Reference: Tran et al., Mach. Learn.: Sci. Technol. 1, 025006 (2020),
    doi:10.1088/2632-2153/ab7e1a.

    Raises:
        InputError: as ``calibration``.
    """
    inside = np.sort(_smallest(*_checked(errors, deviations)))
    edges = np.concatenate([[0.0], inside, [1.0]])
    level = np.arange(len(inside) + 1) / len(inside)  # the observed part between two edges
    # The integral of |level - p| is a difference of (p - level) |p - level| / 2.
    above, below = edges[1:] - level, edges[:-1] - level
    return float((above * np.abs(above) - below * np.abs(below)).sum() / 2)


def _smallest(errors: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """Probability of the smallest central interval that holds each error."""
    return special.erf(np.abs(errors / deviations) / np.sqrt(2))


def _rank(first: np.ndarray, second: np.ndarray) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(stats.rankdata(first), stats.rankdata(second))[0, 1])


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _checked(errors: np.ndarray, deviations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    errors, deviations = (np.asarray(v, np.float64).ravel() for v in (errors, deviations))
    if len(errors) < 2 or len(errors) != len(deviations):
        raise InputError(
            f"expected 2 errors or more with one standard deviation each, got {len(errors)} and "
            f"{len(deviations)}"
        )
    if not (np.isfinite(errors).all() and np.isfinite(deviations).all()):
        raise InputError("expected finite errors and standard deviations, got NaN or infinities")
    if (deviations <= 0).any():
        raise InputError(
            f"expected positive standard deviations, got {deviations.min():g}; leave out what is "
            "known exactly, such as the first image that others are compared with"
        )
    return errors, deviations
