"""GPAW, 20.10 or newer: a script of its own that says everything it does.

    program:
      kind: gpaw
      command: mpiexec -n 8 gpaw python label.py
      parameters:
        mode: {name: pw, ecut: 400}
        xc: PBE
        kpts: {size: [4, 4, 1], gamma: true}
        occupations: {name: fermi-dirac, width: 0.1}

The script is ``label.py``; it needs GPAW and ASE, not this package, and leaves ``gpaw.json``. The
log ``gpaw.txt`` is not read: it has fewer digits.
"""

import json
import string
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pydantic

from mlffjax.active.labelers._labeler import LabelError
from mlffjax.active.programs import _program
from mlffjax.active.programs._program import Said
from mlffjax.errors import ConfigError
from mlffjax.structures.system import System

SCRIPT, OUTPUT = "label.py", "gpaw.json"
_TEMPLATE = string.Template('''"""Energy, forces and stress of structure.extxyz into gpaw.json."""

import json
import os

import ase
import gpaw
from ase.io import read
from ase.parallel import world

PARAMETERS = json.loads("""$parameters""")
MOMENTS = json.loads("""$moments""")  # Bohr magnetons, by atom

atoms = read("structure.extxyz")
if any(MOMENTS):
    atoms.set_initial_magnetic_moments(MOMENTS)
atoms.calc = gpaw.GPAW(txt="gpaw.txt", **PARAMETERS)
said = {"program": f"GPAW {gpaw.__version__}, ASE {ase.__version__}"}
try:
    # Forces belong to the free energy, not to its extrapolation to zero width.
    said["energy"] = atoms.get_potential_energy(force_consistent=True)
    said["forces"] = atoms.get_forces().tolist()
    said["moments"] = atoms.get_magnetic_moments().tolist() if any(MOMENTS) else None
    try:
        said["stress"] = atoms.get_stress(voigt=False).tolist()
    except NotImplementedError:  # plane waves have it, grids and orbitals do not
        said["stress"] = None
    said["system"] = {
        "positions": atoms.positions.tolist(),
        "numbers": atoms.numbers.tolist(),
        "cell": atoms.cell.array.tolist(),
    }
except gpaw.KohnShamConvergenceError as error:
    said["failure"] = f"the density is not self-consistent: {error}"
if world.rank == 0:
    with open("gpaw.json.part", "w") as file:
        json.dump(said, file)
    os.replace("gpaw.json.part", "gpaw.json")
''')


class Config(_program.Section):
    """What GPAW is asked for."""

    command: str = pydantic.Field(
        default=f"gpaw python {SCRIPT} > label.log 2>&1",
        min_length=1,
        description="writes gpaw.json",
    )
    parameters: dict[str, Any]
    """Keyword arguments of ``gpaw.GPAW``, as plain data."""

    @pydantic.field_validator("parameters")
    @classmethod
    def _plain(cls, value: dict[str, Any]) -> dict[str, Any]:
        taken = {"txt", "spinpol", "magmoms"} & set(value)
        if taken:
            raise ValueError(f"expected no {', '.join(sorted(taken))}: other entries say it")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"expected plain data: {error}") from error
        return value


def example() -> Config:
    """The setting of the paper, with GPAW's potentials."""
    return Config(
        parameters={
            "mode": {"name": "pw", "ecut": 400},
            "xc": "PBE",
            "kpts": {"size": [4, 4, 1], "gamma": True},
        }
    )


def inputs(config: Config, atoms: ase.Atoms) -> dict[str, str]:
    """The script.

    Raises:
        ConfigError: a parameter cannot stand in it.
        LabelError: there is no cell.
    """
    _program.require_cell(atoms)
    parameters = json.dumps(config.parameters, indent=1, ensure_ascii=True)
    if "\\" in parameters or '"""' in parameters:
        raise ConfigError("labeler.program.parameters: expected plain names and numbers")
    moments = json.dumps(atoms.get_initial_magnetic_moments().tolist())
    return {SCRIPT: _TEMPLATE.substitute(parameters=parameters, moments=moments)}


def said(config: Config, place: Path, system: System) -> Said | None:
    """What the script found.

    Raises:
        LabelError: it found that the density is not self-consistent, or wrote something else.
    """
    del config
    file = place / OUTPUT
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text())
        if "failure" in found:
            raise LabelError(f"{file}: {found['failure']}")
        stress, moments, own = found["stress"], found["moments"], found["system"]
        return Said(
            System(
                np.array(own["positions"], np.float64),
                np.array(own["numbers"], np.int32),
                np.array(own["cell"], np.float64),
                system.pbc,
            ),
            float(found["energy"]),
            np.array(found["forces"], np.float64),
            None if stress is None else np.array(stress, np.float64),
            None if moments is None else np.array(moments, np.float64),
            {"program": found["program"]},
        )
    except (ValueError, KeyError, TypeError) as error:
        raise LabelError(f"{file}: expected what {SCRIPT} writes, got {error!r}") from error
