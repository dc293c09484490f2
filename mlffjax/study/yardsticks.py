"""What candidates are measured by: one yardstick for every criterion that the records allow."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from mlffjax.study.judgement import Expected, VerdictConfig
from mlffjax.study.records import ProbeInfo, RunRecords, StudyRecords, mean_and_std

SIMULATED = ("stability", "transport", "conductivity")
"""Kinds of probes that run molecular dynamics; all have ``survived`` and ``status``."""
EXPLOSION = "survived"

Read = Callable[[RunRecords], float | None]


class Yardstick(NamedTuple):
    """A criterion before it is applied.

    Attributes:
        probe: name of the probe; empty for what belongs to a whole run.
        metric: name of the metric, for reports.
        label: what it is, in words.
        unit: of what ``read`` returns.
        threshold: largest magnitude that passes; None where the reference gives no scale.
        read: the signed number of one run, None where it has none.
        uncertainty: of the reference, in the same unit.
        closed: the probe has a closure test, without which its numbers mean nothing.
        required: a probe that ran and gave no number has failed, instead of being unknown.
    """

    probe: str
    metric: str
    label: str
    unit: str
    threshold: float | None
    read: Read
    uncertainty: float = 0.0
    closed: bool = False
    required: bool = False


def yardsticks(records: StudyRecords, config: VerdictConfig) -> tuple[Yardstick, ...]:
    """All criteria of a study, in the order of its probes, costs last."""
    found: list[Yardstick] = []
    for probe in records.probes().values():
        found += _of_probe(records, probe, config)
    found += [_expected(records, entry) for entry in config.expected]
    found += _costs(config)
    return tuple(found)


def path_of(probe: ProbeInfo) -> str:
    """Name of the path a probe follows, its own where it names none."""
    return str(probe.config.get("path", probe.name))


def is_labelled(records: StudyRecords, probe: ProbeInfo) -> bool:
    """Whether the path of a probe has a reference barrier."""
    return any(run.metric(probe.name, "barrier_reference") is not None for run in records.runs)


def metric(probe: str, name: str) -> Read:
    """Reads a metric of a probe."""
    return lambda run: run.metric(probe, name)


def training_seconds(run: RunRecords) -> float | None:
    """Wall time of the training."""
    return run.info.seconds


def md_ms_per_step(run: RunRecords) -> float | None:
    """Wall time of a step of molecular dynamics, compilation included, over probes that simulate.

    Probes without a wall time or of unknown length are left out.
    """
    found = []
    for record in run.probes.values():
        md = record.probe.config.get("md") or {}
        steps = md.get("steps", 0) + sum(s.get("steps", 0) for s in md.get("equilibration") or ())
        finished = record.metrics.get(EXPLOSION) == 1
        if record.probe.kind in SIMULATED and finished and steps and record.seconds:
            found.append(1e3 * record.seconds / (steps * md.get("replicas", 1)))
    return mean_and_std(found)[0]


def _of_probe(
    records: StudyRecords, probe: ProbeInfo, config: VerdictConfig
) -> Iterator[Yardstick]:
    if probe.kind == "accuracy":
        yield from _accuracy(probe, config)
    elif probe.kind in ("fixed_path", "relaxed_neb", "sliding") and is_labelled(records, probe):
        yield from _barrier(records, probe, config)
    elif probe.kind in SIMULATED:
        yield from _dynamics(probe, config)
    elif probe.kind == "forgetting" and config.forgetting_index is not None:
        label = "forgetting index"
        yield Yardstick(
            probe.name, "index", label, "", config.forgetting_index, _forgotten(probe.name)
        )


def _accuracy(probe: ProbeInfo, config: VerdictConfig) -> Iterator[Yardstick]:
    for name, label, unit, threshold in (
        ("test_force_rmse", "forces on test frames", "eV/Å", config.force_rmse_ev_a),
        ("test_energy_rmse", "energies on test frames", "eV/atom", config.energy_rmse_ev),
    ):
        yield Yardstick(probe.name, name, label, unit, threshold, metric(probe.name, name))


def _barrier(records: StudyRecords, probe: ProbeInfo, config: VerdictConfig) -> Iterator[Yardstick]:
    name, path, uncertainty = "barrier_error", path_of(probe), config.reference_uncertainty_ev
    read = metric(probe.name, name)
    if probe.kind == "sliding":
        limit = _sliding_threshold(records, probe, config)
        label = f"barrier of slide {path}"
        yield Yardstick(probe.name, name, label, "eV", limit, read, closed=True)
    elif probe.kind == "fixed_path":
        limit, label = max(config.barrier_error_ev, uncertainty), f"barrier of path {path}"
        yield Yardstick(probe.name, name, label, "eV", limit, read, uncertainty)
    elif config.relaxed_barrier_error_ev is not None:
        limit = max(config.relaxed_barrier_error_ev, uncertainty)
        label = f"relaxed barrier of path {path}"
        yield Yardstick(probe.name, name, label, "eV", limit, read, uncertainty, required=True)


def _sliding_threshold(
    records: StudyRecords, probe: ProbeInfo, config: VerdictConfig
) -> float | None:
    values = [run.metric(probe.name, "barrier_reference") for run in records.runs]
    reference, _, _ = mean_and_std(values)
    return config.sliding_error_fraction * abs(reference) if reference else None


def _dynamics(probe: ProbeInfo, config: VerdictConfig) -> Iterator[Yardstick]:
    if config.survival is not None:
        label = f"trajectories of {probe.name} that stopped"
        read = _stopped(probe.name)
        yield Yardstick(probe.name, EXPLOSION, label, "", 1 - config.survival, read, required=True)
    # A few labelled frames are no ensemble; only a trajectory is a reference to be judged by.
    if probe.kind == "transport" and probe.config.get("trajectory") is not None:
        for name, label, limit in (
            ("rdf_difference", "g(r)", config.rdf_difference),
            ("vacf_difference", "velocity autocorrelation", config.vacf_difference),
        ):
            if limit is not None:
                label = f"{label} of {probe.name}"
                yield Yardstick(probe.name, name, label, "", limit, metric(probe.name, name))


def _stopped(probe: str) -> Read:
    """The fraction of trajectories that did not get to the end."""

    def read(run: RunRecords) -> float | None:
        survived = run.metric(probe, EXPLOSION)
        return None if survived is None else 1.0 - survived

    return read


def _forgotten(probe: str) -> Read:
    """The index, 0 where it is an improvement: that is no error."""

    def read(run: RunRecords) -> float | None:
        index = run.metric(probe, "index")
        return None if index is None else max(index, 0.0)

    return read


def _expected(records: StudyRecords, entry: Expected) -> Yardstick:
    unit = next(
        (
            run.probes[entry.probe].units[entry.metric]
            for run in records.runs
            if entry.probe in run.probes and entry.metric in run.probes[entry.probe].units
        ),
        "",
    )

    def read(run: RunRecords) -> float | None:
        found = run.metric(entry.probe, entry.metric)
        return None if found is None else found - entry.value

    label = f"{entry.metric} of {entry.probe} (expected {entry.value:g})"
    limit = max(entry.tolerance, entry.uncertainty)
    return Yardstick(
        entry.probe, entry.metric, label, unit, limit, read, uncertainty=entry.uncertainty
    )


def _costs(config: VerdictConfig) -> Iterator[Yardstick]:
    if config.training_seconds is not None:
        limit = config.training_seconds
        yield Yardstick("", "training_seconds", "time to train", "s", limit, training_seconds)
    if config.md_ms_per_step is not None:
        limit = config.md_ms_per_step
        yield Yardstick("", "md_ms_per_step", "a step of dynamics", "ms", limit, md_ms_per_step)


def unmet(yardstick: Yardstick, runs: Sequence[RunRecords]) -> str:
    """Why no number of these runs may be used; empty if they may.

    A path that was trained on predicts nothing, and a failed closure test is a defect, no physics.
    """
    for run in runs:
        record = run.probes.get(yardstick.probe)
        if record is not None and record.probe.config.get("path") in run.info.learned_paths:
            return "the candidate was trained on this path, so its error is of a fit"
    if not yardstick.closed:
        return ""
    for run in runs:
        record = run.probes.get(yardstick.probe)
        error = run.metric(yardstick.probe, "closure_error")
        tolerance = record.probe.config.get("closure_tolerance") if record else None
        if error is not None and tolerance is not None and error > tolerance:
            return f"the closure test failed ({error:.1e} eV), so the numbers are not physics"
    return ""


def absence(yardstick: Yardstick, runs: Sequence[RunRecords]) -> str:
    """Why a yardstick has no number."""
    for run in runs:
        record = run.probes.get(yardstick.probe)
        if record is not None:
            return record.reasons.get(yardstick.metric) or record.message or "no number"
    return "not measured"
