"""CP2K, 8.1 or newer (Quickstep).

    program:
      kind: cp2k
      input: |
        &FORCE_EVAL
          &DFT
            ...
          &END DFT
          &SUBSYS
            &KIND Te
              BASIS_SET DZVP-MOLOPT-SR-GTH
              POTENTIAL GTH-PBE-q6
            &END KIND
          &END SUBSYS
        &END FORCE_EVAL

The input is ``cp2k.inp``, the output must be ``cp2k.out``. The text of ``input`` is taken as it is;
coordinates, cell, and the printing of forces and stress are added, and kinds of elements that a
structure does not have are taken out. With moments the calculation is spin-polarised (``UKS``),
every kind gets its ``MAGNETIZATION``, and ``MULTIPLICITY`` is that of the sum of moments: the first
density is scaled to it, so that without it the moments would be lost. Smeared occupations may leave
it again.

A Monkhorst-Pack mesh of an even number of points does not contain Γ; that of pw.x does, and so does
``SCHEME MACDONALD n n 1 s s 0`` with s = 1 / (2 n).

ASE's calculator, which talks to a running CP2K, writes neither moments nor k points; so only its
handling of sections is used here. The output is read by ``structures.cp2k_output``.
"""

import re
from pathlib import Path

import ase
import pydantic
from ase.calculators.cp2k import InputSection, parse_input

from mlffjax.active.labelers._labeler import LabelError
from mlffjax.active.programs import _program
from mlffjax.active.programs._program import Said
from mlffjax.errors import ConfigError, InputError
from mlffjax.structures import cp2k_output
from mlffjax.structures.labels import read_labels
from mlffjax.structures.system import System, from_ase

INPUT, OUTPUT = "cp2k.inp", "cp2k.out"


class Config(_program.Section):
    """What CP2K is asked for."""

    command: str = pydantic.Field(
        default=f"cp2k.psmp -i {INPUT} -o {OUTPUT}", min_length=1, description="writes cp2k.out"
    )
    input: str = pydantic.Field(min_length=1)
    """Text of an input without coordinates and cell; a ``KIND`` for every element."""

    @pydantic.field_validator("input")
    @classmethod
    def _readable(cls, value: str) -> str:
        root = _parsed(value)
        force = root.get_subsection("FORCE_EVAL")
        for name in ("COORD", "CELL"):
            if any(s.name == name for s in force.get_subsection("SUBSYS").subsections):
                raise ValueError(f"expected no section {name}: the structure makes it")
        run = _value(root.get_subsection("GLOBAL"), "RUN_TYPE")
        if run not in (None, "ENERGY_FORCE"):
            raise ValueError(f"expected RUN_TYPE ENERGY_FORCE, got {run}")
        return value


def example() -> Config:
    """One element."""
    text = """
    &FORCE_EVAL
      &DFT
        &XC
          &XC_FUNCTIONAL PBE
          &END XC_FUNCTIONAL
        &END XC
      &END DFT
      &SUBSYS
        &KIND Te
          BASIS_SET DZVP-MOLOPT-SR-GTH
          POTENTIAL GTH-PBE-q6
        &END KIND
      &END SUBSYS
    &END FORCE_EVAL
    """
    return Config(input=text)


def inputs(config: Config, atoms: ase.Atoms) -> dict[str, str]:
    """The input with the structure.

    Raises:
        ConfigError: an element has no kind.
        LabelError: there is no cell.
    """
    _program.require_cell(atoms)
    root = _parsed(config.input)
    force = root.get_subsection("FORCE_EVAL")
    run = root.get_subsection("GLOBAL")
    for section, line in (
        (run, "PROJECT cp2k"),
        (run, "RUN_TYPE ENERGY_FORCE"),
        (run, "PRINT_LEVEL MEDIUM"),
        (force, "METHOD Quickstep"),
        (force, "STRESS_TENSOR ANALYTICAL"),
    ):
        if _value(section, line.split()[0]) is None:
            section.keywords.append(line)
    for name in ("PRINT/FORCES", "PRINT/STRESS_TENSOR", "DFT/PRINT/MULLIKEN"):
        force.get_subsection(name).params = "ON"
    _add_structure(force.get_subsection("SUBSYS"), atoms)
    _add_spins(force, atoms)
    return {INPUT: "\n".join(root.write()) + "\n"}


def said(config: Config, place: Path, system: System) -> Said | None:
    """What the output says.

    Raises:
        LabelError: CP2K stopped with an error, the density is not self-consistent, or not all that
            makes a label is printed.
    """
    del config
    file = place / OUTPUT
    if not file.is_file():
        return None
    try:
        found = cp2k_output.read(file)
    except InputError as error:
        raise LabelError(str(error)) from error
    if found is None:
        return None
    about = {"program": f"CP2K {found.info.pop('version')}"}
    assert found.calc is not None
    labels = read_labels(found, str(file))
    assert labels.energy is not None  # the reader refuses outputs without
    assert labels.forces is not None
    own = from_ase(found)._replace(pbc=system.pbc)
    moments = found.calc.results.get("magmoms")
    return Said(own, labels.energy, labels.forces, labels.stress, moments, about)


def _parsed(text: str) -> InputSection:
    """Sections of an input.

    Raises:
        ValueError: the text is none.
    """
    try:
        root = parse_input(text)
        root.get_subsection("FORCE_EVAL/SUBSYS")
    except Exception as error:  # ASE raises anything
        raise ValueError(f"expected an input of CP2K: {error}") from error
    opened = re.findall(r"^\s*&(?!END\b)\w+", text, re.MULTILINE | re.IGNORECASE)
    closed = re.findall(r"^\s*&END\b", text, re.MULTILINE | re.IGNORECASE)
    if len(opened) != len(closed):
        raise ValueError(f"expected as many &END as sections, got {len(closed)} and {len(opened)}")
    return root


def _value(section: InputSection, key: str) -> str | None:
    """What a keyword of a section is set to, in capitals."""
    found = [line.split() for line in section.keywords]
    return next((" ".join(w[1:]).upper() for w in found if w[0].upper() == key), None)


def _add_structure(subsystem: InputSection, atoms: ase.Atoms) -> None:
    """Coordinates and cell; unused kinds go.

    Raises:
        ConfigError: an element has no kind.
    """
    kinds = {s.params: s for s in subsystem.subsections if s.name == "KIND"}
    _program.require_elements(kinds, atoms, "input: KIND")
    unused = set(kinds) - set(atoms.get_chemical_symbols())
    subsystem.subsections = [
        s for s in subsystem.subsections if s.name != "KIND" or s.params not in unused
    ]
    cell = subsystem.get_subsection("CELL")
    axes = "".join(axis for axis, open_ in zip("XYZ", ~atoms.pbc, strict=True) if not open_)
    cell.keywords.append(f"PERIODIC {axes or 'NONE'}")
    for name, vector in zip("ABC", atoms.cell.array, strict=True):
        cell.keywords.append(f"{name} " + " ".join(f"{x:.12f}" for x in vector))
    coordinates = subsystem.get_subsection("COORD")
    for symbol, place in zip(atoms.get_chemical_symbols(), atoms.positions, strict=True):
        coordinates.keywords.append(f"{symbol} " + " ".join(f"{x:.12f}" for x in place))


def _add_spins(force: InputSection, atoms: ase.Atoms) -> None:
    """Two spins, and the moment of every kind, if there are moments.

    Raises:
        ConfigError: a kind has a MAGNETIZATION already.
    """
    moments = dict(
        zip(atoms.get_chemical_symbols(), atoms.get_initial_magnetic_moments(), strict=True)
    )
    if not any(moments.values()):
        return
    dft = force.get_subsection("DFT")
    if not any(_value(dft, key) for key in ("UKS", "LSD", "UNRESTRICTED_KOHN_SHAM")):
        dft.keywords.append("UKS .TRUE.")
    kinds = {s.params: s for s in force.get_subsection("SUBSYS").subsections if s.name == "KIND"}
    if _value(dft, "MULTIPLICITY") is None:
        dft.keywords.append(f"MULTIPLICITY {_multiplicity(kinds, atoms)}")
    for symbol, kind in kinds.items():
        if moments[symbol]:
            if _value(kind, "MAGNETIZATION") is not None:
                raise ConfigError(
                    f"labeler.program.input: expected no MAGNETIZATION of {symbol}: "
                    "labeler.moments says it"
                )
            kind.keywords.append(f"MAGNETIZATION {moments[symbol]:g}")


def _multiplicity(kinds: dict[str, InputSection], atoms: ase.Atoms) -> int:
    """Of the sum of moments, or the next that the number of electrons allows.

    Potentials say the electrons of a kind at the end of their names, as in ``GTH-PBE-q14``; where
    one does not, CP2K complains if they do not fit.
    """
    spins = round(abs(atoms.get_initial_magnetic_moments().sum()))
    electrons = 0
    for symbol in atoms.get_chemical_symbols():
        found = re.search(r"-Q(\d+)$", _value(kinds[symbol], "POTENTIAL") or "")
        if found is None:
            return spins + 1
        electrons += int(found[1])
    return spins + 1 + (spins + electrons) % 2
