"""Applying the probes of a study to its runs; one record for each pair."""

import importlib.metadata
import platform
import time
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import mlffjax
from mlffjax import config as configuration
from mlffjax import trees
from mlffjax.arrays import PyTree
from mlffjax.errors import MlffjaxError, StorageError, said
from mlffjax.potential import store
from mlffjax.potential.base import Potential
from mlffjax.probes._probe import Context, Metrics, Probe
from mlffjax.registry import resolve
from mlffjax.study import over_devices
from mlffjax.study.plan import Plan, PlannedRun, path_digest, trajectory_digest, used_frames
from mlffjax.study.progress import Meter
from mlffjax.study.records import (
    SCHEMA,
    ProbeInfo,
    ProbeRecord,
    RunInfo,
    number_or_none,
    read_arrays,
    read_model,
    write_arrays,
    write_json,
)


class Surroundings(NamedTuple):
    """Where numbers were made."""

    versions: dict[str, str]
    device: str


def surroundings() -> Surroundings:
    """Of this process."""
    packages = ("jax", "jaxlib", "numpy", "optax", "ase")
    found = {name: importlib.metadata.version(name) for name in packages}
    versions = {"mlffjax": mlffjax.__version__, "python": platform.python_version(), **found}
    device = jax.local_devices()[0]
    return Surroundings(versions, f"{device.platform} ({device.device_kind}), {platform.machine()}")


class _Task(NamedTuple):
    """One probe to be applied to one run."""

    run: PlannedRun
    section: Any
    potential: Potential
    context: Context
    fingerprint: str


def probe_subject(run: PlannedRun, section: Any) -> str:
    """Name of a piece of work for the progress display."""
    return f"{run.id}/{section.name}"


def evaluate(
    plan: Plan,
    out: Path,
    meter: Meter,
    surroundings: Surroundings,
    *,
    runs: Sequence[PlannedRun] | None = None,
    elsewhere: Container[str] = (),
) -> None:
    """Measure what has no valid record yet; failures are recorded and the others go on.

    Args:
        plan: of the study.
        out: its output directory.
        meter: told about progress.
        surroundings: for the records.
        runs: those to measure; None: all.
        elsewhere: subjects (``probe_subject``) that are left to other processes.
    """
    frames = used_frames(plan)
    for section in plan.probes:
        tasks = []
        for run in plan.runs if runs is None else runs:
            if probe_subject(run, section) in elsewhere:
                continue
            task = _task(run, section, plan, frames, out)
            if task is None:
                meter.skip(probe_subject(run, section))
            else:
                tasks.append(task)
        for group in _groups(tasks):
            _measure_group(group, out, meter, surroundings)


def _task(
    run: PlannedRun, section: Any, plan: Plan, frames: Sequence[int], out: Path
) -> _Task | None:
    """What is to be done, or None if there is a valid record or no potential."""
    directory = out / "runs" / run.id
    info = read_model(directory / "run.json", RunInfo, [])
    if info is None or info.status != "ok":
        return None
    fingerprint = _fingerprint(run, section, plan, frames)
    if _is_measured(run, section, fingerprint, out):
        return None
    potential = trees.cast(store.load(directory)[0], np.float64)
    return _Task(
        run, section, potential, _context(run, section, potential, plan, frames), fingerprint
    )


def unmeasured(run: PlannedRun, plan: Plan, out: Path) -> tuple[Any, ...]:
    """Sections of the probes that a run with a potential has no valid record of yet."""
    info = read_model(out / "runs" / run.id / "run.json", RunInfo, [])
    if info is None or info.status != "ok":
        return ()
    frames = used_frames(plan)
    return tuple(
        section
        for section in plan.probes
        if not _is_measured(run, section, _fingerprint(run, section, plan, frames), out)
    )


def pending(plan: Plan, out: Path) -> list[str]:
    """Subjects without a valid record, those of one probe together."""
    lacking = {
        probe_subject(run, section) for run in plan.runs for section in unmeasured(run, plan, out)
    }
    subjects = (probe_subject(run, section) for section in plan.probes for run in plan.runs)
    return [subject for subject in subjects if subject in lacking]


def give_up(
    run: PlannedRun, plan: Plan, out: Path, message: str, meter: Meter, surroundings: Surroundings
) -> None:
    """Record that all probes without a valid record of this run failed."""
    frames, failure = used_frames(plan), {"status": "failed", "message": message}
    for section in unmeasured(run, plan, out):
        fingerprint = _fingerprint(run, section, plan, frames)
        _write(run, section, fingerprint, failure, 0.0, out, meter, surroundings)


def _is_measured(run: PlannedRun, section: Any, fingerprint: str, out: Path) -> bool:
    directory = out / "runs" / run.id
    record = read_model(_record_file(out, run, section), ProbeRecord, [])
    if record is None or record.fingerprint != fingerprint or record.status == "failed":
        return False
    return record.arrays is None or read_arrays(directory / "records" / record.arrays) is not None


def _fingerprint(run: PlannedRun, section: Any, plan: Plan, frames: Sequence[int]) -> str:
    """Of everything a record depends on besides the versions of the software."""
    uses = section.uses
    path = getattr(section, "path", None)
    other = getattr(section, "trajectory", None)
    foundation = plan.foundation_of(run)
    return configuration.fingerprint(
        SCHEMA,
        run.fingerprint,
        configuration.dump(section),
        [plan.dataset.digest, list(frames)] if "frames" in uses else None,
        run.splits if "splits" in uses else None,
        path_digest(plan.paths[path]) if "paths" in uses and path is not None else None,
        *([] if other is None else [trajectory_digest(plan.trajectories[other])]),
        *([foundation[1].checksum] if "foundation" in uses and foundation else []),
        *([_several(section.paths, plan)] if hasattr(section, "paths") else []),
    )


def _several(names: Sequence[str] | None, plan: Plan) -> dict[str, str]:
    """Digests of the paths of a section that may name several; None means all."""
    chosen = plan.paths if names is None else names
    return {name: path_digest(plan.paths[name]) for name in chosen if name in plan.paths}


def _context(
    run: PlannedRun, section: Any, potential: Potential, plan: Plan, frames: Sequence[int]
) -> Context:
    """Only what the probe uses, so that runs which do not differ in it are measured together."""
    place = {index: row for row, index in enumerate(frames)}
    foundation = plan.foundation_of(run)
    available = {
        "frames": tuple(plan.dataset.frames[index] for index in frames),
        "splits": {name: tuple(place[i] for i in part) for name, part in run.splits.items()},
        "paths": plan.paths,
        "trajectories": plan.trajectories,
        "foundation": foundation and trees.cast(foundation[0], np.float64),
    }
    chosen = {name: value for name, value in available.items() if name in section.uses}
    return Context(potential.elements, potential.cutoff, **chosen)


def _groups(tasks: Sequence[_Task]) -> Iterator[list[_Task]]:
    """Tasks that one probe and one compiled call can serve."""
    groups: dict[Any, list[_Task]] = {}
    for task in tasks:
        shapes = tuple(np.shape(leaf) for leaf in jax.tree.leaves(task.potential))
        splits = tuple(sorted((k, tuple(v)) for k, v in task.context.splits.items()))
        key = (jax.tree.structure(task.potential), shapes, splits)
        groups.setdefault(key, []).append(task)
    yield from groups.values()


def _measure_group(
    group: Sequence[_Task], out: Path, meter: Meter, surroundings: Surroundings
) -> None:
    section = group[0].section
    for task in group:
        text = f"probe {section.name}: {task.run.config.name}, seed {task.run.seed}"
        meter.tell("probe", probe_subject(task.run, section), text, fraction=0.0)
    start = time.monotonic()
    try:
        probe = resolve("probes", configuration.kind_of(section)).build(section, group[0].context)
    except MlffjaxError as error:
        _finish(group, [_failure(error)] * len(group), out, meter, surroundings, start)
        return
    lacking = probe.requires - group[0].potential.model.supports
    if lacking:
        message = f"the potential does not support {', '.join(sorted(lacking))}"
        skipped = {"status": "skipped", "message": message}
        _finish(group, [skipped] * len(group), out, meter, surroundings, start)
        return
    width = over_devices.width(len(group)) if probe.compiled else 1
    for first in range(0, len(group), width):
        chunk, start = group[first : first + width], time.monotonic()
        try:
            results = _measure(probe, chunk, out)
            outcomes = [contents(probe, result) for result in results]
        except StorageError:
            raise
        except Exception as error:  # one probe must not end the study
            outcomes = [_failure(error)] * len(chunk)
        _finish(chunk, outcomes, out, meter, surroundings, start)


def _measure(probe: Probe, tasks: Sequence[_Task], out: Path) -> list[Metrics]:
    """Metrics of every potential, on the host."""
    potentials = [task.potential for task in tasks]
    if probe.keeps_files:
        folders = [
            out / "runs" / task.run.id / "work" / f"{task.section.name}-{task.fingerprint}"
            for task in tasks
        ]
        pairs = zip(potentials, folders, strict=True)
        return [jax.device_get(probe.measure(*pair)) for pair in pairs]
    if not probe.compiled:
        return [jax.device_get(probe.measure(potential)) for potential in potentials]
    if len(potentials) == 1:
        return [jax.device_get(_measure_one(probe.measure, potentials[0]))]
    return over_devices.measured(probe.measure, potentials)


@jax.jit
def _measure_one(measure: Any, potential: Potential) -> PyTree:
    return measure(potential)


def contents(probe: Probe, result: Metrics) -> dict[str, Any]:
    """Contents of a record (``records.ProbeRecord``) from what a probe measured on the host."""
    scalars = {n: float(v) for n, v in result.items() if np.ndim(v) == 0 and n not in probe.reasons}
    metrics = {name: number_or_none(value) for name, value in scalars.items()}
    lost = {n: f"the potential gave {scalars[n]}" for n, v in metrics.items() if v is None}
    arrays = probe.constants | {n: np.asarray(v) for n, v in result.items() if np.ndim(v)}
    return {
        "status": "ok",
        "metrics": metrics | dict.fromkeys(probe.reasons),
        "reasons": probe.reasons | lost,
        "foreseen": tuple(sorted(probe.reasons)),
        "units": probe.units,
        "warnings": tuple(probe.inspect(scalars)),
        "arrays": {name: np.asarray(value) for name, value in arrays.items()},
    }


def _failure(error: Exception) -> dict[str, Any]:
    return {"status": "failed", "message": said(error)}


def _finish(
    tasks: Sequence[_Task],
    outcomes: Sequence[dict[str, Any]],
    out: Path,
    meter: Meter,
    surroundings: Surroundings,
    start: float,
) -> None:
    """Write the records of what was measured together."""
    seconds = (time.monotonic() - start) / len(tasks)
    for task, outcome in zip(tasks, outcomes, strict=True):
        made = (task.run, task.section, task.fingerprint)
        _write(*made, outcome, seconds, out, meter, surroundings)


def _write(
    run: PlannedRun,
    section: Any,
    fingerprint: str,
    outcome: dict[str, Any],
    seconds: float,
    out: Path,
    meter: Meter,
    surroundings: Surroundings,
) -> None:
    """Write one record, arrays first: a record without its arrays never exists."""
    file, arrays = _record_file(out, run, section), outcome.get("arrays")
    if arrays:
        write_arrays(file.with_suffix(".npz"), arrays)
    kind = configuration.kind_of(section)
    record = ProbeRecord.model_validate(
        {
            "run": run.id,
            "probe": ProbeInfo(kind=kind, name=section.name, config=configuration.dump(section)),
            "fingerprint": fingerprint,
            "versions": surroundings.versions,
            "device": surroundings.device,
            "seconds": seconds,
        }
        | outcome
        | {"arrays": file.with_suffix(".npz").name if arrays else None}
    )
    write_json(file, record)
    text = f"probe {section.name}: {run.config.name}, seed {run.seed}: {record.status}"
    meter.tell("probe", probe_subject(run, section), text, fraction=1.0, finished=True)


def _record_file(out: Path, run: PlannedRun, section: Any) -> Path:
    return out / "runs" / run.id / "records" / f"{section.name}.json"
