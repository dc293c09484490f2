"""Snapshots of molecular dynamics with the present model.

A trajectory that stops, because the model fails, proposes what it visited until then.
"""

from typing import Annotated

import numpy as np
import pydantic

from mlffjax import trees
from mlffjax.active.candidates._candidates import Given, Section, made
from mlffjax.config import resolve_path
from mlffjax.dynamics.config import MdConfig
from mlffjax.dynamics.run import run
from mlffjax.errors import InputError
from mlffjax.structures.files import read_frames
from mlffjax.structures.geometry import repeated
from mlffjax.structures.system import Frame, System

Count = Annotated[int, pydantic.Field(ge=1)]


class Config(Section):
    """Where a trajectory starts, and how it runs."""

    structure: str = pydantic.Field(min_length=1)
    """A file with the structure, relative to the configuration file, or ``bundled:``."""
    frame: int = pydantic.Field(default=0, ge=0)
    """Which frame of the file, counted from 0."""
    repeat: tuple[Count, Count, Count] = (1, 1, 1)
    """Cells along each lattice vector."""
    md: MdConfig
    """``intervals.positions`` says how often a snapshot is taken; its seed is that of the round."""

    @pydantic.model_validator(mode="after")
    def _sampled(self) -> "Config":
        if self.md.intervals.positions == 0:
            raise ValueError("md.intervals.positions: expected at least 1, got 0: no snapshots")
        return self


def example() -> Config:
    """A hot start from the bundled crystal."""
    return Config.model_validate(
        {
            "structure": "bundled:cr_sb2te3_pbe/md_doped_600K.xyz",
            "md": {
                "temperature_k": 600,
                "ensemble": {"kind": "nvt_langevin"},
                "steps": 200,
                "intervals": {"positions": 20},
            },
        }
    )


def propose(config: Config, given: Given) -> list[Frame]:
    """Snapshots of production, replica by replica.

    Raises:
        InputError: the structure cannot be read.
        CompatibilityError: the model does not know an element.
    """
    frames = read_frames(resolve_path(config.structure, given.base))
    if config.frame >= len(frames):
        raise InputError(
            f"{config.structure}: expected a frame below {len(frames)}, got {config.frame}"
        )
    start = repeated(frames[config.frame].system, config.repeat)
    settings = config.md.model_copy(update={"seed": given.seed})
    result = run(trees.cast(given.models[0], np.float64), start, settings)
    found = []
    for lane in result.lanes:
        samples = lane.samples.get("production", {})
        if "positions" not in samples:
            continue
        places = np.asarray(samples["positions"].values, np.float64)
        cells = [start.cell] * len(places)
        if "cell" in samples:  # sampled more often than positions
            rows = np.searchsorted(samples["cell"].steps, samples["positions"].steps)
            cells = [samples["cell"].values[row] for row in rows]
        systems = [_snapshot(start, *pair) for pair in zip(places, cells, strict=True)]
        found += made(systems, "md", f"{lane.replica}", given)
    return found


def _snapshot(start: System, positions: np.ndarray, cell: np.ndarray) -> System:
    return start._replace(positions=positions, cell=np.array(cell, np.float64))
