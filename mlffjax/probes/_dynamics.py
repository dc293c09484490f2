"""What probes that run molecular dynamics share: where to start, how to run, what was recorded."""

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pydantic

from mlffjax import config, trees
from mlffjax.dynamics.channels import Samples
from mlffjax.dynamics.config import MdConfig
from mlffjax.dynamics.loop import STATUSES as STOPPED
from mlffjax.dynamics.preparation import Observer
from mlffjax.dynamics.run import FINISHED, LaneResult, MdResult, run
from mlffjax.dynamics.trajectory import read
from mlffjax.errors import ConfigError
from mlffjax.potential.base import Potential
from mlffjax.probes._example import frames
from mlffjax.probes._probe import Context
from mlffjax.structures.geometry import repeated
from mlffjax.structures.system import System

STATUSES = (FINISHED, *STOPPED[1:])
"""What the metric ``status`` counts: 0 is the first."""
PRODUCTION = "production"
PER_PS = 1000.0  # fs

NVT_BIAS = (
    "production is thermostatted: the bath is part of what is measured (Langevin friction makes "
    "velocities forget as exp(-t friction)); take nve, after equilibration in nvt"
)

Count = Annotated[int, pydantic.Field(ge=1)]


class Start(config.Config):
    """The structure to start from: a frame of the data set, or a supercell of it."""

    config_type: str = "*"
    """Kind of frame; a pattern."""
    frame: int = pydantic.Field(default=0, ge=0)
    """Which frame of that kind, counted from 0."""
    repeat: tuple[Count, Count, Count] = (1, 1, 1)
    """Cells along each lattice vector."""


def starting_system(start: Start, context: Context) -> System:
    """The structure a section asks for.

    Raises:
        ConfigError: the data set has no such frame; the message lists its kinds.
    """
    found = [f for f in context.frames if fnmatch.fnmatchcase(f.config_type, start.config_type)]
    if start.frame >= len(found):
        kinds = ", ".join(sorted({frame.config_type for frame in context.frames})) or "none"
        raise ConfigError(
            f"start: expected a frame of kind {start.config_type!r} with a number below "
            f"{len(found)}, got {start.frame}; kinds of the data set: {kinds}"
        )
    return repeated(found[start.frame].system, start.repeat)


def require_periodic(name: str, system: System, remedy: str) -> None:
    """Refuse a structure with open directions.

    Raises:
        ConfigError: the structure is not periodic in three directions.
    """
    if not system.pbc.all():
        raise ConfigError(
            f"probe {name}: expected a structure that is periodic in three directions, got "
            f"pbc = {system.pbc.tolist()}; {remedy}"
        )


def example_start() -> tuple[Start, Context]:
    """Eight atoms of argon on a cubic lattice."""
    return Start(config_type="kind1"), frames()


def performed(
    potential: Potential,
    system: System,
    settings: MdConfig,
    workspace: Path | None,
    observers: Mapping[str, Observer] | None = None,
) -> MdResult:
    """Run, or go on with what a directory holds."""
    return run(
        trees.cast(potential, np.float64),
        system,
        settings,
        directory=workspace,
        observers=observers,
    )


def recorded(lane: LaneResult, stage: str = PRODUCTION) -> dict[str, Samples]:
    """Samples of a stage by channel, wherever the run put them; empty if it never got there."""
    if stage in lane.samples:
        return dict(lane.samples[stage])
    if stage not in lane.files:
        return {}
    series = read(lane.files[stage]).series
    return {name: Samples(s.steps, s.times_fs, s[:]) for name, s in series.items()}


def worst(result: MdResult) -> LaneResult:
    """The first lane that stopped, or the first of all."""
    stopped = [lane for lane in result.lanes if not lane.ok]
    return stopped[0] if stopped else result.lanes[0]


def doubts(ensemble: str, metrics: Mapping[str, float]) -> list[str]:
    """What must be said of time correlations: a bath acted on them, trajectories are missing."""
    said = [] if ensemble == "nve" else [NVT_BIAS]
    if metrics["survived"] < 1:
        said.append(
            f"{1 - metrics['survived']:.0%} of the trajectories did not get to the end "
            f"({STATUSES[int(metrics['status'])]}); the others are used"
        )
    return said


def together(
    recordings: Sequence[Mapping[str, Samples]], channel: str
) -> tuple[np.ndarray, np.ndarray]:
    """Times and values [samples, lanes, ...] of complete replicas."""
    times = recordings[0][channel].times_fs
    return times, np.stack([each[channel].values for each in recordings], axis=1)


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean over replicas and its standard error; NaN where there is no telling."""
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    if not len(known):
        return float("nan"), float("nan")
    error = known.std(ddof=1) / np.sqrt(len(known)) if len(known) > 1 else float("nan")
    return float(known.mean()), float(error)
