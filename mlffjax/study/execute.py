"""Doing what a study asks for, here or through workers, so that nothing finished is ever lost."""

import datetime
import functools
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mlffjax import config as configuration
from mlffjax.errors import ConfigError
from mlffjax.study import distributed, representation_evidence, tables, verdict
from mlffjax.study.config import StudyConfig
from mlffjax.study.evaluate import (
    Surroundings,
    evaluate,
    give_up,
    probe_subject,
    surroundings,
    unmeasured,
)
from mlffjax.study.fan_out import Bundle, fan_out
from mlffjax.study.lock import locked, wait_until_free
from mlffjax.study.path_records import write_paths
from mlffjax.study.plan import Plan, PlannedRun, make_plan, used_frames
from mlffjax.study.progress import Meter, Observe
from mlffjax.study.records import (
    SCHEMA,
    StudyInfo,
    StudyRecords,
    load_study,
    read_model,
    write_json,
)
from mlffjax.study.runs import PREPARED, ShapesByNeed, is_finished, run_info, train
from mlffjax.study.unfinished import settle


def execute(
    config: StudyConfig,
    base: Path,
    out: Path,
    *,
    observe: Observe | None = None,
    restart: bool = False,
) -> StudyRecords:
    """Do what is not yet done of a study.

    Args:
        config: the study.
        base: directory that its relative paths start from.
        out: output directory; see ``records``.
        observe: told about progress; an exception it raises stops the study, which can be resumed.
        restart: begin trainings that were interrupted again instead of continuing them.

    Returns:
        All records; ``failures()`` lists runs and probes that gave nothing.

    Raises:
        ConfigError: the configuration cannot be used, or jax is not set to float64.
        InputError: data cannot be used, or another process works on ``out``.
        CompatibilityError: data and foundation do not belong together, or changed settings would
            abandon a training that was interrupted.
    """
    if jax.dtypes.canonicalize_dtype(np.float64) != np.float64:
        raise ConfigError(
            "probes measure small energy differences and need float64; call "
            "jax.config.update('jax_enable_x64', True) before anything else"
        )
    plan = make_plan(config, base)
    with locked(out):
        settle(plan, out, restart=restart)
        _write_study(plan, out, surroundings())
        meter = _meter(plan, observe)
        if config.executor.in_process:
            _wait_for_workers(plan, out, meter)
            if jax.process_count() > 1:
                distributed.lead(plan, out, meter)
            else:
                complete(plan, plan.runs, out, meter)
        else:
            lose = functools.partial(_lose, plan, out, meter)
            fan_out(_bundles(plan, out, meter), plan, base, out, meter, lose)
        records = load_study(out)
        _write_summary(records, config, out)
        representation_evidence.update(records, out)
        if all(is_finished(out / "runs" / run.id) for run in plan.runs):
            shutil.rmtree(out / PREPARED, ignore_errors=True)
        meter.tell("done", "", f"study {config.name} is complete", fraction=1.0, finished=True)
        return load_study(out)


def complete(
    plan: Plan,
    runs: Sequence[PlannedRun],
    out: Path,
    meter: Meter,
    *,
    shapes: ShapesByNeed | None = None,
) -> None:
    """Train and probe some runs of a plan in this process, as far as that is not yet done.

    Args:
        plan: of the whole study.
        runs: those of its runs to complete.
        out: output directory of the study.
        meter: told about progress.
        shapes: array shapes found so far, to be kept for more runs of the plan.
    """
    shapes = {} if shapes is None else shapes
    train(runs, plan, out, meter, shapes)
    evaluate(plan, out, meter, surroundings(), runs=runs)


def _bundles(plan: Plan, out: Path, meter: Meter) -> list[Bundle]:
    """Runs that lack something, as tasks; the others count as done."""
    pending = []
    for run in plan.runs:
        if is_finished(out / "runs" / run.id) and not unmeasured(run, plan, out):
            for subject in (run.id, *(probe_subject(run, probe) for probe in plan.probes)):
                meter.skip(subject)
        else:
            pending.append(run)
    size = plan.config.executor.together
    return [tuple(pending[first : first + size]) for first in range(0, len(pending), size)]


def _wait_for_workers(plan: Plan, out: Path, meter: Meter) -> None:
    """Let workers that outlived an earlier process of this study (jobs of a queue) finish."""
    for run in plan.runs:
        wait_until_free(out / "runs" / run.id, functools.partial(meter.wait, run.id))


def _lose(plan: Plan, out: Path, meter: Meter, run: PlannedRun, reason: str) -> None:
    """Record that the worker of a run died: of its training, or of its probes if it is trained."""
    directory = out / "runs" / run.id
    if is_finished(directory):
        give_up(run, plan, out, reason, meter, surroundings())
        return
    write_json(directory / "run.json", run_info(run, {"status": "failed", "message": reason}))
    text = f"{run.config.name}, seed {run.seed}: failed, {reason}"
    meter.tell("train", run.id, text, fraction=1.0, finished=True)
    for section in plan.probes:
        meter.skip(probe_subject(run, section))


def _meter(plan: Plan, observe: Observe | None) -> Meter:
    meter = Meter(observe)
    frames = len(used_frames(plan))
    for run in plan.runs:
        trained, validated = (len(run.splits[name]) for name in ("train", "validation"))
        epochs = run.training.epochs if run.config.strategy.trains else 1
        meter.plan(run.id, epochs * (Meter.TRAINING_COST * trained + validated))
        for section in plan.probes:
            path = getattr(section, "path", None)
            images = frames if path is None else len(plan.paths[path].frames)
            meter.plan(probe_subject(run, section), float(images))
    return meter


def _write_study(plan: Plan, out: Path, made: Surroundings) -> None:
    """Write ``study.json``; the first start of an unchanged study is kept."""
    old = read_model(out / "study.json", StudyInfo, [])
    same = old is not None and old.fingerprint == plan.fingerprint
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    data, frames = plan.config.data, plan.dataset.frames
    info = StudyInfo(
        name=plan.config.name,
        config=configuration.dump(plan.config),
        fingerprint=plan.fingerprint,
        data={
            "digest": plan.dataset.digest,
            "reference": data.reference,
            "functional": data.functional,
            "dispersion": data.dispersion,
            "frames": len(frames),
            "config_types": dict(sorted(Counter(frame.config_type for frame in frames).items())),
        },
        runs=tuple(run.id for run in plan.runs),
        versions=made.versions,
        device=made.device,
        started=old.started if same and old is not None else now,
        warnings=plan.warnings,
    )
    write_json(out / "study.json", info)
    write_paths(plan.paths, out)


def _write_summary(records: StudyRecords, config: StudyConfig, out: Path) -> None:
    def rows(table: Sequence[tables.Row]) -> list[dict[str, Any]]:
        return [row.model_dump(mode="json") for row in table]

    write_json(
        out / "summary.json",
        {
            "schema_version": SCHEMA,
            "name": records.info.name,
            "fingerprint": records.info.fingerprint,
            "verdict": verdict.judge(records, config.verdict).model_dump(mode="json"),
            "accuracy": rows(tables.accuracy_table(records)),
            "paths": rows(tables.path_table(records)),
            "forgetting": rows(tables.forgetting_table(records)),
            "runs": {run.info.id: run.info.status for run in records.runs},
            "failures": list(records.failures()),
            "warnings": [*records.info.warnings, *records.warnings],
        },
    )
