"""Training all runs of a study, one after the other, so that nothing finished is ever lost."""

import datetime
import importlib.metadata
import platform
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import mlffjax
from mlffjax import config as configuration
from mlffjax import trees
from mlffjax.errors import ConfigError
from mlffjax.graphs.batching import Shape
from mlffjax.potential import store
from mlffjax.potential.card import Card, symbols
from mlffjax.registry import resolve
from mlffjax.study import tables, verdict
from mlffjax.study.config import StudyConfig
from mlffjax.study.evaluate import Surroundings, evaluate, probe_subject
from mlffjax.study.lock import locked
from mlffjax.study.plan import Plan, PlannedRun, make_plan, used_frames
from mlffjax.study.progress import Meter, Observe
from mlffjax.study.records import (
    SCHEMA,
    SPLITS,
    RunInfo,
    StudyInfo,
    StudyRecords,
    load_study,
    number_or_none,
    read_model,
    write_json,
)
from mlffjax.training.batches import plan as plan_shapes
from mlffjax.training.fit import fit
from mlffjax.training.history import Fitted, Progress, Status
from mlffjax.training.ingredients import Ingredients

ShapesByNeed = dict[tuple[float, int], tuple[Shape, ...]]


def execute(
    config: StudyConfig, base: Path, out: Path, *, observe: Observe | None = None
) -> StudyRecords:
    """Do what is not yet done of a study.

    Args:
        config: the study.
        base: directory that its relative paths start from.
        out: output directory; see ``records``.
        observe: told about progress; an exception it raises stops the study, which can be resumed.

    Returns:
        All records; ``failures()`` lists runs and probes that gave nothing.

    Raises:
        ConfigError: the configuration cannot be used, or jax is not set to float64.
        InputError: data cannot be used, or another process works on ``out``.
        CompatibilityError: data and foundation do not belong together.
    """
    if jax.dtypes.canonicalize_dtype(np.float64) != np.float64:
        raise ConfigError(
            "probes measure small energy differences and need float64; call "
            "jax.config.update('jax_enable_x64', True) before anything else"
        )
    plan = make_plan(config, base)
    with locked(out):
        surroundings = Surroundings(_versions(), _device())
        _write_study(plan, out, surroundings)
        meter = _meter(plan, observe)
        shapes: ShapesByNeed = {}
        for run in plan.runs:
            _train(run, plan, out, meter, shapes)
        evaluate(plan, out, meter, surroundings)
        records = load_study(out)
        _write_summary(records, config, out)
        meter.tell("done", "", f"study {config.name} is complete", fraction=1.0, finished=True)
        return load_study(out)


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


def _train(run: PlannedRun, plan: Plan, out: Path, meter: Meter, shapes: ShapesByNeed) -> None:
    """Train one run unless it is finished, and record the outcome whatever it is."""
    directory = out / "runs" / run.id
    if is_finished(directory):
        meter.skip(run.id)
        return
    place = (
        f"run {plan.runs.index(run) + 1} of {len(plan.runs)}: {run.config.name}, seed {run.seed}"
    )

    def follow(progress: Progress) -> None:
        fraction = (progress.epoch - 1 + progress.step / max(progress.steps, 1)) / progress.epochs
        error = 1e3 * progress.best.validation.forces_mae
        text = f"{place}: epoch {progress.epoch}, best validation force MAE {error:.1f} meV/Å"
        meter.tell("train", run.id, text, fraction=min(fraction, 1.0))

    meter.tell("train", run.id, place, fraction=0.0)
    start = time.monotonic()
    try:
        info = _trained(run, plan, directory, follow, shapes)
    except Exception as error:
        if error is meter.broken:
            raise
        info = _info(run, status="failed", message=f"{type(error).__name__}: {error}")
    info = info.model_copy(update={"seconds": time.monotonic() - start})
    write_json(directory / "run.json", info)
    meter.tell("train", run.id, f"{place}: {info.status}", fraction=1.0, finished=True)


def is_finished(directory: Path) -> bool:
    """Whether a run has an outcome that stands: a potential, or a divergence; not an error."""
    info = read_model(directory / "run.json", RunInfo, [])
    if info is None or info.status == "failed":
        return False
    return info.status == "diverged" or (directory / store.CARD).is_file()


def _trained(
    run: PlannedRun,
    plan: Plan,
    directory: Path,
    follow: Callable[[Progress], None],
    shapes: ShapesByNeed,
) -> RunInfo:
    frames = plan.dataset.frames
    train, validation = ([frames[i] for i in run.splits[name]] for name in ("train", "validation"))
    ingredients = Ingredients(
        dataset=plan.dataset._replace(frames=tuple(train)),
        training=run.training,
        architecture=plan.architecture if run.from_nothing else None,
        foundation=None if run.from_nothing else plan.foundation,
    )
    strategy = resolve("training.strategies", run.kind)
    recipe = strategy.build(run.config.strategy, ingredients, key=jax.random.key(run.seed))
    need = recipe.realize(recipe.trainable).cutoff, run.training.buckets
    if need not in shapes:
        shapes[need] = _shapes(plan, *need)
    fitted = fit(
        recipe, train, validation, run.training, seed=run.seed, observe=follow, shapes=shapes[need]
    )
    write_json(directory / "history.json", history_columns(fitted))
    if fitted.status is not Status.DIVERGED:
        store.save(directory, fitted.potential, _card(run, plan, fitted))
    return _info(
        run,
        status="diverged" if fitted.status is Status.DIVERGED else "ok",
        message=fitted.explanation,
        parameters=trees.size(fitted.potential.params.get("weights", {})),
        epochs=fitted.history[-1].number,
        steps=fitted.history[-1].number * -(-len(train) // run.training.batch),
        notes=(*run.notes, *_reference_note(run, plan), *fitted.notes),
    )


def _reference_note(run: PlannedRun, plan: Plan) -> tuple[str, ...]:
    """Where the reference energies (E0) of the run come from; errors of energies depend on it."""
    mode = getattr(run.config.strategy, "reference_energies", None)
    if mode is None:
        return ()
    text = f"reference energies (E0): {mode}, for labels of {plan.config.data.reference!r}"
    if not run.from_nothing and plan.foundation is not None:
        text += f"; the foundation's own belong to {plan.foundation[1].reference!r}"
    return (text,)


def _shapes(plan: Plan, cutoff: float, buckets: int) -> tuple[Shape, ...]:
    """Array shapes for the frames of all runs, so that runs share compiled steps."""
    wanted = sorted({i for r in plan.runs for s in SPLITS[:2] for i in r.splits[s]})
    systems = [plan.dataset.frames[index].system for index in wanted]
    return plan_shapes(systems, cutoff, most=buckets)


def history_columns(fitted: Fitted) -> dict[str, list[float | None]]:
    """The history as columns of equal length; entry 0 is the potential before training."""
    columns: dict[str, list[float | None]] = {}
    for epoch in fitted.history:
        row = {
            "epoch": epoch.number,
            "train_loss": epoch.train_loss,
            "validation_energy_mae": epoch.validation.energy_mae,
            "validation_energy_rmse": epoch.validation.energy_rmse,
            "validation_force_mae": epoch.validation.forces_mae,
            "validation_force_rmse": epoch.validation.forces_rmse,
            "learning_rate": epoch.learning_rate,
            "seconds": epoch.seconds,
        }
        for name, value in row.items():
            columns.setdefault(name, []).append(None if value is None else number_or_none(value))
    return columns


def _card(run: PlannedRun, plan: Plan, fitted: Fitted) -> Card:
    data, potential = plan.config.data, fitted.potential
    return Card(
        checksum="",  # known when the weights are written
        name=run.id,
        elements=symbols(potential.elements),
        model=potential.model.settings,
        reference=data.reference,
        functional=data.functional,
        dispersion=data.dispersion,
        description=f"{run.config.name}, seed {run.seed}, of study {plan.config.name}",
        provenance={
            "strategy": configuration.dump(run.config.strategy),
            "training": configuration.dump(run.training),
            "seed": run.seed,
            "data": plan.dataset.digest,
            "frames": {name: len(indices) for name, indices in run.splits.items()},
            "foundation": None if run.from_nothing or not plan.foundation else _origin(plan),
            "mlffjax": mlffjax.__version__,
        },
    )


def _origin(plan: Plan) -> dict[str, str]:
    assert plan.foundation is not None
    card = plan.foundation[1]
    return {"name": card.name, "reference": card.reference, "checksum": card.checksum}


def _info(run: PlannedRun, **outcome: Any) -> RunInfo:
    return RunInfo(
        id=run.id,
        name=run.config.name,
        strategy=run.kind,
        seed=run.seed,
        fingerprint=run.fingerprint,
        frames={name: len(indices) for name, indices in run.splits.items()},
        frame_indices=run.splits,
        **outcome,
    )


def _write_study(plan: Plan, out: Path, surroundings: Surroundings) -> None:
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
        versions=surroundings.versions,
        device=surroundings.device,
        started=old.started if same and old is not None else now,
        warnings=plan.warnings,
    )
    write_json(out / "study.json", info)


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
            "runs": {run.info.id: run.info.status for run in records.runs},
            "failures": list(records.failures()),
            "warnings": [*records.info.warnings, *records.warnings],
        },
    )


def _versions() -> dict[str, str]:
    packages = ("jax", "jaxlib", "numpy", "optax", "ase")
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"mlffjax": mlffjax.__version__, "python": platform.python_version(), **found}


def _device() -> str:
    device = jax.devices()[0]
    return f"{device.platform} ({device.device_kind}), {platform.machine()}"
