"""The verdict in plain language: sentences from judged candidates, no judgement of its own."""

from collections.abc import Callable, Iterator, Sequence

from mlffjax.study.judgement import Candidate, Criterion

ADVICE = {
    "scratch": "train a specialist from scratch",
    "finetune": "fine-tune the generalist",
    "zero_shot": "use the generalist as it is",
    "freeze": "fine-tune the upper layers of the generalist",
    "lora": "fine-tune the generalist by low-rank updates",
    "anchor": "fine-tune the generalist, held near its weights",
    "replay": "fine-tune the generalist and replay generic structures",
    "pseudolabel": "fine-tune the generalist and replay its own labels",
    "multihead": "fine-tune the generalist with a head for each reference",
    "path_aware": "fine-tune the generalist on a migration path, too",
    "ensemble": "fine-tune the generalist",
}
FEW = 6
"""Lines of a list that a reader takes in; tables hold the rest."""
NAMES = 4
"""Names in a sentence."""


Differ = Callable[[Criterion, Criterion], bool | None]


def quantity(value: float, unit: str, *, spread: float | None = None) -> str:
    """A number, with its spread, in a unit that suits its size: meV below 0.1 eV."""
    small = unit.startswith("eV") and abs(value) < 0.1
    factor, prefix = (1e3, "m") if small else (1.0, "")
    tail = "" if spread is None else f" ± {factor * spread:.2g}"
    return f"{factor * value:.3g}{tail} {prefix}{unit}".strip()


def between(interval: tuple[float, float], unit: str) -> str:
    """A range in the unit that suits its upper end: 40 to 52 meV."""
    low, high = interval
    small = unit.startswith("eV") and abs(high) < 0.1
    factor, prefix = (1e3, "m") if small else (1.0, "")
    return f"{factor * low:.3g} to {factor * high:.3g} {prefix}{unit}".strip()


def listed(names: Sequence[str], *, most: int = NAMES) -> str:
    """Names in a sentence: all if they are few, otherwise the first and how many more."""
    names = list(dict.fromkeys(names))
    if len(names) <= most + 1:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def few(lines: Sequence[str], *, most: int = FEW) -> tuple[str, ...]:
    """The first lines, and how many were left out."""
    if len(lines) <= most + 1:
        return tuple(lines)
    return (*lines[:most], f"and {len(lines) - most} more like these: see the tables")


def measured(criterion: Criterion) -> str:
    """Error, spread, confidence interval and threshold of a criterion, in words."""
    if criterion.outcome == "unknown":
        return f"{criterion.label}: unknown, {criterion.reason}"
    if criterion.value is None or criterion.threshold is None:
        return f"{criterion.label}: failed, {criterion.reason}"
    spread = criterion.spread if criterion.seeds > 1 else None
    error = quantity(criterion.value, criterion.unit, spread=spread)
    side = "within" if criterion.outcome == "pass" else "above"
    limit = quantity(criterion.threshold, criterion.unit)
    said = f"{criterion.label}: {error}, {side} the limit of {limit}"
    if criterion.reason:
        said += f"; {criterion.reason}"
    return said + _how_sure(criterion)


def _how_sure(criterion: Criterion) -> str:
    """Confidence interval over several seeds, and whether the outcome holds against it."""
    if criterion.interval is None:
        return " (one seed: scatter unknown)"
    if criterion.seeds < 2:
        return "" if criterion.sure else " (within the uncertainty of the reference)"
    text = f"95 % interval {between(criterion.interval, criterion.unit)}"
    return f" ({text})" if criterion.sure else f" ({text}: not sure)"


def headline(decision: str, candidates: Sequence[Candidate], enough: str = "") -> str:
    """The answer in a few sentences; ``enough`` says how much data it takes, if that is known."""
    answer = _answer(decision, candidates)
    return f"{answer} {enough}".strip()


def _answer(decision: str, candidates: Sequence[Candidate]) -> str:
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
    trained = [c for c in ranked if c.strategy != "zero_shot"]
    single = [c.name for c in trained if c.seeds == 1]
    if trained and len(single) == len(trained):
        yield (
            "every trained candidate has one seed, so the scatter between trainings is unknown and "
            "small differences mean nothing; give several seeds"
        )
    elif single:
        yield (
            f"{listed(single)}: one seed only; where the scatter is needed, that of the "
            "candidate compared with is used"
        )
    yield from _within_noise(ranked, differ)
    yield from _not_sure(ranked[:1])
    if ranked and not uncertainty:
        yield (
            "the uncertainty of the reference barriers was not stated (reference_uncertainty_ev = "
            "0), so small barrier errors may be errors of the reference"
        )
    if ranked and not ranked[0].criteria:
        yield "no probe with reference labels was measured"


def _within_noise(ranked: Sequence[Candidate], differ: Differ) -> Iterator[str]:
    """On what the first candidate and the next ones do not differ."""
    if not ranked:
        return
    first, *others = ranked
    shown = others[:3]
    for other in shown:
        same = [
            mine.label
            for mine, theirs in zip(first.criteria, other.criteria, strict=True)
            if differ(mine, theirs) is False and mine.value != theirs.value
        ]
        if same:
            yield (
                f"{first.name} and {other.name} cannot be told apart on {listed(same)}: their "
                "difference is below twice the standard error over seeds, or shifting the "
                "reference by its uncertainty would reverse it"
            )


def _not_sure(first: Sequence[Candidate]) -> Iterator[str]:
    """Outcomes of the first candidate that seeds or the reference could turn over."""
    for candidate in first:
        unsure = [
            criterion.label
            for criterion in candidate.criteria
            if criterion.outcome != "unknown" and not criterion.sure and criterion.value is not None
        ]
        if unsure:
            yield (
                f"whether {candidate.name} really is on its side of the limit on {listed(unsure)}: "
                "the scatter between seeds, unknown with one, or the uncertainty of the reference "
                "could turn it over"
            )
