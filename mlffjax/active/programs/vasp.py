"""VASP, 5.4 or newer.

    program:
      kind: vasp
      incar: {encut: 400, gga: PE, ismear: 1, sigma: 0.1, ediff: 1.0e-6, prec: Accurate}
      kpoints: [4, 4, 1]
      potentials: {Cr: Cr_pv, Sb: Sb, Te: Te}

``INCAR``, ``KPOINTS`` and ``POSCAR`` are written. ``POTCAR`` is not: its content is under licence.
``POTCAR.list`` names the files to be joined, below the directory in ``VASP_PP_PATH``, and the usual
command joins them. POSCAR has the atoms of an element together, elements in the order in which they
first occur; results are put back into the order of the structure.

With moments the calculation is spin-polarised (``ISPIN`` 2, ``MAGMOM``). ASE writes most numbers of
INCAR with six decimals; a number that would not survive is refused, as is a tag that ASE does not
know, unless it is under ``custom``. Energies, forces and stress are those of ``vasprun.xml``
(``e_fr_energy``, the free energy), moments those of ``OUTCAR``, where ``LORBIT`` puts them.
"""

import difflib
import io
import math
import re
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pydantic
from ase.calculators.vasp.create_input import GenerateVaspInput
from ase.io.vasp import write_vasp

from mlffjax.active.labelers._labeler import LabelError
from mlffjax.active.programs import _program
from mlffjax.active.programs._program import Said
from mlffjax.errors import ConfigError
from mlffjax.structures.system import System, to_ase

POTCAR = "POTCAR.list"
SINGLE_POINT = {"ibrion": -1, "nsw": 0, "lorbit": 11}
_TABLE = re.compile(r"magnetization \(x\)\s*\n\s*\n.*\n\s*-+\s*\n((?: +\d+(?: +[-.\d]+)+ *\n)+)")


class Config(_program.Section):
    """What VASP is asked for."""

    command: str = pydantic.Field(
        default=f'while read -r name; do cat "$VASP_PP_PATH/$name" || exit; done < {POTCAR} '
        "> POTCAR && vasp_std > vasp.log",
        min_length=1,
        description="writes vasprun.xml and OUTCAR",
    )
    incar: dict[str, Any]
    """Tags of INCAR in small letters, with ASE's types; one single point is computed."""
    kpoints: tuple[int, int, int]
    """Mesh."""
    gamma: bool = True
    """Whether the mesh contains Γ; otherwise it is Monkhorst and Pack's."""
    potentials: dict[str, str] = pydantic.Field(min_length=1)
    """Directory of the potential of each element."""
    family: str = "potpaw_PBE"
    """Directory of these directories."""

    @pydantic.field_validator("incar")
    @classmethod
    def _tags(cls, value: dict[str, Any]) -> dict[str, Any]:
        known = _known()
        for tag in value:
            if tag not in known:
                near = difflib.get_close_matches(tag, known, 1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise ValueError(
                    f"unknown tag {tag!r}; {hint}tags that ASE does not know go under 'custom'"
                )
        taken = {"magmom", "kpts", "setups", "pp", "charge"} & set(value)
        if taken:
            raise ValueError(f"expected no {', '.join(sorted(taken))}: other entries say it")
        if value.get("nsw", 0) != 0:
            raise ValueError(f"expected a single point, got nsw: {value['nsw']}")
        return value

    @pydantic.field_validator("potentials")
    @classmethod
    def _elements(cls, value: dict[str, str]) -> dict[str, str]:
        _program.require_symbols(value)
        return value


def example() -> Config:
    """The setting of the paper for one element."""
    return Config(incar={"encut": 400.0, "gga": "PE"}, kpoints=(4, 4, 1), potentials={"Te": "Te"})


def inputs(config: Config, atoms: ase.Atoms) -> dict[str, str]:
    """INCAR, KPOINTS, POSCAR and the list of potentials.

    Raises:
        ConfigError: an element lacks a potential, or ASE cannot write the settings as they are.
        LabelError: there is no cell.
    """
    _program.require_elements(config.potentials, atoms, "potentials")
    _program.require_cell(atoms)
    order = _order(atoms)
    text = io.StringIO()
    write_vasp(text, atoms[order], direct=True)
    symbols = dict.fromkeys(atoms.get_chemical_symbols())
    names = [f"{config.family}/{config.potentials[symbol]}/POTCAR\n" for symbol in symbols]
    return {
        **_settings(config, atoms, order),
        "POSCAR": text.getvalue(),
        POTCAR: "".join(names),
    }


def said(config: Config, place: Path, system: System) -> Said | None:
    """What the output says.

    Raises:
        LabelError: the density is not self-consistent, or more than one structure was computed.
    """
    del config
    file = place / "vasprun.xml"
    if not file.is_file():
        return None
    try:
        root = ElementTree.parse(file).getroot()
    except ElementTree.ParseError:  # it grows while VASP runs
        return None
    runs = root.findall("calculation")
    if len(runs) != 1:
        raise LabelError(f"{file}: expected one single point, got {len(runs)}")
    version = root.findtext("generator/i[@name='version']", "unknown").strip()
    about: dict[str, Any] = {"program": f"VASP {version}"}
    rows = root.findall("atominfo/array[@name='atomtypes']/set/rc")
    about["pseudopotentials"] = [(row.findall("c")[-1].text or "").strip() for row in rows]
    outcar = place / "OUTCAR"
    tables = _TABLE.findall(outcar.read_text(errors="replace")) if outcar.is_file() else []
    moments = [float(line.split()[-1]) for line in tables[-1].splitlines()] if tables else None
    return _in_order(_program.by_ase(file, moments, about), system)


def _settings(config: Config, atoms: ase.Atoms, order: list[int]) -> dict[str, str]:
    """INCAR and KPOINTS as ASE writes them.

    Raises:
        ConfigError: ASE refuses a value or writes another one.
    """
    asked = SINGLE_POINT | config.incar
    moments = atoms.get_initial_magnetic_moments()
    if moments.any():
        asked |= {"ispin": 2, "magmom": moments.tolist()}
    writer = GenerateVaspInput()
    writer.sort, writer.spinpol = order, bool(moments.any())
    symbols = atoms.get_chemical_symbols()
    writer.symbol_count = [(symbol, symbols.count(symbol)) for symbol in dict.fromkeys(symbols)]
    with tempfile.TemporaryDirectory() as folder:
        try:
            writer.set(**asked, kpts=config.kpoints, gamma=config.gamma)
            writer.write_incar(atoms, directory=folder)
            writer.write_kpoints(atoms, directory=folder)
        except Exception as error:  # writers of ASE raise anything
            raise ConfigError(
                f"labeler.program: ASE cannot write an INCAR with these settings "
                f"({type(error).__name__}: {error})"
            ) from error
        texts = {name: Path(folder, name).read_text() for name in ("INCAR", "KPOINTS")}
    _require_digits(asked, texts["INCAR"])
    return texts


def _require_digits(asked: dict[str, Any], text: str) -> None:
    """Refuse numbers that ASE's format has changed.

    Raises:
        ConfigError: names the tag, the number, and what was written.
    """
    written = dict(re.findall(r"^(\w+) = (\S+)\s*$", text, re.MULTILINE))
    for tag, value in asked.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        found = written.get(tag.upper(), "nothing")
        try:
            kept = math.isclose(float(found), value, rel_tol=1e-3)
        except ValueError:
            kept = False
        if not kept:
            raise ConfigError(
                f"labeler.program.incar.{tag}: ASE writes {value!r} as {found}; put it as text "
                "under 'custom'"
            )


def _known() -> list[str]:
    """Tags and other entries that ASE's writer knows."""
    writer = GenerateVaspInput()
    groups = (value for name, value in vars(writer).items() if name.endswith("_params"))
    return sorted(key for group in groups for key in group)


def _order(atoms: ase.Atoms) -> list[int]:
    """Which atom of the structure stands at each place of POSCAR."""
    symbols = atoms.get_chemical_symbols()
    return [i for one in dict.fromkeys(symbols) for i, other in enumerate(symbols) if other == one]


def _in_order(found: Said, system: System) -> Said:
    """Atoms as in the structure that was asked for, if they are as many."""
    if len(found.system.numbers) != len(system.numbers):
        return found
    back = np.argsort(_order(to_ase(system)))
    inner = found.system._replace(
        positions=found.system.positions[back], numbers=found.system.numbers[back]
    )
    moments = None if found.moments is None else np.array(found.moments, np.float64)
    if moments is not None and len(moments) == len(back):
        moments = moments[back]
    return found._replace(system=inner, forces=found.forces[back], moments=moments)
