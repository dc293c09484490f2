"""How much data every strategy needs, read from learning curves.

A learning curve is a family of entries trained on growing fractions of the same frames. The least
fraction that does is the smallest one from which on no size is worse than the largest on any
criterion, in the sense in which the verdict calls two candidates different. A curve still falls
where the largest size is better than the one before it.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mlffjax.study.confidence import better
from mlffjax.study.judgement import Candidate, Criterion
from mlffjax.study.records import StudyRecords
from mlffjax.study.wording import few, listed, quantity

DYNAMICS = ("survived", "md_ms_per_step", "training_seconds")
"""Metrics of criteria that more data does not push in one direction."""


class Need(NamedTuple):
    """What the learning curve of one strategy says.

    Attributes:
        family: its name.
        members: names of the candidates, by growing fraction.
        least: place in ``members`` of the least fraction that does; None where the scatter between
            seeds is not known, so that nothing can be said.
        frames: number of training frames, by member.
        shares: fraction of the training frames, by member.
        falling: criteria that still fall at the largest size, with the errors before and there.
        grown: labels of criteria on which the largest size is worse than a smaller one and that do
            not fall there.
    """

    family: str
    members: tuple[str, ...]
    least: int | None
    frames: tuple[int, ...]
    shares: tuple[float, ...]
    falling: tuple[tuple[Criterion, Criterion], ...]
    grown: tuple[str, ...]


def needs(records: StudyRecords, ranked: Sequence[Candidate]) -> tuple[Need, ...]:
    """One entry for every learning curve of at least two sizes, in the order of the ranking."""
    sizes: dict[str, dict[str, tuple[float, int]]] = {}
    for run in records.runs:
        if run.info.status == "ok" and run.info.family and run.info.fraction is not None:
            members = sizes.setdefault(run.info.family, {})
            members[run.info.name] = run.info.fraction, run.info.frames.get("train", 0)
    judged = {candidate.name: candidate for candidate in ranked}
    found = [
        _need(family, {name: size for name, size in members.items() if name in judged}, judged)
        for family, members in sizes.items()
    ]
    best = {name: place for place, name in enumerate(judged)}
    curves = [need for need in found if need is not None]
    return tuple(sorted(curves, key=lambda need: min(best[name] for name in need.members)))


def _need(
    family: str, members: dict[str, tuple[float, int]], judged: dict[str, Candidate]
) -> Need | None:
    names = sorted(members, key=lambda name: members[name])
    if len(names) < 2:
        return None
    sized = [judged[name] for name in names]
    largest = sized[-1]
    pairs = _pairs(sized[-2], largest)
    improving = {last.label for before, last in pairs if better(last, before)}
    return Need(
        family=family,
        members=tuple(names),
        least=_least(sized) if all(_scatter_is_known(c) for c in sized) else None,
        frames=tuple(members[name][1] for name in names),
        shares=tuple(members[name][0] for name in names),
        falling=tuple((before, last) for before, last in pairs if better(last, before)),
        grown=tuple(
            dict.fromkeys(
                last.label
                for smaller in sized[:-1]
                for before, last in _pairs(smaller, largest)
                if better(before, last) and last.label not in improving
            )
        ),
    )


def _pairs(one: Candidate, other: Candidate) -> list[tuple[Criterion, Criterion]]:
    pairs = zip(one.criteria, other.criteria, strict=True)
    return [(a, b) for a, b in pairs if a.metric not in DYNAMICS]


def _scatter_is_known(candidate: Candidate) -> bool:
    return candidate.seeds > 1


def _least(sized: Sequence[Candidate]) -> int:
    """Place of the smallest size from which on none is worse than the largest."""
    largest, place = sized[-1], len(sized) - 1
    while place and not _is_worse(sized[place - 1], largest):
        place -= 1
    return place


def _is_worse(smaller: Candidate, largest: Candidate) -> bool:
    return (smaller.exploded and not largest.exploded) or any(
        better(last, before) or (last.value is not None and before.value is None)
        for before, last in _pairs(smaller, largest)
    )


def enough_for(needs: Sequence[Need], name: str) -> str:
    """How much data the strategy of a candidate takes, in one sentence; empty if not known."""
    for need in needs:
        if name in need.members and need.least is not None:
            return _sentence(need) + "."
    return ""


def sentences(needs: Sequence[Need]) -> Iterator[str]:
    """One or two sentences for every learning curve."""
    yield from few([line for need in needs for line in _lines(need)], most=10)


def _lines(need: Need) -> Iterator[str]:
    if need.least is None:
        yield (
            f"{need.family}: some sizes have one seed, so it cannot be said how many of its "
            f"{need.frames[-1]} frames would do"
        )
    else:
        yield _sentence(need)
    if need.falling:
        falls = [
            f"{last.label} ({quantity(before.value, last.unit)} with {need.frames[-2]} frames, "
            f"{quantity(last.value, last.unit)} with {need.frames[-1]})"
            for before, last in need.falling
            if before.value is not None and last.value is not None
        ]
        yield f"{need.family} still improves at {need.frames[-1]} frames on {listed(falls)}"
    if need.grown:
        yield (
            f"{need.family}: a smaller set of frames gave a better {listed(need.grown)}, so more "
            "of the same frames does not help there"
        )


def _sentence(need: Need) -> str:
    """How many frames do as well as all."""
    assert need.least is not None
    most = need.frames[-1]
    if need.least == len(need.members) - 1:
        return (
            f"{need.family} needs all {most} training frames: with {need.frames[-2]} it is worse "
            "on some criterion"
        )
    frames, share = need.frames[need.least], need.shares[need.least]
    return (
        f"{need.family} does as well with {frames} training frames ({100 * share:.3g} %) as with "
        f"{most}, as far as these seeds and the reference can tell"
    )
