"""How sure a verdict is: confidence intervals over seeds, and when two candidates differ."""

import math
from collections.abc import Sequence

from scipy.special import stdtrit

from mlffjax.study.judgement import Candidate, Confidence, Criterion, Decision

LEVEL = 0.95
"""Of the confidence intervals."""
APART = 2.0
"""Standard errors between candidates that differ."""


def interval(value: float | None, spread: float | None, count: int) -> tuple[float, float] | None:
    """Confidence interval of a mean magnitude over seeds, by Student's t; None if unknown.

    Args:
        value: the mean.
        spread: sample standard deviation; 0 for something that is not random.
        count: of the seeds.
    """
    if value is None or spread is None:
        return None
    if count < 2:
        return (value, value) if spread == 0 else None
    half = float(stdtrit(count - 1, (1 + LEVEL) / 2)) * spread / math.sqrt(count)
    return max(value - half, 0.0), value + half


def is_sure(
    between: tuple[float, float] | None, threshold: float | None, uncertainty: float
) -> bool:
    """Whether neither the seeds nor the reference could move an error across its threshold."""
    if between is None or threshold is None:
        return False
    low, high = between
    return high + uncertainty <= threshold or low - uncertainty > threshold


def differ(one: Criterion, other: Criterion) -> bool | None:
    """Whether two candidates differ on a criterion; None if one has no number.

    Where neither has several seeds the spread is unknown and counts as zero; the verdict says so.
    """
    if "unknown" in (one.outcome, other.outcome) or None in (one.value, other.value):
        return None
    assert one.value is not None
    assert other.value is not None
    assert one.signed is not None
    assert other.signed is not None
    apart = abs(one.value - other.value)
    # |a - d| < |b - d| changes its truth when the shift d of the reference passes (a + b) / 2.
    safe = abs(one.signed + other.signed) / 2 >= one.uncertainty
    return apart > APART * standard_error(one, other) and apart > 0 and safe


def standard_error(one: Criterion, other: Criterion) -> float:
    """Of the difference of two mean errors; a single seed is lent the spread of the other."""
    spreads = [c.spread for c in (one, other) if c.spread is not None and c.seeds > 1]
    lent = max(spreads, default=0.0)
    variance = 0.0
    for criterion in (one, other):
        spread = lent if criterion.spread is None else criterion.spread
        variance += spread**2 / max(criterion.seeds, 1)
    return math.sqrt(variance)


def better(one: Criterion, other: Criterion) -> bool:
    """Whether the first is smaller and the two differ."""
    return bool(differ(one, other)) and (one.value or 0.0) < (other.value or 0.0)


def separates(first: Candidate, second: Candidate) -> bool:
    """Whether something makes the first better than the second beyond the noise.

    A candidate that survives is told apart from one that explodes, and one that passes from one
    that failed without a number.
    """
    if second.exploded and not first.exploded:
        return True
    pairs = zip(first.criteria, second.criteria, strict=True)
    return any(better(one, other) or _only_one_has_a_number(one, other) for one, other in pairs)


def _only_one_has_a_number(one: Criterion, other: Criterion) -> bool:
    """Whether the other failed without a number where the first passed."""
    return one.outcome == "pass" and other.outcome == "fail" and other.value is None


def confidence(decision: Decision, ranked: Sequence[Candidate]) -> tuple[Confidence, str]:
    """The confidence in a verdict and the reasons for it."""
    if decision == "none":
        return "none", "nothing was measured that could decide"
    first = ranked[0]
    known = [c for c in first.criteria if c.outcome != "unknown"]
    sure = [c for c in known if c.sure]
    counted = (
        f"{len(sure)} of {len(first.criteria)} outcomes of {first.name} hold against the scatter "
        "between seeds and the uncertainty of the reference"
    )
    if decision == "tie":
        return "low", f"{first.name} and {ranked[1].name} cannot be told apart; {counted}"
    rivals = [c.name for c in ranked[1:] if c.passed >= first.passed and not separates(first, c)]
    if rivals:
        return "low", f"{', '.join(rivals[:3])} meets as many criteria; {counted}"
    if decision == "recommended" and len(sure) == len(first.criteria):
        return "high", counted
    if 2 * len(sure) < len(first.criteria):
        return "low", counted
    return "moderate", counted
