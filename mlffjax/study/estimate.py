"""How long a study may take and how much memory: from a few steps that are really done.

Nothing is estimated that was not measured on this machine a moment before. A *pace* is the time of
one optimizer step, or of one structure evaluated, after compilation; the spread over repetitions is
its uncertainty. Times follow by counting:

    training   epochs x (steps + batches of validation frames / 3) x pace of a step
    probes     structures evaluated x atoms x pace of an atom

both at most: trainings stop early, bands converge before their last step. A batch of validation
frames counts as a third of a step, for it needs no derivative by weights. Runs count one after
another; those that share a program gain up to a fifth on CPUs. Probes that cannot be counted are
named. Not included: compilation of probes, start, report.
"""

import itertools
import resource
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from mlffjax import config as configuration
from mlffjax import trees
from mlffjax.dynamics.config import MdConfig
from mlffjax.dynamics.run import run as run_dynamics
from mlffjax.graphs.batching import Shape
from mlffjax.pathways.profiles import band, profile
from mlffjax.potential.base import Potential
from mlffjax.probes._dynamics import starting_system
from mlffjax.probes._probe import Context
from mlffjax.structures.system import System
from mlffjax.study.plan import Plan, PlannedRun, used_frames
from mlffjax.study.runs import ShapesByNeed, learned, member_of
from mlffjax.training.config import ScheduleConfig
from mlffjax.training.fit import fit
from mlffjax.training.history import Progress
from mlffjax.training.members import Member

BATCHES = 4  # of a measured epoch
EPOCHS = 4  # the first one compiles
REPEATS = 5  # of evaluations
STRUCTURES = 8  # that are evaluated at a time
VALIDATION = 1 / 3  # cost of a batch of validation frames, in steps
CHUNKS, CHUNK = 5, 20  # of a measured trajectory; steps

_profile = jax.jit(profile)


class Pace(NamedTuple):
    """Seconds of one unit of work, repeated, after the compilation."""

    seconds: tuple[float, ...]
    compilation: float

    @property
    def typical(self) -> float:
        """Median, s."""
        return float(np.median(self.seconds))


class Span(NamedTuple):
    """An amount with the least and the most that repetitions gave."""

    low: float
    likely: float
    high: float

    def __add__(self, other: "Span") -> "Span":  # type: ignore[override]
        """Of work that follows other work."""
        return Span(*(a + b for a, b in zip(self, other, strict=True)))


NOTHING = Span(0.0, 0.0, 0.0)


class Estimate(NamedTuple):
    """What a study may take.

    Attributes:
        paces: of a step, by kind of run.
        training: s, of all runs, compilation included.
        probes: s, of those that can be counted.
        counted: names of these probes.
        uncounted: names of the others.
        memory: bytes, the most that this process (or its accelerator) has used so far.
    """

    paces: dict[str, Pace]
    training: Span
    probes: Span
    counted: tuple[str, ...]
    uncounted: tuple[str, ...]
    memory: float


def of_study(plan: Plan) -> Estimate:
    """Train a few steps of each kind of run, evaluate a few structures, count the rest.

    Raises whatever a strategy raises.
    """
    shapes: ShapesByNeed = {}
    paces: dict[str, Pace] = {}
    training, potential = NOTHING, None
    for run in plan.runs:
        if not run.config.strategy.trains:
            continue
        kind = _kind(run)
        member, found = member_of(run, plan, shapes)
        if kind not in paces:
            paces[kind] = _pace_of_steps(member, found)
            training += Span(*[paces[kind].compilation] * 3)
            potential = member.recipe.realize(member.recipe.trainable)
        steps = -(-learned(member) // run.training.batch)
        checks = -(-len(member.validation) // run.training.batch)
        training += times(paces[kind], run.training.epochs * (steps + VALIDATION * checks))
    potential = potential or (plan.foundation[0] if plan.foundation else None)
    counts = _counts(plan) if potential is not None else {}
    probes = NOTHING
    if potential is not None:
        systems = [plan.dataset.frames[index].system for index in used_frames(plan)]
        pace = pace_of_atoms(potential, systems)
        work = len(plan.runs) * sum(count for count in counts.values() if count is not None)
        probes = times(pace, work)
    return Estimate(
        paces=paces,
        training=training,
        probes=probes,
        counted=tuple(name for name, count in counts.items() if count is not None),
        uncounted=tuple(p.name for p in plan.probes if counts.get(p.name) is None),
        memory=memory_peak(),
    )


def pace_of_atoms(potential: Potential, systems: Sequence[System]) -> Pace:
    """Energy and forces in double precision, s for one atom, of some of the structures."""
    chosen = np.unique(np.linspace(0, len(systems) - 1, STRUCTURES).round().astype(int))
    some = [systems[index] for index in chosen]
    images = jax.device_put(band(some, potential.elements, potential.cutoff))
    potential = trees.cast(potential, np.float64)
    atoms = sum(len(system.numbers) for system in some)
    seconds = []
    for _ in range(REPEATS + 1):
        start = time.monotonic()
        jax.block_until_ready(_profile(potential, images))
        seconds.append((time.monotonic() - start) / atoms)
    return Pace(tuple(seconds[1:]), seconds[0] * atoms)


def pace_of_dynamics(potential: Potential, system: System, config: MdConfig) -> Pace:
    """Molecular dynamics as it is asked for, s for one step of all replicas; nothing is written."""
    steps = CHUNKS * CHUNK
    every = {name: min(value, steps) for name, value in config.intervals.model_dump().items()}
    short = config.model_copy(
        update={
            "steps": steps,
            "equilibration": (),
            "checkpoint_every": CHUNK,
            "intervals": type(config.intervals)(**every),
        }
    )
    marks: list[tuple[float, int]] = [(time.monotonic(), 0)]

    def observe(stage: str, step: int, total: int) -> None:
        del stage, total
        if step > marks[-1][1]:
            marks.append((time.monotonic(), step))

    run_dynamics(potential, system, short, progress=observe)
    paces = [(b[0] - a[0]) / (b[1] - a[1]) for a, b in itertools.pairwise(marks[1:])]
    first = marks[1][0] - marks[0][0] if len(marks) > 1 else 0.0
    return Pace(tuple(paces) or (first / steps,), first)


def memory_peak() -> float:
    """Most bytes that the accelerator, or else this process, has used so far."""
    statistics = jax.local_devices()[0].memory_stats()  # None for CPUs
    if statistics and "peak_bytes_in_use" in statistics:
        return float(statistics["peak_bytes_in_use"])
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit


def _kind(run: PlannedRun) -> str:
    """Runs of one kind take equally long for a step."""
    training = run.training
    return f"{run.kind}, batches of {training.batch}, {training.precision}"


def _pace_of_steps(member: Member, shapes: Sequence[Shape]) -> Pace:
    """A few epochs on a few frames, s for one step."""
    config, batch = member.config, member.config.batch
    short = config.model_copy(
        update={
            "epochs": EPOCHS,
            "patience": EPOCHS,
            "max_seconds": None,
            "schedule": ScheduleConfig(),
            "storage": "memory",
        }
    )
    ends: list[tuple[float, int]] = []

    def observe(progress: Progress) -> None:
        if progress.step == progress.steps:
            ends.append((progress.seconds, progress.steps))

    with tempfile.TemporaryDirectory() as folder:
        fit(
            member.recipe,
            _spaced(member.train, BATCHES * batch),
            _spaced(member.validation, batch),
            short,
            seed=member.seed,
            observe=observe,
            shapes=shapes,
            directory=Path(folder),
        )
    seconds = [
        (after[0] - before[0]) / (after[1] + VALIDATION)
        for before, after in itertools.pairwise(ends)
    ]
    first = ends[0][0]
    return Pace(tuple(seconds) or (first,), max(first - ends[0][1] * min(seconds or [0.0]), 0.0))


def _spaced(frames: Sequence[Any], count: int) -> list[Any]:
    """So many of them, evenly."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int))
    return [frames[index] for index in chosen]


def times(pace: Pace, count: float) -> Span:
    """Seconds of so many units of work."""
    return Span(count * min(pace.seconds), count * pace.typical, count * max(pace.seconds))


def _counts(plan: Plan) -> Mapping[str, float | None]:
    """Atoms to evaluate by each probe for one run, at most; None where that is not known."""
    frames = [plan.dataset.frames[index].system for index in used_frames(plan)]
    sizes = {name: len(path.frames[0].system.numbers) for name, path in plan.paths.items()}
    counts: dict[str, float | None] = {}
    for probe in plan.probes:
        kind = configuration.kind_of(probe)
        count: float | None = None
        path = getattr(probe, "path", None) or ""
        if kind == "accuracy":
            count = float(sum(len(system.numbers) for system in frames))
        elif kind in ("fixed_path", "sliding"):
            count = float(len(plan.paths[path].frames) * sizes[path])
        elif kind == "relaxed_neb" and probe.lattice == "none":
            images = probe.images or len(plan.paths[path].frames)
            tries = 2 if probe.relaxation.retry else 1
            count = float(tries * probe.relaxation.max_steps * images * sizes[path])
        elif kind in ("stability", "transport"):
            count = _dynamics(probe, plan)
        counts[probe.name] = count
    return counts


def _dynamics(probe: Any, plan: Plan) -> float:
    context = Context(elements=(), cutoff=0.0, frames=plan.dataset.frames)
    atoms = len(starting_system(probe.start, context).numbers)
    steps = sum(stage.steps for _, stage in probe.md.stages)
    return float(atoms * probe.md.replicas * steps)
