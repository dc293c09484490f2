"""What relaxed bands say about candidates, beside the criteria of the verdict.

They do not enter the ranking. A reference barrier belongs to the reference's images, which are its
minimum-energy path only if they were relaxed with it; where they were not, a candidate that leaves
them is not compared with what the reference would have found there. Whether a band can be relaxed
at all, and whether the error on fixed images outlives it, is worth knowing all the same.
"""

from collections.abc import Iterator, Sequence

from mlffjax.study.judgement import VerdictConfig
from mlffjax.study.records import ProbeInfo, RunRecords, StudyRecords, mean_and_std
from mlffjax.study.wording import quantity

KIND = "relaxed_neb"


def remarks(records: StudyRecords, config: VerdictConfig) -> Iterator[str]:
    """One line for everything that relaxing the bands changes, in words.

    Args:
        records: of a study; without probes of the kind nothing is said.
        config: thresholds; those of barriers are used.
    """
    limit = max(config.barrier_error_ev, config.reference_uncertainty_ev)
    for probe in records.probes().values():
        if probe.kind != KIND:
            continue
        agree = []
        for name, runs in records.by_name().items():
            good = [run for run in runs if probe.name in run.probes]
            if not good:
                continue
            lost = _lost(probe, name, good)
            if lost:
                yield lost
            changed = _changed(probe, name, good, limit)
            if changed:
                yield changed
            elif changed is None and not lost:
                agree.append(name)
        if agree:
            yield (
                f"path {_path(probe)}: relaxing the band changes nothing about whether the barrier "
                f"of {', '.join(agree)} is within {quantity(limit, 'eV')}"
            )


def _lost(probe: ProbeInfo, name: str, runs: Sequence[RunRecords]) -> str:
    """Which bands could not be relaxed."""
    without = [run for run in runs if run.metric(probe.name, "converged") != 1]
    if not without:
        return ""
    said = dict.fromkeys(
        text
        for run in without
        for record in [run.probes[probe.name]]
        for text in (record.warnings or (record.message or record.status,))
    )
    return (
        f"path {_path(probe)}: {name} has no relaxed barrier in {len(without)} of {len(runs)} "
        f"seeds: {'; '.join(said)}"
    )


def _changed(probe: ProbeInfo, name: str, runs: Sequence[RunRecords], limit: float) -> str | None:
    """Whether the error passes on one kind of path only; None if not, empty without numbers."""
    fixed, relaxed = (
        mean_and_std(abs(v) for run in runs if (v := run.metric(probe.name, metric)) is not None)[0]
        for metric in ("barrier_fixed_error", "barrier_error")
    )
    if fixed is None or relaxed is None:
        return ""
    if (fixed <= limit) == (relaxed <= limit):
        return None
    sides = ("fails on fixed images", "passes on the relaxed band")
    if fixed <= limit:
        sides = ("passes on fixed images", "fails on the relaxed band")
    return (
        f"path {_path(probe)}: {name} {sides[0]} (error {quantity(fixed, 'eV')}) and {sides[1]} "
        f"({quantity(relaxed, 'eV')}; limit {quantity(limit, 'eV')})"
    )


def _path(probe: ProbeInfo) -> str:
    return str(probe.config.get("path", probe.name))
