"""One structure at its true size, and the same with labels and provenance."""

from typing import Any, NamedTuple

import ase
import numpy as np
from jaxtyping import Bool, Float64, Int32


class System(NamedTuple):
    """Atoms in a cell.

    Attributes:
        positions: Å; unwrapped, so they may lie outside the cell.
        numbers: atomic numbers.
        cell: Å, rows are the lattice vectors; zero rows where there is no period.
        pbc: whether each lattice vector is a period.
    """

    positions: Float64[np.ndarray, "atoms 3"]
    numbers: Int32[np.ndarray, " atoms"]
    cell: Float64[np.ndarray, "3 3"]
    pbc: Bool[np.ndarray, " 3"]


class Frame(NamedTuple):
    """A structure with the labels of one reference calculation; a missing label is ``None``.

    Attributes:
        system: the structure.
        energy: total energy, eV; the one the forces are derivatives of.
        forces: eV/Å.
        stress: eV/Å³, dE/dstrain / volume (ASE's sign: negative when the cell wants to expand).
        config_type: free label of the kind of structure, such as ``"aimd_600K"``.
        trajectory: frames with the same text here are correlated and split as one sequence.
        order: time or index inside the trajectory.
        identifier: name of the frame, unique within its file.
        source: where it was read, ``"file.xyz frame 3"`` (counted from 0).
        info: everything else the file said about the frame, as plain Python values.
    """

    system: System
    energy: float | None
    forces: Float64[np.ndarray, "atoms 3"] | None
    stress: Float64[np.ndarray, "3 3"] | None
    config_type: str
    trajectory: str
    order: float
    identifier: str
    source: str
    info: dict[str, Any]


def from_ase(atoms: ase.Atoms) -> System:
    """The structure of an ASE object; its calculator, constraints and other arrays are dropped."""
    return System(
        positions=np.array(atoms.positions, dtype=np.float64),
        numbers=np.array(atoms.numbers, dtype=np.int32),
        cell=np.array(atoms.cell.array, dtype=np.float64),
        pbc=np.array(atoms.pbc, dtype=bool),
    )


def to_ase(system: System) -> ase.Atoms:
    """An ASE object with copies of the arrays and without a calculator."""
    return ase.Atoms(
        numbers=system.numbers, positions=system.positions, cell=system.cell, pbc=system.pbc
    )
