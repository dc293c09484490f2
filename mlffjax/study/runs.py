"""Training runs of a study, together where one program serves them, and recording what comes.

Runs that differ in numbers only (seeds, rates, weights of the loss, choices of frames) are trained
by ``training.fleet``, the others one after the other by ``training.fit``. A run ends the same
either way, to rounding, so that its record does not depend on the company it had.
"""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import mlffjax
from mlffjax import config as configuration
from mlffjax import trees
from mlffjax.durable import sealed
from mlffjax.errors import StorageError, said
from mlffjax.graphs.batching import Shape
from mlffjax.potential import store
from mlffjax.potential.card import Card
from mlffjax.registry import resolve
from mlffjax.structures.elements import symbols
from mlffjax.structures.system import System
from mlffjax.study.foundations import origin, program_note
from mlffjax.study.plan import Plan, PlannedRun
from mlffjax.study.progress import Meter
from mlffjax.study.records import (
    SPLITS,
    RunInfo,
    number_or_none,
    read_model,
    write_json,
)
from mlffjax.training import devices
from mlffjax.training.batches import Sample
from mlffjax.training.batches import plan as plan_shapes
from mlffjax.training.checkpoints import Keeper
from mlffjax.training.fit import fit
from mlffjax.training.fleet import fit_many
from mlffjax.training.history import Fitted, Progress, Status
from mlffjax.training.ingredients import Ingredients
from mlffjax.training.members import Member, groups
from mlffjax.training.recipe import Recipe

PREPARED = "prepared"
"""Directory below the output for structures that training reads from disk; see ``storage``."""
UNFINISHED = "unfinished"
"""Directory of a run with the state of its training, until there is an outcome."""
MOST = 16
"""Runs that are built at a time; those of them that share a program are trained together."""

ShapesByNeed = dict[tuple[float, int, str], tuple[Shape, ...]]


class _Job(NamedTuple):
    """A run ready to be trained."""

    run: PlannedRun
    member: Member
    shapes: tuple[Shape, ...]
    directory: Path
    place: str  # for the reader


class _Site(NamedTuple):
    """Where the runs belong."""

    plan: Plan
    out: Path
    meter: Meter
    shapes: ShapesByNeed


def train(
    runs: Sequence[PlannedRun], plan: Plan, out: Path, meter: Meter, shapes: ShapesByNeed
) -> None:
    """Train runs unless they are finished, and record every outcome as soon as it is there.

    Args:
        runs: of the plan.
        plan: of the whole study.
        out: output directory of the study.
        meter: told about progress; what its observer raises ends the training.
        shapes: array shapes found so far, to be kept for more runs of the plan.
    """
    site = _Site(plan, out, meter, shapes)
    pending = []
    for run in runs:
        if is_finished(out / "runs" / run.id):
            meter.skip(run.id)
        else:
            pending.append(run)
    for first in range(0, len(pending), MOST):
        built = [_built(run, site) for run in pending[first : first + MOST]]
        jobs = [job for job in built if job is not None]
        for group in groups([job.member for job in jobs]):
            same: dict[tuple[Shape, ...], list[_Job]] = {}
            for number in group:
                same.setdefault(jobs[number].shapes, []).append(jobs[number])
            for company in same.values():
                _train_together(company, site)


def _built(run: PlannedRun, site: _Site) -> _Job | None:
    """The run with its recipe; None, and a record, if that fails."""
    plan, meter = site.plan, site.meter
    number = plan.runs.index(run) + 1
    place = f"run {number} of {len(plan.runs)}: {run.config.name}, seed {run.seed}"
    meter.tell("train", run.id, place, fraction=0.0)
    start = time.monotonic()
    try:
        return devices.unanimous(functools.partial(_job, run, site, place))
    except Exception as error:
        _fail(run, error, time.monotonic() - start, place, site)
        return None


def _train_together(jobs: Sequence[_Job], site: _Site) -> None:
    """Train runs of one program; should that fail, each alone."""
    if len(jobs) == 1:
        _train_alone(jobs[0], site)
        return
    clock = _Shares(len(jobs))
    left = list(jobs)

    def finished(number: int, fitted: Fitted) -> None:
        before = _spent(jobs[number]) / len(jobs)  # the company shared that time too
        _record(jobs[number], fitted, before + clock.leave(), site)
        left.remove(jobs[number])

    try:
        fit_many([job.member for job in jobs], shapes=jobs[0].shapes, finished=finished)
    except StorageError:
        raise  # nobody's fault, and no use in training the others
    except Exception as error:
        if error is site.meter.broken:
            raise
        note = (
            f"trained alone, for training it with others failed ({type(error).__name__}: {error})"
        )
        for job in left:
            recipe = job.member.recipe
            recipe = recipe._replace(notes=(*recipe.notes, note))
            _train_alone(job._replace(member=job.member._replace(recipe=recipe)), site)


class _Shares:
    """Divides the time of a group among those that are in it."""

    def __init__(self, count: int) -> None:
        self._count, self._share, self._last = count, 0.0, time.monotonic()

    def leave(self) -> float:
        """One of them leaves; its share of the time, s."""
        now = time.monotonic()
        self._share += (now - self._last) / self._count
        self._count, self._last = self._count - 1, now
        return self._share


def _train_alone(job: _Job, site: _Site) -> None:
    start, member = time.monotonic(), job.member
    try:
        fitted = fit(
            member.recipe,
            member.train,
            member.validation,
            member.config,
            seed=member.seed,
            observe=member.observe,
            shapes=job.shapes,
            checkpoint=member.checkpoint,
            directory=site.out / PREPARED,
        )
        _record(job, fitted, _spent(job) + time.monotonic() - start, site)
    except Exception as error:
        _fail(job.run, error, time.monotonic() - start, job.place, site)
        if jax.process_count() > 1 and not isinstance(error, devices.Unanimous):
            raise  # the other processes wait for this one in the middle of a step


def _spent(job: _Job) -> float:
    """Seconds of the training before it was interrupted."""
    return 0.0 if job.member.checkpoint is None else job.member.checkpoint.spent


def _record(job: _Job, fitted: Fitted, seconds: float, site: _Site) -> None:
    """Write the outcome of a run, ``run.json`` last."""
    run, directory = job.run, job.directory
    write_json(directory / "history.json", sealed(history_columns(fitted)))
    if fitted.status is not Status.DIVERGED:
        store.save(directory, fitted.potential, _card(run, site.plan, fitted))
    outcome = {
        "status": "diverged" if fitted.status is Status.DIVERGED else "ok",
        "message": fitted.explanation,
        "parameters": trees.size(fitted.potential.params.get("weights", {})),
        "epochs": fitted.history[-1].number,
        "steps": fitted.history[-1].number * -(-learned(job.member) // run.training.batch),
        "notes": (
            *run.notes,
            *_reference_note(run, site.plan),
            *program_note(fitted.potential),
            *fitted.notes,
            *_kept_notes(job),
        ),
        "seconds": seconds,
    }
    _close(run_info(run, outcome), run, job.place, site)
    if job.member.checkpoint is not None:
        job.member.checkpoint.clear()


def _kept_notes(job: _Job) -> tuple[str, ...]:
    return () if job.member.checkpoint is None else job.member.checkpoint.notes


def learned(member: Member) -> int:
    """Structures in an epoch, those that the strategy mixes in included."""
    return len(member.recipe.mix(_unlabelled([frame.system for frame in member.train])))


def _unlabelled(systems: Sequence[System]) -> list[Sample]:
    return [Sample(system, None, np.zeros_like(system.positions), None) for system in systems]


def _fail(run: PlannedRun, error: Exception, seconds: float, place: str, site: _Site) -> None:
    """Record an error as the outcome of a run; one of observer or disk is nobody's outcome."""
    if error is site.meter.broken or isinstance(error, StorageError):
        raise error
    told = isinstance(error, devices.Unanimous)  # with the type of the error behind it
    message = str(error) if told else said(error)
    outcome = {"status": "failed", "message": message, "seconds": seconds}
    _close(run_info(run, outcome), run, place, site)


def _close(info: RunInfo, run: PlannedRun, place: str, site: _Site) -> None:
    write_json(site.out / "runs" / run.id / "run.json", info)
    site.meter.tell("train", run.id, f"{place}: {info.status}", fraction=1.0, finished=True)


def is_finished(directory: Path) -> bool:
    """Whether a run has an outcome that stands: a potential, or a divergence; not an error."""
    info = read_model(directory / "run.json", RunInfo, [])
    if info is None or info.status == "failed":
        return False
    return info.status == "diverged" or store.is_whole(directory)


def _job(run: PlannedRun, site: _Site, place: str) -> _Job:
    """Build the recipe of a run, or raise what its strategy raises."""
    directory = site.out / "runs" / run.id
    member, shapes = member_of(run, site.plan, site.shapes)
    member = member._replace(
        observe=_follow(run, place, site.meter),
        # The directory is named after everything the run depends on but the array shapes, which
        # hang on the frames of all runs of the study.
        checkpoint=Keeper(directory / UNFINISHED, begin_again=True),
    )
    return _Job(run, member, shapes, directory, place)


def member_of(
    run: PlannedRun, plan: Plan, shapes: ShapesByNeed
) -> tuple[Member, tuple[Shape, ...]]:
    """What a run is trained with, and its array shapes, which are added to ``shapes``.

    Raises whatever the strategy raises.
    """
    frames = plan.dataset.frames
    train, validation = ([frames[i] for i in run.splits[name]] for name in ("train", "validation"))
    ingredients = Ingredients(
        dataset=plan.dataset._replace(frames=tuple(train)),
        training=run.training,
        architecture=plan.architecture if run.from_nothing else None,
        foundation=None if run.from_nothing else plan.foundation_of(run),
        generic=plan.generic if _uses_generic(run) else None,
        paths={name: plan.paths[name] for name in run.config.strategy.path_names()},
    )
    strategy = resolve("training.strategies", run.kind)
    recipe = strategy.build(run.config.strategy, ingredients, key=jax.random.key(run.seed))
    cutoff = recipe.realize(recipe.trainable).cutoff
    mixed = configuration.fingerprint(run.config.strategy) if _uses_generic(run) else ""
    need = cutoff, run.training.buckets, mixed
    if need not in shapes:
        shapes[need] = _shapes(plan, recipe, cutoff, run.training.buckets)
    return Member(recipe, train, validation, run.training, run.seed), shapes[need]


def _uses_generic(run: PlannedRun) -> bool:
    return run.config.strategy.generic is not None


def _follow(run: PlannedRun, place: str, meter: Meter) -> Callable[[Progress], None]:
    """Tells the meter how far a training is."""

    def follow(progress: Progress) -> None:
        fraction = (progress.epoch - 1 + progress.step / max(progress.steps, 1)) / progress.epochs
        error = 1e3 * progress.best.validation.forces_mae
        text = f"{place}: epoch {progress.epoch}, best validation force MAE {error:.1f} meV/Å"
        meter.tell("train", run.id, text, fraction=min(fraction, 1.0))

    return follow


def _reference_note(run: PlannedRun, plan: Plan) -> tuple[str, ...]:
    """Where the reference energies (E0) of the run come from; errors of energies depend on it."""
    mode = getattr(run.config.strategy, "reference_energies", None)
    if mode is None:
        return ()
    how = mode if isinstance(mode, str) else ", ".join(f"{s} {e:g} eV" for s, e in mode)
    text = f"reference energies (E0): {how}, for labels of {plan.config.data.reference!r}"
    foundation = plan.foundation_of(run)
    if not run.from_nothing and foundation is not None:
        text += f"; the foundation's own belong to {foundation[1].reference!r}"
    return (text,)


def _shapes(plan: Plan, recipe: Recipe, cutoff: float, buckets: int) -> tuple[Shape, ...]:
    """Array shapes for the frames of all runs and what the recipe adds to them.

    Not for one run's own frames, so that runs share compiled steps.
    """
    wanted = sorted({i for r in plan.runs for s in SPLITS[:2] for i in r.splits[s]})
    systems = [plan.dataset.frames[index].system for index in wanted]
    # Each once: how often a mix takes a structure is a matter of its draws.
    distinct = {id(system): system for system in systems}
    distinct |= {id(member.system): member.system for member in recipe.mix(_unlabelled(systems))}
    return plan_shapes(list(distinct.values()), cutoff, most=buckets)


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
            "generic": plan.generic.digest if plan.generic and _uses_generic(run) else None,
            "foundation": None if run.from_nothing else origin(plan.foundation_of(run)),
            "mlffjax": mlffjax.__version__,
        },
    )


def run_info(run: PlannedRun, outcome: Mapping[str, Any]) -> RunInfo:
    """The record of a run with an outcome."""
    return RunInfo(
        id=run.id,
        name=run.config.name,
        strategy=run.kind,
        seed=run.seed,
        family=run.config.family or run.config.name,
        starts_from=run.config.strategy.starts_from,
        fraction=run.config.data.fraction,
        learned_paths=run.learned_paths,
        fingerprint=run.fingerprint,
        frames={name: len(indices) for name, indices in run.splits.items()},
        frame_indices=run.splits,
        **outcome,
    )
