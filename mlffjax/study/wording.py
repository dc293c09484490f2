"""The verdict in plain language: sentences from judged candidates, no judgement of its own."""

import itertools
from collections.abc import Callable, Iterator, Sequence

from mlffjax.study.judgement import Candidate, Criterion

ADVICE = {
    "scratch": "train a specialist from scratch",
    "finetune": "fine-tune the generalist",
    "zero_shot": "use the generalist as it is",
}


Differ = Callable[[Criterion, Criterion], bool | None]


def quantity(value: float, unit: str, *, spread: float | None = None) -> str:
    """A number, with its spread, in a unit that suits its size: meV below 0.1 eV."""
    small = unit.startswith("eV") and abs(value) < 0.1
    factor, prefix = (1e3, "m") if small else (1.0, "")
    tail = "" if spread is None else f" ± {factor * spread:.2g}"
    return f"{factor * value:.3g}{tail} {prefix}{unit}".strip()


def measured(criterion: Criterion) -> str:
    """Error, spread and threshold of a criterion, in words."""
    if criterion.outcome == "unknown" or criterion.value is None or criterion.threshold is None:
        return f"{criterion.label}: unknown, {criterion.reason}"
    error = quantity(criterion.value, criterion.unit, spread=criterion.spread)
    side = "within" if criterion.outcome == "pass" else "above"
    limit = quantity(criterion.threshold, criterion.unit)
    return f"{criterion.label}: error {error}, {side} the limit of {limit}"


def headline(decision: str, candidates: Sequence[Candidate]) -> str:
    """The answer in one or two sentences."""
    if decision == "none":
        if any(candidate.seeds for candidate in candidates):
            return "No verdict: the runs succeeded, but nothing was measured that could decide."
        return "No verdict: no run gave a potential."
    first = candidates[0]
    met = f"{first.passed} of {len(first.criteria)} criteria"
    advice = ADVICE.get(first.strategy, f"use the strategy {first.strategy!r}")
    if decision == "recommended":
        return (
            f"For this material, {advice}: {first.name} meets all {len(first.criteria)} criteria."
        )
    if decision == "tie":
        second = candidates[1]
        return (
            f"These data do not separate {first.name} from {second.name}: where the former is "
            f"ahead (it meets {met}), the difference is within the noise. Take the cheaper one or "
            "add data."
        )
    return (
        f"No candidate meets every criterion. The least bad is {first.name} ({advice}), which "
        f"meets {met}; use it only for what it passed."
    )


def evidence(candidate: Candidate, outcome: str) -> tuple[str, ...]:
    """What was measured on a candidate, for one outcome."""
    return tuple(measured(c) for c in candidate.criteria if c.outcome == outcome)


def against(candidate: Candidate) -> tuple[str, ...]:
    """Failed and unknown criteria, and lost seeds."""
    lost = (
        (f"{candidate.lost} of {candidate.lost + candidate.seeds} seeds gave no potential",)
        if candidate.lost
        else ()
    )
    return (*evidence(candidate, "fail"), *evidence(candidate, "unknown"), *lost)


def disagreements(ranked: Sequence[Candidate], differ: Differ) -> Iterator[str]:
    """Criteria on which another candidate is better than the first, beyond the noise."""
    if not ranked:
        return
    first, *others = ranked
    for place, mine in enumerate(first.criteria):
        rivals = [
            (theirs.value, other.name, theirs)
            for other in others
            if differ(mine, theirs := other.criteria[place])
            and theirs.value is not None
            and mine.value is not None
            and theirs.value < mine.value
        ]
        if rivals:
            _, name, best = min(rivals, key=lambda rival: rival[:2])
            assert best.value is not None
            assert mine.value is not None
            yield (
                f"{mine.label}: {name} is better than {first.name} "
                f"({quantity(best.value, mine.unit)} against {quantity(mine.value, mine.unit)})"
            )


def undecided(ranked: Sequence[Candidate], differ: Differ, uncertainty: float) -> Iterator[str]:
    """What the data cannot tell."""
    single = [candidate.name for candidate in ranked if candidate.seeds == 1]
    if ranked and len(single) == len(ranked):
        yield (
            "every candidate has one seed, so the scatter between trainings is unknown and small "
            "differences mean nothing; give several seeds"
        )
    elif single:
        yield (
            f"{', '.join(single)}: one seed only; where the scatter is needed, that of the "
            "candidate compared with is used"
        )
    yield from _within_noise(ranked, differ)
    if not uncertainty:
        yield (
            "the uncertainty of the reference barriers was not stated (reference_uncertainty_ev = "
            "0), so small barrier errors may be errors of the reference"
        )
    if ranked and not ranked[0].criteria:
        yield "no probe with reference labels was measured"


def _within_noise(ranked: Sequence[Candidate], differ: Differ) -> Iterator[str]:
    """Neighbours in the ranking that do not differ on a criterion."""
    for one, other in itertools.pairwise(ranked):
        same = [
            mine.label
            for mine, theirs in zip(one.criteria, other.criteria, strict=True)
            if differ(mine, theirs) is False
        ]
        if same:
            yield (
                f"{one.name} and {other.name} cannot be told apart on {', '.join(same)}: their "
                "difference is below twice the standard error over seeds, or shifting the "
                "reference by its uncertainty would reverse it"
            )
