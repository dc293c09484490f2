"""Molecular dynamics from start to end: stages, trajectories, checkpoints, results.

Example
    >>> settings = MdConfig(                                                    # doctest: +SKIP
    ...     temperature_k=300,
    ...     equilibration=[{"ensemble": {"kind": "nvt_langevin"}, "steps": 5000}],
    ...     ensemble={"kind": "nve"},
    ...     steps=50_000,
    ... )
    >>> result = run(potential, system, settings, directory="md")               # doctest: +SKIP
    >>> result.lanes[0].samples["production"]["temperature"].values.mean()      # doctest: +SKIP
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlffjax import units
from mlffjax.dynamics import checkpoint, recording
from mlffjax.dynamics.channels import Channel, Samples
from mlffjax.dynamics.checkpoint import Progress
from mlffjax.dynamics.config import MdConfig
from mlffjax.dynamics.loop import RUNNING, STATUSES, Function
from mlffjax.dynamics.preparation import Observer, Setup, prepare
from mlffjax.dynamics.recording import Memory, Sink
from mlffjax.dynamics.runner import Runner
from mlffjax.errors import InputError
from mlffjax.health import require_sound_jax
from mlffjax.potential.base import Potential
from mlffjax.structures.system import System

FINISHED = "finished"

Tell = Callable[[str, int, int], None]
"""Is told a stage, the step reached and the steps of the stage."""


@dataclass(frozen=True)
class LaneResult:
    """How one trajectory went."""

    status: str
    """``finished``, ``not finite``, ``too close``, ``too hot`` or ``energy lost``."""
    reason: str
    """A sentence if it did not finish, otherwise empty."""
    stage: str
    step: int
    """Of the stage: the last good one."""
    atom: int | None
    """That made it stop, if one did."""
    model: int
    replica: int
    system: System
    """Last good structure; positions are not wrapped."""
    velocities: np.ndarray
    """Å/fs; [atoms, 3]."""
    samples: dict[str, dict[str, Samples]] = field(default_factory=dict)
    """By stage and channel, of a run without a directory."""
    files: dict[str, Path] = field(default_factory=dict)
    """Trajectory by stage, of a run with a directory."""

    @property
    def ok(self) -> bool:
        """Whether it finished."""
        return self.status == FINISHED


@dataclass(frozen=True)
class MdResult:
    """What a run gives back; lane = model * replicas + replica."""

    lanes: tuple[LaneResult, ...]
    stages: tuple[str, ...]
    rebuilds: int
    """Lists of neighbours that were made anew."""
    growths: int
    """Times the arrays were enlarged, each with one compilation."""
    steps_per_second: float
    """Of this call, in production, compilation included; 0 if there was nothing to do."""

    @property
    def ok(self) -> bool:
        """Whether all lanes finished."""
        return all(lane.ok for lane in self.lanes)


def run(
    potential: Potential,
    system: System | Sequence[System],
    config: MdConfig,
    *,
    directory: str | Path | None = None,
    observers: Mapping[str, Observer | tuple[int, Function]] | None = None,
    velocities: np.ndarray | None = None,
    masses: np.ndarray | None = None,
    progress: Tell | None = None,
) -> MdResult:
    """Run molecular dynamics.

    A trajectory that cannot go on is a result (``LaneResult.status``), not an error. Called again
    with the same directory, a run continues where it was, bit by bit as if it had not been
    interrupted; ``steps`` may then be larger.

    Args:
        potential: one potential, or several stacked by ``trees.stack``: each is run with all
            replicas.
        system: structure to start from, or one for each replica.
        config: settings.
        directory: for one H5MD file per stage and lane, and the checkpoint. None keeps samples in
            memory and cannot be continued.
        observers: more channels of production, by name; see ``Observer``.
        velocities: to start from, Å/fs; [atoms, 3] or [replicas, atoms, 3]. The motion of the
            centre of mass is taken out. None draws them.
        masses: u; None takes standard atomic weights.
        progress: told how far the run is, about once per checkpoint.

    Raises:
        ConfigError: settings contradict each other, or JAX's 64-bit numbers are off.
        InputError: structure, velocities or masses cannot be used; atoms are on top of each other.
        CompatibilityError: an element is unknown to the potential, or the directory holds a run of
            other settings, potential or atoms (both values are named).
    """
    require_sound_jax()
    setup = prepare(
        potential, system, config, observers=observers, velocities=velocities, masses=masses
    )
    return _Run(setup, None if directory is None else Path(directory), progress).go()


class _Run:
    """One call of ``run``."""

    def __init__(self, setup: Setup, directory: Path | None, progress: Tell | None) -> None:
        self._setup, self._directory, self._tell = setup, directory, progress
        self._runner = Runner(setup)
        self._stages = setup.config.stages
        self._stage = -1
        self._stopped = [-1] * setup.lanes
        self._starts: list[System] = list(setup.systems)
        self._sinks: list[Sink | None] = []
        self._samples: list[dict[str, dict[str, Samples]]] = [{} for _ in setup.systems]
        self._files: list[dict[str, Path]] = [{} for _ in setup.systems]

    def go(self) -> MdResult:
        """All stages that are left."""
        runner, began = self._runner, 0.0
        resumed = self._resume()
        if not resumed:
            self._require_no_files()
            runner.start()
            self._note_stopped()
            self._save()
        first = runner.step if self._stage == len(self._stages) - 1 else 0
        for index in range(max(self._stage, 0), len(self._stages)):
            if index > self._stage:
                self._enter(index)
            began = time.perf_counter()
            self._finish_stage(index)
        elapsed = time.perf_counter() - began
        done = runner.step - first
        return MdResult(
            lanes=tuple(self._result(lane) for lane in range(self._setup.lanes)),
            stages=tuple(name for name, _ in self._stages),
            rebuilds=runner.rebuilds,
            growths=runner.growths,
            steps_per_second=done / elapsed if done else 0.0,
        )

    def _enter(self, index: int) -> None:
        """Begin a stage: sinks, samples of step 0, checkpoint."""
        self._stage = index
        runner = self._runner
        channels = self._channels(index)
        self._starts = [runner.system(lane) for lane in range(self._setup.lanes)]
        runner.begin(index, channels)
        self._open(index, channels, after_step=None)
        runner.advance(0, self._take)
        self._save()

    def _finish_stage(self, index: int) -> None:
        name, stage = self._stages[index]
        runner, every = self._runner, self._setup.config.checkpoint_every
        while runner.step < stage.steps and runner.running:
            runner.advance(min(stage.steps, (runner.step // every + 1) * every), self._take)
            self._note_stopped()
            self._save()
            if self._tell is not None:
                self._tell(name, runner.step, stage.steps)
        self._collect(name)

    def _take(self, channel: Channel, first: int, values: np.ndarray) -> None:
        """Pass samples of all lanes to their sinks; after a lane stopped it has none."""
        steps = channel.every * np.arange(first, first + len(values), dtype=np.int64)
        scale = units.FS if channel.name == "velocities" else 1.0
        for lane, sink in enumerate(self._sinks):
            if sink is None:
                continue
            kept = steps <= int(self._runner.state(lane).step)
            times = steps[kept] * self._setup.config.timestep_fs
            sink.append(channel.name, steps[kept], times, scale * values[kept, lane])

    def _note_stopped(self) -> None:
        codes = np.atleast_1d(np.asarray(self._runner.lane.code))
        for lane, code in enumerate(codes):
            if code != RUNNING and self._stopped[lane] < 0:
                self._stopped[lane] = max(self._stage, 0)

    def _channels(self, index: int) -> list[Channel]:
        last = index == len(self._stages) - 1
        return recording.channels(self._setup, self._runner.shapes(index), last=last)

    def _open(self, index: int, channels: list[Channel], *, after_step: int | None) -> None:
        """Sinks for all lanes that are in a stage."""
        name, stage = self._stages[index]
        self._sinks = [None] * self._setup.lanes
        for lane, stopped in enumerate(self._stopped):
            if not channels or stopped >= 0:
                continue
            if self._directory is None:
                self._sinks[lane] = Memory(channels)
                continue
            file = recording.path(self._directory, name, lane, self._setup.lanes)
            if after_step is None:
                # The checkpoint does not know of it, so it was begun by a program killed since.
                file.unlink(missing_ok=True)
            about = recording.metadata(self._setup, name, stage, lane)
            self._files[lane][name] = file
            self._sinks[lane] = recording.writer(
                file, self._starts[lane], channels, about, self._setup.masses, after_step
            )

    def _require_no_files(self) -> None:
        """Refuse a directory in which somebody else's trajectories would be overwritten."""
        for name, lane, file in self._places():
            if file.exists():
                raise InputError(
                    f"{file}: expected no trajectory of stage {name}, lane {lane} without a "
                    f"{checkpoint.FILE} beside it, got one; move it away or use another directory"
                )

    def _places(self) -> Iterator[tuple[str, int, Path]]:
        """Where trajectories of all stages and lanes would be."""
        if self._directory is None:
            return
        for name, _ in self._stages:
            for lane in range(self._setup.lanes):
                file = recording.path(self._directory, name, lane, self._setup.lanes)
                yield name, lane, file

    def _collect(self, name: str) -> None:
        for lane, sink in enumerate(self._sinks):
            if isinstance(sink, Memory):
                self._samples[lane][name] = sink.series()

    def _save(self) -> None:
        """Samples first, then the checkpoint: what is after its step will be dropped."""
        for sink in self._sinks:
            if sink is not None:
                sink.flush()
        if self._directory is None:
            return
        runner = self._runner
        progress = Progress(
            stage=self._stage,
            step=runner.step,
            slots=runner.slots,
            wide=runner.wide,
            rebuilds=runner.rebuilds,
            growths=runner.growths,
            stopped=self._stopped,
        )
        path = self._directory / checkpoint.FILE
        checkpoint.save(path, self._tree(), progress, checkpoint.identity(self._setup))

    def _tree(self) -> Any:
        starts = [(np.asarray(s.positions), np.asarray(s.cell)) for s in self._starts]
        return self._runner.lane, self._runner.near, starts

    def _resume(self) -> bool:
        """Take over the state of an earlier call, if there is one."""
        if self._directory is None or not (self._directory / checkpoint.FILE).is_file():
            return False
        path = self._directory / checkpoint.FILE
        leaves, known = checkpoint.load(path, checkpoint.identity(self._setup))
        runner, self._stage, self._stopped = self._runner, known.stage, list(known.stopped)
        runner.slots, runner.wide = known.slots, known.wide
        runner.rebuilds, runner.growths = known.rebuilds, known.growths
        lane, near = runner.template(known.stage)
        starts = [(np.asarray(s.positions), np.asarray(s.cell)) for s in self._starts]
        lane, near, starts = checkpoint.filled((lane, near, starts), leaves, path)
        runner.put(lane, near)
        self._starts = [
            system._replace(positions=positions, cell=cell)
            for system, (positions, cell) in zip(self._setup.systems, starts, strict=True)
        ]
        begun = [name for name, _ in self._stages[: known.stage + 1]]
        for name, each, file in self._places():
            if name in begun and file.is_file():
                self._files[each][name] = file
        if known.stage >= 0:
            channels = self._channels(known.stage)
            runner.enter(known.stage, channels, known.step)
            self._open(known.stage, channels, after_step=known.step)
        return True

    def _result(self, lane: int) -> LaneResult:
        runner, state = self._runner, self._runner.state(lane)
        code = int(np.atleast_1d(np.asarray(runner.lane.code))[lane])
        atom = int(np.atleast_1d(np.asarray(runner.lane.atom))[lane])
        stage = self._stopped[lane] if code != RUNNING else len(self._stages) - 1
        name, step = self._stages[stage][0], int(state.step)
        culprit = atom if code != RUNNING and atom >= 0 else None
        return LaneResult(
            status=STATUSES[code] if code != RUNNING else FINISHED,
            reason=_reason(code, name, step, culprit, self._setup),
            stage=name,
            step=step,
            atom=culprit,
            model=lane // self._setup.config.replicas,
            replica=self._setup.replica(lane),
            system=runner.system(lane),
            velocities=np.array(state.velocities) * units.FS,
            samples=self._samples[lane],
            files=self._files[lane],
        )


def _reason(code: int, stage: str, step: int, atom: int | None, setup: Setup) -> str:
    """Why a lane stopped, for people."""
    if code == RUNNING:
        return ""
    limits = setup.config.limits
    what = {
        "not finite": "energy, forces or velocities became NaN or infinite",
        "too close": f"two atoms came closer than {limits.contact:g} of their covalent radii's sum",
        "too hot": "the temperature ran away",
        "energy lost": f"the conserved energy changed by over {limits.energy_per_atom:g} eV/atom",
    }[STATUSES[code]]
    where = "" if atom is None else f" (atom {atom})"
    return f"{what}{where} in the step after step {step} of {stage}"
