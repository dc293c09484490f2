"""Where samples of a run go: to memory, or to a trajectory file per stage and lane."""

from collections.abc import Sequence
from math import gcd
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mlffjax.dynamics.channels import Channel, Samples
from mlffjax.dynamics.config import Stage
from mlffjax.dynamics.preparation import Setup
from mlffjax.dynamics.trajectory import Writer
from mlffjax.structures.system import System

UNITS = {
    "potential_energy": "eV",
    "kinetic_energy": "eV",
    "temperature": "K",
    "pressure": "eV/Å^3",
    "conserved": "eV",
    "cell": "Å",
    "positions": "Å",
    "velocities": "Å/fs",
}
THERMO: tuple[str, ...] = (
    "potential_energy",
    "kinetic_energy",
    "temperature",
    "pressure",
    "conserved",
)


class Sink(Protocol):
    """What takes the samples of one stage of one lane."""

    def append(
        self, name: str, steps: np.ndarray, times_fs: np.ndarray, values: np.ndarray
    ) -> None:
        """Hand over samples of a channel."""
        ...

    def flush(self) -> None:
        """Make everything handed over durable."""
        ...


class Memory:
    """Keeps samples; ``series`` gives those of all channels."""

    def __init__(self, channels: Sequence[Channel]) -> None:
        self._parts: dict[str, list[Samples]] = {
            each.name: [Samples(np.zeros(0, np.int64), np.zeros(0), np.zeros((0, *each.shape)))]
            for each in channels
        }

    def append(
        self, name: str, steps: np.ndarray, times_fs: np.ndarray, values: np.ndarray
    ) -> None:
        """Keep a copy of samples."""
        self._parts[name].append(Samples(steps.copy(), times_fs.copy(), values.copy()))

    def flush(self) -> None:
        """Memory is as durable as it gets."""

    def series(self) -> dict[str, Samples]:
        """All samples of each channel."""
        joined = {
            name: Samples(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
            for name, parts in self._parts.items()
        }
        self._parts = {name: [samples] for name, samples in joined.items()}
        return joined


def channels(setup: Setup, shapes: dict[str, tuple[int, ...]], *, last: bool) -> list[Channel]:
    """What a stage stores.

    Args:
        setup: of the run.
        shapes: of one sample of every channel there is.
        last: whether it is production; other stages store thermodynamic quantities only.
    """
    intervals = setup.config.intervals
    every: dict[str, int] = dict.fromkeys(THERMO, intervals.thermo)
    if last:
        every |= {"positions": intervals.positions, "velocities": intervals.velocities}
        every |= {name: each.every for name, each in setup.observers.items()}
        # Wherever positions, velocities or pressures are known the cell is known too.
        every["cell"] = gcd(intervals.thermo, intervals.positions, intervals.velocities)
    else:
        every["cell"] = intervals.thermo
    units = UNITS | {name: each.unit for name, each in setup.observers.items()}
    return [
        Channel(name, tuple(shapes[name]), units[name], every[name])
        for name in shapes
        if every.get(name, 0)
    ]


def metadata(setup: Setup, name: str, stage: Stage, lane: int) -> dict[str, Any]:
    """What a trajectory should say about itself."""
    config, system = setup.config, setup.systems[lane]
    references = setup.original.model.reference_energies(setup.original.params)
    references = np.asarray(references, np.float64)
    if setup.models is not None:
        references = references[lane // config.replicas]
    return {
        "stage": name,
        "ensemble": stage.ensemble.model_dump(mode="json"),
        "temperature_k": setup.temperature(stage),
        "timestep_fs": config.timestep_fs,
        "freedom": setup.freedom(stage),
        "precision": config.precision,
        "seed": config.seed,
        "replica": setup.replica(lane),
        "pbc": system.pbc.tolist(),
        "reference_energy": float(references[setup.species].sum()),
        "energies": "interaction energies in eV; add reference_energy for total energies",
    }


def path(directory: Path, name: str, lane: int, lanes: int) -> Path:
    """File of a stage and lane."""
    return directory / (f"{name}.h5md" if lanes == 1 else f"{name}-{lane:03d}.h5md")


def writer(
    file: Path,
    start: System,
    stored: Sequence[Channel],
    about: dict[str, Any],
    masses: np.ndarray,
    after_step: int | None,
) -> Writer:
    """Open the file of a stage and lane; ``start`` is the structure when the stage began."""
    return Writer.open(file, start, stored, about, after_step=after_step, masses=masses)
