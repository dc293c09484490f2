"""What relaxed bands say about candidates, beside the criteria of the verdict.

They enter the ranking only where ``relaxed_barrier_error_ev`` asks for it. A reference barrier
belongs to the reference's images, which are its minimum-energy path only if they were relaxed with
it; where they were not, a candidate that leaves them is not compared with what the reference would
have found there. Whether a band can be relaxed at all, and whether the error on fixed images
outlives it, is worth knowing all the same.
"""

from collections.abc import Iterator, Sequence

from mlffjax.study.judgement import VerdictConfig
from mlffjax.study.records import ProbeInfo, RunRecords, StudyRecords, mean_and_std
from mlffjax.study.wording import listed, quantity
from mlffjax.study.yardsticks import path_of

KIND = "relaxed_neb"


def remarks(
    records: StudyRecords, config: VerdictConfig, order: Sequence[str] = ()
) -> Iterator[str]:
    """Which bands have no barrier, and for whom relaxing the band changes nothing, in words.

    Args:
        records: of a study; without probes of the kind nothing is said.
        config: thresholds; those of barriers are used.
        order: names of the candidates to speak of, best first; all by default.
    """
    limit = _limit(config)
    for probe, names in _probed(records, order):
        agree = []
        for name, runs in names.items():
            lost = _lost(probe, name, runs)
            if lost:
                yield lost
            elif _changed(probe, name, runs, limit) is None:
                agree.append(name)
        if agree:
            yield (
                f"path {path_of(probe)}: relaxing the band changes nothing about whether the "
                f"barrier of {listed(agree)} is within {quantity(limit, 'eV')}"
            )


def changes(
    records: StudyRecords, config: VerdictConfig, order: Sequence[str] = ()
) -> Iterator[str]:
    """Candidates whose barrier passes on fixed images or on the relaxed band only, in words.

    Arguments as of ``remarks``.
    """
    for probe, names in _probed(records, order):
        for name, runs in names.items():
            changed = _changed(probe, name, runs, _limit(config))
            if changed:
                yield changed


def disagreeing(
    records: StudyRecords, config: VerdictConfig, order: Sequence[str]
) -> Iterator[tuple[ProbeInfo, str]]:
    """Probe and candidate of every disagreement between fixed images and the relaxed band."""
    for probe, names in _probed(records, order):
        for name, runs in names.items():
            if _changed(probe, name, runs, _limit(config)):
                yield probe, name


def _limit(config: VerdictConfig) -> float:
    return max(config.barrier_error_ev, config.reference_uncertainty_ev)


def _probed(
    records: StudyRecords, order: Sequence[str]
) -> Iterator[tuple[ProbeInfo, dict[str, Sequence[RunRecords]]]]:
    """Probes of the kind, with the measured runs of every candidate."""
    groups = records.by_name()
    for probe in records.probes().values():
        if probe.kind == KIND:
            found = {
                name: [run for run in groups.get(name, ()) if probe.name in run.probes]
                for name in order or groups
            }
            yield probe, {name: runs for name, runs in found.items() if runs}


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
        f"path {path_of(probe)}: {name} has no relaxed barrier in {len(without)} of {len(runs)} "
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
        f"path {path_of(probe)}: {name} {sides[0]} (error {quantity(fixed, 'eV')}) and {sides[1]} "
        f"({quantity(relaxed, 'eV')}; limit {quantity(limit, 'eV')})"
    )
