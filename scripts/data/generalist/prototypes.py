"""Crystal prototypes that any assignment of Cr, Sb and Te can fill.

A prototype is a space group, a cell shape and Wyckoff positions labelled A, B, C, D. Lengths in the
table are only ratios: ``build`` scales the crystal so that its shortest bond, relative to the
typical length of that pair of elements, is as long as its coordination suggests. Positions are the
textbook ones (International Tables, setting 1); free parameters are those of a well-known member.
"""

from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from ase.spacegroup import crystal

ELEMENTS = ("Cr", "Sb", "Te")

# Typical nearest-neighbour distances at six-fold coordination, Å.
BONDS = {
    ("Cr", "Cr"): 2.46,
    ("Cr", "Sb"): 2.74,
    ("Cr", "Te"): 2.76,
    ("Sb", "Sb"): 3.00,
    ("Sb", "Te"): 3.02,
    ("Te", "Te"): 3.02,
}
# Volume per atom in dense compounds, Å^3.
VOLUMES = {"Cr": 11.5, "Sb": 30.0, "Te": 33.0}


class Prototype(NamedTuple):
    """One crystal structure type; ``layered`` marks a van der Waals gap along c."""

    group: int
    shape: tuple[float, ...]
    sites: tuple[tuple[str, tuple[float, float, float]], ...]
    layered: bool = False


THIRD = 1 / 3
HEXAGON = (THIRD, 2 * THIRD)


def _cubic(group: int, *sites: tuple[str, tuple[float, float, float]]) -> Prototype:
    return Prototype(group, (1, 1, 1, 90, 90, 90), sites)


def _hexagonal(group: int, ratio: float, *sites: tuple, layered: bool = False) -> Prototype:
    return Prototype(group, (1, 1, ratio, 90, 90, 120), sites, layered)


def _box(
    group: int, lengths: tuple[float, float, float], *sites: tuple, layered: bool = False
) -> Prototype:
    return Prototype(group, (*lengths, 90, 90, 90), sites, layered)


ELEMENTAL = {
    "sc": _cubic(221, ("A", (0, 0, 0))),
    "bcc": _cubic(229, ("A", (0, 0, 0))),
    "fcc": _cubic(225, ("A", (0, 0, 0))),
    "diamond": _cubic(227, ("A", (0, 0, 0))),
    "hcp": _hexagonal(194, 1.61, ("A", (*HEXAGON, 0.25))),
    "A7": _hexagonal(166, 2.62, ("A", (0, 0, 0.2335)), layered=True),
    "A8": _hexagonal(152, 1.33, ("A", (0.2636, 0, THIRD))),
    "beta_tin": _box(141, (1, 1, 0.546), ("A", (0, 0, 0))),
    "honeycomb": _hexagonal(191, 1.5, ("A", (*HEXAGON, 0)), layered=True),
    "omega": _hexagonal(191, 0.61, ("A", (0, 0, 0)), ("A", (*HEXAGON, 0.5))),
}

BINARY = {
    "rocksalt": _cubic(225, ("A", (0, 0, 0)), ("B", (0.5, 0.5, 0.5))),
    "cscl": _cubic(221, ("A", (0, 0, 0)), ("B", (0.5, 0.5, 0.5))),
    "zincblende": _cubic(216, ("A", (0, 0, 0)), ("B", (0.25, 0.25, 0.25))),
    "wurtzite": _hexagonal(186, 1.633, ("A", (*HEXAGON, 0)), ("B", (*HEXAGON, 0.375))),
    "nias": _hexagonal(194, 1.5, ("A", (0, 0, 0)), ("B", (*HEXAGON, 0.25))),
    "wc": _hexagonal(187, 0.98, ("A", (0, 0, 0)), ("B", (*HEXAGON, 0.5))),
    "mnp": _box(62, (5.26, 3.17, 5.92), ("A", (0.005, 0.25, 0.197)), ("B", (0.188, 0.25, 0.569))),
    "ges": _box(
        62,
        (10.47, 3.64, 4.30),
        ("A", (0.122, 0.25, 0.106)),
        ("B", (0.851, 0.25, 0.503)),
        layered=True,
    ),
    "gete": _hexagonal(160, 2.56, ("A", (0, 0, 0)), ("B", (0, 0, 0.474))),
    "pbo": _box(129, (1, 1, 1.26), ("A", (0, 0, 0)), ("B", (0, 0.5, 0.24)), layered=True),
    "l10": _box(123, (1, 1, 1.35), ("A", (0, 0, 0)), ("B", (0.5, 0.5, 0.5))),
    "cdi2": _hexagonal(164, 1.58, ("A", (0, 0, 0)), ("B", (*HEXAGON, 0.25)), layered=True),
    "mos2": _hexagonal(194, 3.6, ("A", (*HEXAGON, 0.25)), ("B", (*HEXAGON, 0.63)), layered=True),
    "fluorite": _cubic(225, ("A", (0, 0, 0)), ("B", (0.25, 0.25, 0.25))),
    "rutile": _box(136, (1, 1, 0.65), ("A", (0, 0, 0)), ("B", (0.305, 0.305, 0))),
    "pyrite": _cubic(205, ("A", (0, 0, 0)), ("B", (0.385, 0.385, 0.385))),
    "marcasite": _box(58, (6.03, 6.87, 3.27), ("A", (0, 0, 0)), ("B", (0.178, 0.363, 0))),
    "mosi2": _box(139, (1, 1, 2.45), ("A", (0, 0, 0)), ("B", (0, 0, THIRD))),
    "laves": _cubic(227, ("A", (0, 0, 0)), ("B", (0.625, 0.625, 0.625))),
    "l12": _cubic(221, ("A", (0, 0, 0)), ("B", (0, 0.5, 0.5))),
    "a15": _cubic(223, ("A", (0, 0, 0)), ("B", (0.25, 0, 0.5))),
    "d03": _cubic(225, ("A", (0, 0, 0)), ("B", (0.5, 0.5, 0.5)), ("B", (0.25, 0.25, 0.25))),
    "reo3": _cubic(221, ("A", (0, 0, 0)), ("B", (0.5, 0, 0))),
    "bii3": _hexagonal(148, 2.88, ("A", (0, 0, THIRD)), ("B", (THIRD, 0, 0.08)), layered=True),
    "skutterudite": _cubic(204, ("A", (0.25, 0.25, 0.25)), ("B", (0, 0.335, 0.160))),
    "corundum": _hexagonal(167, 2.73, ("A", (0, 0, 0.352)), ("B", (0.306, 0, 0.25))),
    "tetradymite": _hexagonal(
        166, 7.14, ("A", (0, 0, 0.3988)), ("B", (0, 0, 0)), ("B", (0, 0, 0.2128)), layered=True
    ),
}

TERNARY = {
    "perovskite": _cubic(221, ("A", (0, 0, 0)), ("B", (0.5, 0.5, 0.5)), ("C", (0.5, 0.5, 0))),
    "heusler": _cubic(225, ("A", (0, 0, 0)), ("B", (0.5, 0.5, 0.5)), ("C", (0.25, 0.25, 0.25))),
    "half_heusler": _cubic(
        216, ("A", (0, 0, 0)), ("B", (0.5, 0.5, 0.5)), ("C", (0.25, 0.25, 0.25))
    ),
    "pbfcl": _box(129, (1, 1, 1.7), ("A", (0, 0, 0)), ("B", (0, 0.5, 0.20)), ("C", (0, 0.5, 0.65))),
    "delafossite": _hexagonal(166, 5.7, ("A", (0, 0, 0)), ("B", (0, 0, 0.5)), ("C", (0, 0, 0.11))),
    "nafeo2": _hexagonal(166, 5.2, ("A", (0, 0, 0)), ("B", (0, 0, 0.5)), ("C", (0, 0, 0.24))),
    "chalcopyrite": _box(
        122, (1, 1, 1.97), ("A", (0, 0, 0)), ("B", (0, 0, 0.5)), ("C", (0.25, 0.25, 0.125))
    ),
    "spinel": _cubic(
        227, ("A", (0, 0, 0)), ("B", (0.625, 0.625, 0.625)), ("C", (0.387, 0.387, 0.387))
    ),
    "crgete3": _hexagonal(
        148,
        3.01,
        ("A", (0, 0, 0.3302)),
        ("B", (0, 0, 0.072)),
        ("C", (0.663, -0.033, 0.2482)),
        layered=True,
    ),
    "mixed_tetradymite": _hexagonal(
        166, 7.14, ("A", (0, 0, 0.3988)), ("B", (0, 0, 0)), ("C", (0, 0, 0.2128)), layered=True
    ),
    "septuple": _hexagonal(
        166,
        9.45,
        ("A", (0, 0, 0)),
        ("B", (0, 0, 0.425)),
        ("C", (0, 0, 0.1337)),
        ("C", (0, 0, 0.294)),
        layered=True,
    ),
}

# Compounds that exist or are close to ones that do: (name, prototype, elements on A, B, C).
COMPOUNDS = (
    ("Sb2Te3", "tetradymite", "Sb Te"),
    ("CrTe", "nias", "Cr Te"),
    ("CrSb", "nias", "Cr Sb"),
    ("CrTe2", "cdi2", "Cr Te"),
    ("CrTe3", "bii3", "Cr Te"),
    ("CrSb2", "marcasite", "Cr Sb"),
    ("SbTe", "rocksalt", "Sb Te"),
    ("CrSb2Te4", "septuple", "Cr Sb Te"),
    ("CrSbTe3", "crgete3", "Cr Sb Te"),
    ("CrSbTe2", "nafeo2", "Cr Sb Te"),
    ("Cr", "bcc", "Cr"),
    ("Sb", "A7", "Sb"),
    ("Te", "A8", "Te"),
)

ALL = ELEMENTAL | BINARY | TERNARY


def bond(first: str, second: str) -> float:
    """Typical bond length of two elements, Å."""
    return BONDS[(first, second) if first <= second else (second, first)]


def build(name: str, elements: tuple[str, ...], *, conventional: bool = False) -> Atoms:
    """Fill prototype ``name``; ``elements[i]`` goes to the i-th label (A, B, C)."""
    prototype = ALL[name]
    symbols = [elements["ABCD".index(label)] for label, _ in prototype.sites]
    # A generous size keeps the duplicate-site tolerance of ase.spacegroup meaningful.
    lengths = np.asarray(prototype.shape[:3]) * 10.0 / prototype.shape[0]
    atoms = crystal(
        symbols,
        [position for _, position in prototype.sites],
        spacegroup=prototype.group,
        cellpar=[*lengths, *prototype.shape[3:]],
        primitive_cell=not conventional,
    )
    atoms = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)
    return scale_to_bonds(atoms)


def scale_to_bonds(atoms: Atoms, factor: float = 1.0) -> Atoms:
    """Scale the cell so that the shortest relative bond is typical for its coordination.

    Bonds grow like coordination to the power 0.06, a compromise between the molecular limit and
    close packing that brings the known compounds of this table within about 5 % of experiment.
    """
    atoms = atoms.copy()
    target = sum(VOLUMES[symbol] for symbol in atoms.get_chemical_symbols())
    atoms.set_cell(atoms.cell * (target / atoms.get_volume()) ** THIRD, scale_atoms=True)
    first, second, distance = neighbor_list("ijd", atoms, 7.0)
    symbols = atoms.get_chemical_symbols()
    relative = distance / np.array(
        [bond(symbols[i], symbols[j]) for i, j in zip(first, second, strict=True)]
    )
    shortest = relative.min()
    coordination = np.bincount(first[relative < 1.12 * shortest]).max()
    length = factor * (max(coordination, 2) / 6) ** 0.06
    atoms.set_cell(atoms.cell * (length / shortest), scale_atoms=True)
    return atoms
