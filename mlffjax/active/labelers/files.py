"""Labels of a program that runs elsewhere: inputs are written, results read when they are there.

    labeler:
      kind: files
      reference: Quantum ESPRESSO 7.3, PBE, ultrasoft, 400 eV, 4x4x1
      folder: jobs
      parameters:
        input_data: {control: {calculation: scf, tprnfor: true, tstress: true},
                     system: {ecutwfc: 29.4, nspin: 2}}
        pseudopotentials: {Cr: Cr.upf, Sb: Sb.upf, Te: Te.upf}
        kpts: [4, 4, 1]

Every structure gets a directory ``FOLDER/<structure>`` with ``structure.extxyz`` and the input
``espresso.pwi`` of Quantum ESPRESSO as ASE writes it; for other programs take the structure. A
result is any file named ``result.*`` there (or ``espresso.pwo``) that ASE reads with energy and
forces; of several frames the last counts. Until it is there, ``label`` raises ``LabelPending``.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pydantic

from mlffjax import config as configuration
from mlffjax.active.labelers._labeler import Label, LabelError, LabelPending, Section
from mlffjax.durable import write_bytes
from mlffjax.errors import ConfigError, InputError
from mlffjax.structures.checks import structure_digest
from mlffjax.structures.files import read_frames, write_frames
from mlffjax.structures.geometry import minimum_image
from mlffjax.structures.system import Frame, System, to_ase

MOVED = 1e-3  # Å; programs print positions with six digits or so
INPUT, OUTPUT, STRUCTURE = "espresso.pwi", "espresso.pwo", "structure.extxyz"


class Config(Section):
    """Where the inputs go, and what they ask for."""

    folder: str = pydantic.Field(min_length=1)
    """Relative to the configuration file."""
    parameters: dict[str, Any] = {}
    """Of ASE's writer of Quantum ESPRESSO inputs; empty: only structures are written."""


@dataclass(frozen=True)
class Directories:
    """One directory a structure."""

    settings: Any
    folder: Path
    parameters: dict[str, Any]

    def label(self, frame: Frame) -> Label:
        """The result, if there is one; otherwise the input is written, unless it is there.

        Raises:
            LabelPending: there is no result yet.
            LabelError: the result cannot be read, lacks a label, or is of another structure.
            ConfigError: ASE refuses the parameters.
        """
        place = self.folder / structure_digest(frame.system)
        results = [*sorted(place.glob("result.*")), place / OUTPUT]
        for file in results:
            if file.is_file():
                return _read(file, frame.system)
        if not (place / STRUCTURE).is_file():
            self._write(place, frame)
        raise LabelPending(str(place))

    def _write(self, place: Path, frame: Frame) -> None:
        """The structure last: where it is, everything is."""
        place.mkdir(parents=True, exist_ok=True)
        if self.parameters:
            text = io.StringIO()
            try:
                ase.io.write(text, to_ase(frame.system), format="espresso-in", **self.parameters)
            except Exception as error:  # writers of ASE raise anything
                raise ConfigError(
                    f"labeler, parameters: ASE cannot write an input of Quantum ESPRESSO with them "
                    f"({type(error).__name__}: {error})"
                ) from error
            write_bytes(place / INPUT, text.getvalue().encode())
        bare = frame._replace(energy=None, forces=None, stress=None)
        write_frames(place / STRUCTURE, [bare])


def example() -> Config:
    """Structures only."""
    return Config(reference="argon", folder="jobs")


def build(config: Config, base: Path) -> Directories:
    """Nothing is written yet; the folder is no setting, for labels do not depend on it."""
    settings = {
        "kind": "files",
        "reference": config.reference,
        "parameters": config.parameters,
    }
    return Directories(settings, configuration.resolve_path(config.folder, base), config.parameters)


def _read(file: Path, system: System) -> Label:
    try:
        found = read_frames(file)[-1]
    except InputError as error:
        raise LabelError(str(error)) from error
    if found.energy is None or found.forces is None:
        raise LabelError(f"{file}: expected energy and forces, got none or one of them")
    same = np.array_equal(found.system.numbers, system.numbers)
    if same:
        steps = found.system.positions - system.positions
        steps = minimum_image(steps, system.cell, system.pbc)
        same = max(abs(steps).max(), abs(found.system.cell - system.cell).max()) < MOVED
    if not same:
        raise LabelError(
            f"{file}: expected the structure that was asked for, got other atoms, their order, "
            "positions or cell; compute it as it is"
        )
    return Label(found.energy, found.forces, found.stress, {"file": file.name})
