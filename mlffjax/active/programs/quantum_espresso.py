"""pw.x of Quantum ESPRESSO, 6.0 or newer.

    program:
      kind: quantum_espresso
      command: mpirun -np 16 pw.x -in espresso.pwi > espresso.pwo
      input_data:
        system: {ecutwfc: 29.4, ecutrho: 235.2, occupations: smearing, degauss: 0.0073}
      pseudopotentials: {Cr: Cr.upf, Sb: Sb.upf, Te: Te.upf}
      kpoints: [4, 4, 1]
      valence: {Cr: 14}

The input is ``espresso.pwi``, the output must be ``espresso.pwo``. Numbers of ``input_data`` are in
the program's units (Ry, bohr). With moments the calculation is spin-polarised (``nspin`` 2): ASE
makes a species of each element and moment, and writes the number that it is given as
``starting_magnetization``. Below 1 every version takes it as a fraction of the valence electrons;
1 and more are moments since version 7.3 and nonsense before. So fractions are written here, for
which ``valence`` is needed.

The total energy of pw.x is E - TS. Moments are taken from the last table of the output: ASE takes
the first, which may be that of an early iteration.
"""

import io
import re
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pydantic

from mlffjax.active.labelers._labeler import LabelError
from mlffjax.active.programs import _program
from mlffjax.active.programs._program import Said
from mlffjax.errors import ConfigError
from mlffjax.structures.system import System

INPUT, OUTPUT = "espresso.pwi", "espresso.pwo"
NAMELISTS = ("control", "system", "electrons", "ions", "cell")
_TABLE = re.compile(r"Magnetic moment per site.*\n((?:\s*atom.*magn.*\n)+)")
_MOMENT = re.compile(r"magn[:=]\s*([-+.\d]+)")
_SUM = re.compile(r"MD5 check sum:\s*(\w+)")


class Config(_program.Section):
    """What pw.x is asked for."""

    command: str = pydantic.Field(
        default=f"pw.x -in {INPUT} > {OUTPUT}", min_length=1, description="writes espresso.pwo"
    )
    input_data: dict[str, dict[str, Any]]
    """Entries by namelist. ``calculation`` is ``scf``, forces and stress are printed."""
    pseudopotentials: dict[str, str] = pydantic.Field(min_length=1)
    """Name of the file for each element."""
    kpoints: tuple[int, int, int]
    """Monkhorst-Pack mesh."""
    offset: tuple[int, int, int] = (0, 0, 0)
    """1: half a step."""
    valence: dict[str, float] = {}
    """Valence electrons in the pseudopotential of each element that has a moment."""

    @pydantic.field_validator("input_data")
    @classmethod
    def _single_point(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        unknown = [name for name in value if name not in NAMELISTS]
        if unknown:
            raise ValueError(f"expected namelists {', '.join(NAMELISTS)}, got {', '.join(unknown)}")
        control = value.get("control", {})
        if control.get("calculation", "scf") != "scf" or not control.get("tprnfor", True):
            raise ValueError("expected calculation: scf and tprnfor: true: a label has forces")
        return value

    @pydantic.field_validator("pseudopotentials", "valence")
    @classmethod
    def _elements(cls, value: dict[str, Any]) -> dict[str, Any]:
        _program.require_symbols(value)
        return value


def example() -> Config:
    """The setting of the paper for one element."""
    return Config(
        input_data={"system": {"ecutwfc": 29.4}},
        pseudopotentials={"Te": "Te.upf"},
        kpoints=(4, 4, 1),
    )


def inputs(config: Config, atoms: ase.Atoms) -> dict[str, str]:
    """The input of pw.x.

    Raises:
        ConfigError: an element lacks an entry, or ASE refuses the settings.
        LabelError: there is no cell.
    """
    _program.require_elements(config.pseudopotentials, atoms, "pseudopotentials")
    _program.require_cell(atoms)
    control = {"calculation": "scf", "tprnfor": True, "tstress": True}
    data = config.input_data | {"control": control | config.input_data.get("control", {})}
    atoms = atoms.copy()
    atoms.set_initial_magnetic_moments(_fractions(config, atoms))
    text = io.StringIO()
    try:
        ase.io.write(
            text,
            atoms,
            format="espresso-in",
            input_data=data,
            pseudopotentials=config.pseudopotentials,
            kpts=list(config.kpoints),
            koffset=config.offset,
        )
    except Exception as error:  # writers of ASE raise anything
        raise ConfigError(
            f"labeler.program: ASE cannot write an input of Quantum ESPRESSO with these settings "
            f"({type(error).__name__}: {error})"
        ) from error
    return {INPUT: text.getvalue()}


def said(config: Config, place: Path, system: System) -> Said | None:
    """What the output says.

    Raises:
        LabelError: pw.x stopped with an error, or the density is not self-consistent.
    """
    del config, system
    file = place / OUTPUT
    if not file.is_file():
        return None
    text = file.read_text(errors="replace")
    if "Error in routine" in text:
        raise LabelError(f"{file}: {text.partition('Error in routine')[2].split('%%%')[0].strip()}")
    if "JOB DONE." not in text:
        return None
    if "convergence NOT achieved" in text or "convergence has been achieved" not in text:
        raise LabelError(f"{file}: the density is not self-consistent; more steps, or less mixing")
    version = re.search(r"Program PWSCF v\.?\s*(\S+)", text)
    about: dict[str, Any] = {"program": f"Quantum ESPRESSO {version[1] if version else 'unknown'}"}
    if sums := _SUM.findall(text):
        about["pseudopotentials"] = sums
    tables = _TABLE.findall(text)
    moments = np.array(_MOMENT.findall(tables[-1]), np.float64) if tables else None
    return _program.by_ase(file, moments, about)


def _fractions(config: Config, atoms: ase.Atoms) -> np.ndarray:
    """Initial moments as fractions of the valence electrons.

    Raises:
        ConfigError: an element with a moment has no number of them, or fewer than its moment.
    """
    fractions = []
    for symbol, moment in zip(
        atoms.get_chemical_symbols(), atoms.get_initial_magnetic_moments(), strict=True
    ):
        electrons = config.valence.get(symbol)
        if moment and (electrons is None or abs(moment) > electrons):
            raise ConfigError(
                f"labeler.program.valence: expected the valence electrons of {symbol}, at least "
                f"its moment of {abs(moment):g} μB, got {electrons}; its pseudopotential says "
                "z_valence"
            )
        fractions.append(moment / electrons if moment and electrons else 0.0)
    return np.array(fractions)
