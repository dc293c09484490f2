"""Dynamics and costs that no threshold asks for, in words: told beside the criteria."""

from collections.abc import Iterator, Sequence

from mlffjax.study.judgement import Candidate, VerdictConfig
from mlffjax.study.records import ProbeInfo, StudyRecords, mean_and_std
from mlffjax.study.wording import listed
from mlffjax.study.yardsticks import EXPLOSION, SIMULATED


def beside(
    records: StudyRecords, ranked: Sequence[Candidate], config: VerdictConfig
) -> Iterator[str]:
    """One line for every probe that simulates, one for each kind of cost.

    Args:
        records: of a study.
        ranked: candidates with potentials, best first.
        config: thresholds; what they count is left out here.
    """
    for probe in records.probes().values():
        if probe.kind in SIMULATED:
            yield from _survival(records, ranked, probe)
        if probe.kind == "transport" and probe.config.get("trajectory") is None:
            yield from _structure(records, ranked, probe)
    if config.training_seconds is None:
        trained = {
            c.name: c.training_seconds
            for c in ranked
            if c.training_seconds and c.strategy != "zero_shot"
        }
        yield from _cost("a training took {} s", ranked, trained)
    if config.md_ms_per_step is None:
        steps = {c.name: c.md_ms_per_step for c in ranked if c.md_ms_per_step}
        yield from _cost("a step of dynamics took {} ms (compilation included)", ranked, steps)


def _survival(
    records: StudyRecords, ranked: Sequence[Candidate], probe: ProbeInfo
) -> Iterator[str]:
    shares = _means(records, ranked, probe, EXPLOSION)
    stopped = {name: share for name, share in shares.items() if share < 1}
    if shares and not stopped:
        yield f"{probe.name}: every trajectory of {listed(list(shares))} got to its end"
    if stopped:
        said = [f"{name} ({100 * share:.0f} %)" for name, share in stopped.items()]
        yield f"{probe.name}: trajectories stopped early; to the end got those of {listed(said)}"


def _structure(
    records: StudyRecords, ranked: Sequence[Candidate], probe: ProbeInfo
) -> Iterator[str]:
    """How far g(r) is from that of labelled frames, which are too few to be judged by."""
    found = _means(records, ranked, probe, "rdf_difference")
    if found:
        said = [f"{name} {value:.2f}" for name, value in found.items()]
        yield (
            f"{probe.name}: mean difference of g(r) from the labelled frames: {listed(said)} "
            "(not counted: frames are no trajectory)"
        )


def _means(
    records: StudyRecords, ranked: Sequence[Candidate], probe: ProbeInfo, metric: str
) -> dict[str, float]:
    groups = records.by_name()
    means = {
        c.name: mean_and_std(run.metric(probe.name, metric) for run in groups[c.name])[0]
        for c in ranked
    }
    return {name: value for name, value in means.items() if value is not None}


def _cost(sentence: str, ranked: Sequence[Candidate], costs: dict[str, float]) -> Iterator[str]:
    """The first candidate's cost, and the cheapest's."""
    if not costs:
        return
    first, cheapest = ranked[0].name, min(costs, key=lambda name: costs[name])
    if first in costs:
        said = f"{first}: {sentence.format(f'{costs[first]:.3g}')}"
        if cheapest != first:
            said += f"; least: {costs[cheapest]:.3g} for {cheapest}"
        yield said
    else:
        yield f"{cheapest}: {sentence.format(f'{costs[cheapest]:.3g}')}, the least of all"
