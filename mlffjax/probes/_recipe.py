"""The paper's recipe as a probe: descriptors of a potential's own trajectory, or of a given one."""

import fnmatch
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlffjax.dynamics.trajectory import Trajectory
from mlffjax.errors import ConfigError, InputError
from mlffjax.potential.base import Potential
from mlffjax.probes._dynamics import (
    STATUSES,
    performed,
    recorded,
    require_periodic,
    starting_system,
    worst,
)
from mlffjax.probes._probe import Context, Probe
from mlffjax.representation.descriptors import Recipe, describe, require_alike
from mlffjax.structures.system import Frame, System

UNITS = {"survived": "", "status": "", "samples": ""}


def build(config: Any, context: Context) -> Probe:
    """The probe of ``probes.representation`` in mode ``paper``.

    Raises:
        ConfigError: no such frame or trajectory, or a structure that is not periodic.
        InputError: the trajectory has no configurations that can be described.
    """
    if config.trajectory is not None:
        trajectory = context.trajectory(config.trajectory)
        systems = _sampled(trajectory, config.samples)
        require_alike(systems)
        given = "one trajectory is given for all"
        return Probe(
            name=config.name,
            measure=functools.partial(_described, config.recipe, systems),
            units=UNITS,
            compiled=False,
            reasons=dict.fromkeys(("survived", "status"), given),
        )
    if not config.md.intervals.positions:
        raise ConfigError(
            f"probe {config.name}: expected positions to be stored, got md.intervals.positions = 0"
        )
    system = starting_system(config.start, context)
    require_periodic(config.name, system, "name another frame under 'start'")
    return Probe(
        name=config.name,
        measure=functools.partial(_own, config, system),
        units=UNITS,
        compiled=False,
        keeps_files=True,
        inspect=_inspect,
    )


def _own(
    config: Any, system: System, potential: Potential, workspace: Path | None = None
) -> dict[str, Any]:
    """Descriptors of the trajectories that got to the end."""
    result = performed(potential, system, config.md, workspace)
    good = [recorded(lane) for lane in result.lanes if lane.ok]
    share = max(1, config.samples // max(1, len(good)))
    systems = []
    for samples in good:
        places = _evenly(len(samples["positions"].values), share)
        cells = samples.get("cell")
        for place in places:
            step = samples["positions"].steps[place]
            cell = system.cell
            if cells is not None:
                cell = cells.values[np.searchsorted(cells.steps, step, side="right") - 1]
            positions = samples["positions"].values[place]
            systems.append(system._replace(positions=np.asarray(positions, float), cell=cell))
    metrics = {
        "survived": np.asarray(len(good) / len(result.lanes)),
        "status": np.asarray(float(STATUSES.index(worst(result).status))),
        "samples": np.asarray(float(len(systems))),
    }
    return metrics if not systems else metrics | _described(config.recipe, systems, potential)


def _described(recipe: Recipe, systems: Sequence[System], potential: Potential) -> dict[str, Any]:
    blocks = describe(potential, systems, recipe)
    arrays = {
        f"recipe_{name}": block.astype(np.float32) for name, block in blocks._asdict().items()
    }
    # Total energies are large beside what tells configurations apart.
    arrays["recipe_energy"] = blocks.energy
    return arrays | {"samples": np.asarray(float(len(systems)))}


def _sampled(trajectory: Trajectory, count: int) -> list[System]:
    places = trajectory["positions"]
    if not len(places):
        raise InputError("expected a trajectory with positions, got one without a sample")
    chosen = _evenly(len(places), count)
    positions = np.asarray(places[:], float)[chosen]
    cells = np.broadcast_to(trajectory.cells(places.steps[chosen]), (len(chosen), 3, 3))
    return [
        trajectory.system._replace(positions=place, cell=np.array(cell))
        for place, cell in zip(positions, cells, strict=True)
    ]


def _inspect(metrics: Mapping[str, float]) -> list[str]:
    if metrics["survived"] == 1:
        return []
    return [
        f"{1 - metrics['survived']:.0%} of the trajectories did not get to the end "
        f"({STATUSES[int(metrics['status'])]}); their configurations are left out"
    ]


def _evenly(length: int, count: int) -> np.ndarray:
    """Places of at most ``count`` samples, evenly spaced, the last one included."""
    if length <= count:
        return np.arange(length)
    return np.round(np.linspace(0, length - 1, count)).astype(int)


def evenly(frames: Sequence[Frame], patterns: Sequence[str], most: int) -> list[Frame]:
    """Frames of some kinds, at most so many, in equal parts, evenly spaced along trajectories."""
    groups: dict[str, list[Frame]] = {}
    for frame in frames:
        if any(fnmatch.fnmatchcase(frame.config_type, pattern) for pattern in patterns):
            groups.setdefault(frame.config_type, []).append(frame)
    counts = shares([len(group) for group in groups.values()], most)
    return [
        ordered[place]
        for group, count in zip(groups.values(), counts, strict=True)
        for ordered in [sorted(group, key=lambda f: (f.trajectory, f.order))]
        for place in _evenly(len(ordered), count)
    ]


def shares(sizes: Sequence[int], most: int) -> list[int]:
    """How many to take of each group: equal parts; what small groups leave goes to larger ones."""
    taken, left = [0] * len(sizes), most
    order = sorted(range(len(sizes)), key=lambda group: sizes[group])
    for rank, group in enumerate(order):
        taken[group] = min(sizes[group], left // (len(order) - rank))
        left -= taken[group]
    return taken
