"""Error bars of averages over correlated samples."""

from typing import NamedTuple

import numpy as np

from mlffjax.arrays import Bool, Float, Int
from mlffjax.errors import InputError

FEWEST_BLOCKS = 4


class Estimate(NamedTuple):
    """An average with its standard error; columns of a series are treated one by one."""

    mean: Float[np.ndarray, "..."]
    error: Float[np.ndarray, "..."]  # one standard deviation of the mean
    # In samples, so that error² = variance 2τ / n: 0.5 where samples are independent.
    correlation_time: Float[np.ndarray, "..."]
    blocks: Int[np.ndarray, "..."]  # how many blocks the error was taken from
    # False where the series is too short to hold blocks that are independent: the error given is
    # the largest seen and may still be too small.
    reliable: Bool[np.ndarray, "..."]


def mean_with_error(series: Float[np.ndarray, "time ..."]) -> Estimate:
    """Average over the leading axis, with a block length found from the series.

    Neighbouring samples are averaged in pairs again and again [1]. The spread of the block means
    gives the error once blocks are independent; the block length B taken is the smallest power of
    two with B³ > 2 n (error_B/error_1)⁴, which balances what correlation between blocks hides
    against the noise of having few blocks [2].

    Args:
        series: equally spaced samples along the leading axis; any unit.

    Raises:
        InputError: fewer than 2 samples, or values that are not finite.

    References:
        [1] Flyvbjerg and Petersen, J. Chem. Phys. 91, 461 (1989), doi:10.1063/1.457480.
        [2] Lee et al., Phys. Rev. E 83, 066706 (2011), doi:10.1103/PhysRevE.83.066706.
    """
    values = _checked(series)
    # Rounding of a constant offset must not look like noise.
    offset = values[0]
    squared, counts = _squared_errors(values - offset)
    lengths = 2.0 ** np.arange(len(counts))
    many = counts >= FEWEST_BLOCKS
    many[0] = True
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(squared[0] > 0, squared / squared[0], 1.0)
    shape = (-1, *[1] * (values.ndim - 1))
    enough = (lengths**3).reshape(shape) > 2 * len(values) * ratio**2
    enough &= many.reshape(shape)
    reliable = enough.any(axis=0) & (len(values) >= FEWEST_BLOCKS)
    largest = np.where(many.reshape(shape), squared, -1.0).argmax(axis=0)
    level = np.where(reliable, enough.argmax(axis=0), largest)
    chosen = np.take_along_axis(squared, level[None], axis=0)[0]
    return Estimate(
        mean=offset + (values - offset).mean(axis=0),
        error=np.sqrt(chosen),
        correlation_time=0.5 * np.take_along_axis(ratio, level[None], axis=0)[0],
        blocks=counts[level],
        reliable=np.asarray(reliable),
    )


def block_means(
    series: Float[np.ndarray, "time ..."], blocks: int
) -> Float[np.ndarray, "blocks ..."]:
    """Means of equally long consecutive blocks; samples that do not fill one are left out first.

    Raises:
        InputError: fewer than 1 block, or fewer samples than blocks.
    """
    values = np.asarray(series)
    if values.ndim == 0 or not 1 <= blocks <= len(values):
        raise InputError(
            f"expected 1 block or more and as many samples, got {blocks} blocks of "
            f"a series of shape {values.shape}"
        )
    length = len(values) // blocks
    kept = values[len(values) - length * blocks :]
    return kept.reshape(blocks, length, *values.shape[1:]).mean(axis=1, dtype=np.float64)


def independent_mean(values: Float[np.ndarray, "runs ..."]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error of independent runs: std/sqrt(runs).

    Raises:
        InputError: fewer than 2 runs.
    """
    values = np.asarray(values, np.float64)
    if values.ndim == 0 or len(values) < 2:
        raise InputError(
            f"expected at least 2 independent runs for an error bar, got shape {values.shape}"
        )
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def _squared_errors(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared errors of the mean [levels, ...] from blocks of 1, 2, 4 ... samples, and counts."""
    squared, counts = [], []
    while len(values) >= 2:
        squared.append(values.var(axis=0, ddof=1) / len(values))
        counts.append(len(values))
        values = 0.5 * (values[: len(values) // 2 * 2 : 2] + values[1::2])
    return np.array(squared), np.array(counts)


def _checked(series) -> np.ndarray:
    values = np.asarray(series, np.float64)
    if values.ndim == 0 or len(values) < 2:
        raise InputError(f"expected a series of at least 2 samples, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise InputError(
            "expected finite samples, got values that are not; cut the series where the run failed"
        )
    return values
