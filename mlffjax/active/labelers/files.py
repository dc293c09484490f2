"""Labels of a program that runs elsewhere: inputs are written, results read when they are there.

    labeler:
      kind: files
      reference: PBE, ultrasoft, 400 eV, 4x4x1
      folder: jobs
      moments: {Cr: 4.0}
      least_moments: {Cr: 2.5}
      program:
        kind: quantum_espresso
        ...

Every structure gets a directory ``FOLDER/<structure>`` with ``structure.extxyz`` and the inputs of
the program (kinds in ``active.programs``). ``FOLDER/run.sh`` computes all that have no result; it
may run many times at once and be killed. Until a result is there, ``label`` raises
``LabelPending``.

A result is what the program leaves, or, for any other program, a file ``result.*`` that ASE reads
with energy and forces: of several frames the last counts. If the command of ``run.sh`` has ended
(``exit_status``) without a complete result, there is no label: see there, delete ``exit_status``
and the record of the failure, and start again. ``FOLDER/settings.json`` says what all these results
were computed with; other settings need another folder.
"""

import json
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import ase.io
import numpy as np
import pydantic

from mlffjax import config as configuration
from mlffjax import registry
from mlffjax.active.labelers._labeler import Label, LabelError, LabelPending
from mlffjax.active.labelers._spins import SpinSection
from mlffjax.active.programs import _program
from mlffjax.active.programs._program import Said
from mlffjax.config import by_kind, kind_of
from mlffjax.durable import write_bytes
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.structures.checks import check_frame, structure_digest
from mlffjax.structures.files import write_frames
from mlffjax.structures.geometry import minimum_image
from mlffjax.structures.system import Frame, System, to_ase

MOVED = 2e-3  # Å; some programs print three decimals
STRUCTURE, SETTINGS, STATUS, RUN = "structure.extxyz", "settings.json", "exit_status", "run.sh"
_RUN = string.Template("""#!/usr/bin/env bash
# Computes every structure below this folder that has no exit_status yet, one after the other.
# Start it as often as you like, also on several machines that share the folder: a structure is
# claimed by a lock of the system, which ends with the processes that hold it. A command that the
# shell cannot find or run (status 126, 127) ends everything; any other failure is noted.
cd "$$(dirname "$$0")" || exit 1
for place in */; do
    (
        flock -n 9 || exit 0
        cd "$$place" || exit 0
        [ -e $structure ] && [ ! -e $status ] || exit 0
        trap 'exit 130' INT TERM  # who is interrupted has not failed
        (
            $command
        )
        ended=$$?
        if [ $$ended -eq 126 ] || [ $$ended -eq 127 ]; then
            echo "the command of the labeller cannot be run" >&2
            exit $$ended
        fi
        echo $$ended > $status
    ) 9> "$$place/claim" || exit
done
""")


class Config(SpinSection):
    """Where the inputs go, and what they ask for."""

    folder: str = pydantic.Field(min_length=1)
    """Relative to the configuration file."""
    program: Annotated[_program.Section, by_kind("active.programs")] | None = None
    """None: only structures are written."""


@dataclass(frozen=True)
class Directories:
    """One directory a structure."""

    settings: Any
    config: Config
    folder: Path

    def label(self, frame: Frame) -> Label:
        """The result, if there is one; otherwise the inputs are written, unless they are there.

        Raises:
            LabelPending: there is no result yet.
            LabelError: the result cannot be read, lacks a label, has another spin state, is of
                another structure, or the program ended without one.
            ConfigError: the inputs cannot be written.
            CompatibilityError: the folder holds results of other settings.
        """
        self._require_settings()
        place = self.folder / structure_digest(frame.system)
        said = self._said(place, frame.system)
        if said is not None:
            return self._checked(said, place, frame)
        if (place / STATUS).is_file():
            raise LabelError(
                f"{place}: the command ended with status {(place / STATUS).read_text().strip()} "
                "and left no complete output"
            )
        if not (place / STRUCTURE).is_file():
            self._write(place, frame)
        raise LabelPending(str(place))

    def _require_settings(self) -> None:
        """One folder, one reference."""
        text = json.dumps(self.settings, indent=1, sort_keys=True) + "\n"
        try:
            found = (self.folder / SETTINGS).read_text()
        except OSError:
            write_bytes(self.folder / SETTINGS, text.encode())
            found = text
        if found != text:
            raise CompatibilityError(
                f"{self.folder}: expected results of the settings of this labeller, got a folder "
                f"of others (see {SETTINGS} there); labels are never mixed: give another folder"
            )
        if self.config.program is not None:
            run = _RUN.substitute(
                command=self.config.program.command.strip(), structure=STRUCTURE, status=STATUS
            )
            if not (self.folder / RUN).is_file() or (self.folder / RUN).read_text() != run:
                write_bytes(self.folder / RUN, run.encode())

    def _said(self, place: Path, system: System) -> Said | None:
        """A result by hand goes before that of the program."""
        for file in sorted(place.glob("result.*")):
            return _by_hand(file)
        program = self.config.program
        if program is None:
            return None
        return registry.resolve("active.programs", kind_of(program)).said(program, place, system)

    def _write(self, place: Path, frame: Frame) -> None:
        """The structure last: where it is, everything is."""
        program, files = self.config.program, {}
        if program is not None:
            atoms = to_ase(frame.system)
            atoms.set_initial_magnetic_moments(self.config.initial(frame.system.numbers))
            module = registry.resolve("active.programs", kind_of(program))
            files = module.inputs(program, atoms)
        place.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            write_bytes(place / name, text.encode())
        write_frames(place / STRUCTURE, [frame._replace(energy=None, forces=None, stress=None)])

    def _checked(self, said: Said, place: Path, frame: Frame) -> Label:
        """The label, if it is one of this structure in the right spin state.

        Raises:
            LabelError: it is not.
        """
        _require_same(said.system, frame.system, place)
        self.config.require(said.moments, frame.system.numbers)
        shape = (len(frame.system.numbers), 3)
        if said.forces.shape != shape:
            raise LabelError(f"{place}: expected forces of {shape}, got {said.forces.shape}")
        numbers = frame._replace(energy=said.energy, forces=said.forces, stress=said.stress)
        try:
            check_frame(numbers._replace(source=str(place)))
        except InputError as error:
            raise LabelError(str(error)) from error
        about = said.about | {"directory": place.name, "net_force": _norm(said.forces)}
        if said.moments is not None:
            about["magnetic_moments"] = np.asarray(said.moments).tolist()
        return Label(said.energy, said.forces, said.stress, about)


def example() -> Config:
    """Structures only."""
    return Config(reference="argon", folder="jobs")


def build(config: Config, base: Path) -> Directories:
    """Nothing is written yet; folder and command are no settings, for labels do not depend on them.

    Raises:
        ConfigError: the folder is no path.
    """
    settings = configuration.dump(config)
    del settings["folder"]
    if config.program is not None:
        del settings["program"]["command"]
    return Directories(settings, config, configuration.resolve_path(config.folder, base))


def _by_hand(file: Path) -> Said:
    """A file that ASE reads, with moments where it has them.

    Raises:
        LabelError: it cannot be read, or has no label.
    """
    said = _program.by_ase(file, None, {"program": f"unknown, {file.name}"})
    try:
        atoms = ase.io.read(file, index=-1)
    except Exception:  # a format that only we know; parsers of ASE raise anything
        return said
    assert isinstance(atoms, ase.Atoms)  # one index was asked for
    results = {} if atoms.calc is None else atoms.calc.results
    moments = results.get("magmoms", atoms.arrays.get("magmoms"))
    return said if moments is None else said._replace(moments=np.asarray(moments, np.float64))


def _require_same(found: System, wanted: System, place: Path) -> None:
    """Refuse the result of another structure.

    Raises:
        LabelError: atoms, their order, positions or cell differ.
    """
    same = np.array_equal(found.numbers, wanted.numbers)
    if same:
        steps = minimum_image(found.positions - wanted.positions, wanted.cell, wanted.pbc)
        same = max(abs(steps).max(), abs(found.cell - wanted.cell).max()) < MOVED
    if not same:
        raise LabelError(
            f"{place}: expected the structure that was asked for, got other atoms, their order, "
            "positions or cell; compute it as it is"
        )


def _norm(forces: np.ndarray) -> float:
    """Length of the sum of forces, eV/Å: what grids and cut-offs leave."""
    return float(np.linalg.norm(forces.sum(axis=0)))
