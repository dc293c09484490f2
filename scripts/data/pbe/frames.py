"""What the scripts that make structures share: cells with Cr, and frames for the labeller."""

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import write

from mlffjax.structures import builders
from mlffjax.structures.system import to_ase


def host() -> Atoms:
    """Pristine 2x2 cell of one quintuple layer, 20 atoms."""
    return to_ase(builders.bulk(2))


def doped(position: np.ndarray) -> Atoms:
    """The same with a Cr at ``position`` (Å), the last of 21 atoms."""
    return to_ase(builders.intercalate(builders.bulk(2), position))


def frame(atoms: Atoms, **info: Any) -> Atoms:
    """A bare copy that carries only ``info``; ``frame_id`` and ``out`` are what the labeller needs.

    Args:
        atoms: structure; calculator, constraints and velocities are dropped.
        info: ``frame_id`` (unique), ``out`` (stem of the file of results), ``group`` (frames whose
            wave functions may be reused for each other), ``config_type`` and free entries.
    """
    bare = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)
    bare.info.update(info)
    return bare


def enqueue(directory: Path, name: str, frames: list[Atoms]) -> None:
    """Write frames to be labelled to ``directory/queue/name.xyz``."""
    target = directory / "queue" / f"{name}.xyz"
    target.parent.mkdir(parents=True, exist_ok=True)
    write(target, frames, format="extxyz")
    print(f"{target}: {len(frames)} frames")
