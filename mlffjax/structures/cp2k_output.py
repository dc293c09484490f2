"""The main output of a single point of CP2K (Quickstep), 8.1 and newer, which ASE does not read.

Versions to 2024 print forces under ``ATOMIC FORCES in [a.u.]``, later ones in lines that begin with
``FORCES|``; forces, and the stress if wanted, are printed if the input asks for them
(``FORCE_EVAL/PRINT``). Energies contain -TS of smeared occupations, so they are what forces are
derivatives of. The stress has the opposite sign of ASE's, and a unit that the output names. Moments
are Mulliken's.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase import units
from ase.calculators.singlepoint import SinglePointCalculator

from mlffjax.errors import InputError

MARK = "CP2K|"
"""Begins lines of every output."""
PRESSURES = {"bar": units.bar, "kbar": 1e3 * units.bar, "Pa": units.Pascal, "GPa": units.GPa}
_N = r"\s+([-+]?\d+\.?\d*(?:[ED][-+]?\d+)?)"
_ENERGY = re.compile(r"ENERGY\| Total FORCE_EVAL.*energy \[(?:a\.u\.|hartree)\]:?" + _N)
_CELL = re.compile(rf"^ *CELL\| Vector [abc] \[angstrom\]:?{_N * 3}", re.MULTILINE)
_PERIODIC = re.compile(r"^ *CELL\| Periodicity\s+(\w+)", re.MULTILINE)
_ATOMS = re.compile(r"ATOMIC COORDINATES IN ANGSTROM\s*\n.*Kind.*\n((?:\s*\d+\s+\d+\s+\w+.*\n)+)")
_ATOM = re.compile(rf"\s*\d+\s+\d+\s+\w+\s+(\d+){_N * 3}")
_FORCES = re.compile(
    r"(?:ATOMIC FORCES in \[a\.u\.\]\s*\n.*Kind.*|FORCES\| Atomic forces \[hartree/bohr\].*\n.*)\n"
    r"((?: *(?:FORCES\|)? *\d+ .*\n)+)"
)
_FORCE = re.compile(rf"(?:FORCES\|\s+\d+|\d+\s+\d+\s+\w+){_N * 3}")
_STRESS = re.compile(
    r"Analytical stress tensor \[(\w+)\]\s*\n.*\n((?:\s*STRESS\|\s+[xyz]\s.*\n){3})"
)
_ROW = re.compile(rf"[xyz]{_N * 3}")
_MULLIKEN = re.compile(r"Atomic population \(alpha,beta\).*\n((?:\s*\d+\s+\w+\s+\d+.*\n)+)")
_VERSION = re.compile(r"CP2K\| version string:\s*CP2K version (\S+)")


class NoResult(InputError):
    """The program itself says that it has found no self-consistent density."""


def read(path: Path) -> ase.Atoms | None:
    """The structure with its results, and ``version`` in its ``info``.

    Args:
        path: what CP2K wrote to its ``-o`` file or to standard output.

    Returns:
        None while the output has no end.

    Raises:
        NoResult: the density is not self-consistent, or CP2K stopped with an error.
        InputError: the output is of several structures, or energy, forces, coordinates or cell are
            not in it.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    if "SCF run NOT converged" in text:
        raise NoResult(f"{path}: the density is not self-consistent; more steps, or less mixing")
    if "[ABORT]" in text:
        raise NoResult(f"{path}: CP2K gave up; its reason is at the end of that file")
    if "PROGRAM ENDED AT" not in text:
        return None
    energies, forces, places = _ENERGY.findall(text), _FORCES.findall(text), _ATOMS.findall(text)
    cell = [_numbers(found) for found in _CELL.findall(text)[-3:]]
    if len(energies) > 1:
        raise InputError(f"{path}: expected one single point, got {len(energies)} energies")
    if not (energies and forces and places and len(cell) == 3):
        raise InputError(
            f"{path}: expected energy, atomic forces, coordinates and cell of a single point, as "
            "CP2K 8.1 and newer print them, got no or only some of them; ask for FORCES ON in "
            "FORCE_EVAL/PRINT at PRINT_LEVEL MEDIUM"
        )
    rows = _ATOM.findall(places[-1])
    axes = (_PERIODIC.findall(text) or ["XYZ"])[-1]
    atoms = ase.Atoms(
        numbers=[int(row[0]) for row in rows],
        positions=[_numbers(row[1:]) for row in rows],
        cell=cell,
        pbc=[axis in axes for axis in "XYZ"],
    )
    energy = _numbers(energies)[0] * units.Hartree
    found = np.array([_numbers(row) for row in _FORCE.findall(forces[-1])])
    if found.shape != (len(atoms), 3):
        raise InputError(f"{path}: expected forces on {len(atoms)} atoms, got {found.shape}")
    results: dict[str, Any] = {"energy": energy, "free_energy": energy}
    results["forces"] = found * (units.Hartree / units.Bohr)
    results |= _stress(text, path) | _moments(text)
    atoms.calc = SinglePointCalculator(atoms, **results)
    version = _VERSION.search(text)
    atoms.info["version"] = version[1] if version else "unknown"
    return atoms


def _numbers(words: Iterable[str]) -> list[float]:
    return [float(word.replace("D", "E")) for word in words]


def _stress(text: str, path: Path) -> dict[str, np.ndarray]:
    """Six numbers in eV/Å³, ASE's sign, if there is a stress.

    Raises:
        InputError: its unit is unknown.
    """
    found = _STRESS.findall(text)
    if not found:
        return {}
    unit, block = found[-1]
    if unit not in PRESSURES:
        raise InputError(f"{path}: expected a stress in {', '.join(PRESSURES)}, got {unit}")
    matrix = np.array([_numbers(row) for row in _ROW.findall(block)])
    matrix = -(matrix + matrix.T) / 2 * PRESSURES[unit]
    return {"stress": matrix[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]}


def _moments(text: str) -> dict[str, np.ndarray]:
    """Spin moments, the last column of Mulliken's analysis of two spins."""
    found = _MULLIKEN.findall(text)
    if not found:
        return {}
    return {"magmoms": np.array([float(line.split()[-1]) for line in found[-1].splitlines()])}
