"""What every program is."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ase
import numpy as np
import pydantic
from ase.data import chemical_symbols
from jaxtyping import Float64

from mlffjax import config
from mlffjax.active.labelers._labeler import LabelError
from mlffjax.errors import ConfigError, InputError
from mlffjax.structures.conversion import convert
from mlffjax.structures.system import System


class Section(config.Config):
    """Base of the ``Config`` of every kind."""

    command: str = pydantic.Field(min_length=1)
    """Shell command that computes the structure of the current directory; ``run.sh`` gives it. No
    label depends on it."""


class Said(NamedTuple):
    """What an output says.

    Attributes:
        system: the structure it belongs to, as printed, atoms in the order of the input.
        energy: total energy, eV; the one that forces are derivatives of.
        forces: eV/Å.
        stress: eV/Å³, ASE's sign; None if there is none.
        moments: final magnetic moment of each atom, μB; None if the output does not say.
        about: plain data; ``program`` is its name and version.
    """

    system: System
    energy: float
    forces: Float64[np.ndarray, "atoms 3"]
    stress: Float64[np.ndarray, "3 3"] | None
    moments: Float64[np.ndarray, " atoms"] | None
    about: dict[str, Any]


def by_ase(file: Path, moments: Any, about: dict[str, Any]) -> Said:
    """The last structure of an output that ASE reads, with its free energy.

    Raises:
        LabelError: ASE cannot read it, its density is known not to be self-consistent, or there is
            no energy or no force.
    """
    try:
        frames, dropped, _ = convert(file, label=file.stem)
    except InputError as error:
        raise LabelError(str(error)) from error
    if not frames or frames[-1].order < len(frames) + len(dropped) - 1:
        raise LabelError(dropped[-1])
    found = frames[-1]
    if found.energy is None or found.forces is None:
        raise LabelError(f"{file}: expected energy and forces, got none or one of them")
    return Said(found.system, found.energy, found.forces, found.stress, moments, about)


def require_elements(known: Mapping[str, Any], atoms: ase.Atoms, entry: str) -> None:
    """Refuse structures with an element that an entry of the section does not name.

    Raises:
        ConfigError: names the elements.
    """
    missing = sorted(set(atoms.get_chemical_symbols()) - set(known))
    if missing:
        raise ConfigError(
            f"labeler.program.{entry}: expected one for every element, got none for "
            f"{', '.join(missing)}"
        )


def require_cell(atoms: ase.Atoms) -> None:
    """Refuse structures without a cell, which a periodic program cannot compute.

    Raises:
        LabelError: the cell has no volume.
    """
    if abs(np.linalg.det(atoms.cell.array)) < 1e-6:
        raise LabelError("expected a structure with three cell vectors, got one without volume")


def require_symbols(names: Iterable[str]) -> None:
    """Refuse names that are no elements; for validators of sections.

    Raises:
        ValueError: names them.
    """
    unknown = [name for name in names if name not in chemical_symbols[1:]]
    if unknown:
        raise ValueError(f"expected symbols of elements, got {', '.join(unknown)}")
