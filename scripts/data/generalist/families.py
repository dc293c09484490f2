"""The families of structures the generalist learns from; one function draws one structure.

A family takes a random generator and returns ``(atoms, label)``, or ``None`` when a draw did not
work out (no room for an interstitial, say). ``FAMILIES`` maps its name, which becomes
``config_type``, to the function and to the number of structures wanted out of 3000.
"""

from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.build import make_supercell, surface
from ase.neighborlist import neighbor_list

import layers
from prototypes import (
    BINARY,
    COMPOUNDS,
    ELEMENTAL,
    ELEMENTS,
    TERNARY,
    VOLUMES,
    bond,
    build,
    scale_to_bonds,
)
from variations import LARGEST, enlarge, insert, rattle, shear, strain, substitute, vacate, vary

Draw = tuple[Atoms, str] | None


def pick(rng: np.random.Generator, names) -> str:
    """One of ``names`` at random, as a plain string."""
    return str(rng.choice(list(names)))


def in_box(atoms: Atoms, *, margin: float = 6.5) -> Atoms:
    """Centre a molecule in a periodic box; its images are beyond the teacher's cutoff (5 Å)."""
    boxed = atoms.copy()
    boxed.set_cell(np.ptp(boxed.positions, axis=0) + margin)
    boxed.center()
    boxed.pbc = True
    return boxed


def dimer(rng: np.random.Generator) -> Draw:
    """Two atoms between 0.72 of the typical bond and 4.9 Å, denser where the curve is steep."""
    first, second = sorted(rng.choice(ELEMENTS, size=2))
    shortest = 0.72 * bond(first, second)
    distance = shortest + (4.9 - shortest) * rng.random() ** 1.5
    direction = rng.normal(size=3)
    direction *= distance / np.linalg.norm(direction)
    return in_box(Atoms([first, second], positions=[np.zeros(3), direction])), f"{first}{second}"


def cluster(rng: np.random.Generator) -> Draw:
    """Three to ten atoms grown one by one at roughly bond length from an earlier one."""
    symbols = list(rng.choice(ELEMENTS, size=rng.integers(3, 11), p=rng.dirichlet([1, 1, 1])))
    positions = [np.zeros(3)]
    while len(positions) < len(symbols):
        direction = rng.normal(size=3)
        anchor = rng.integers(len(positions))
        here = str(symbols[len(positions)])
        length = bond(str(symbols[anchor]), here) * rng.uniform(0.9, 1.15)
        point = positions[anchor] + length * direction / np.linalg.norm(direction)
        separations = [
            np.linalg.norm(point - other) / bond(here, str(symbol))
            for other, symbol in zip(positions, symbols, strict=False)
        ]
        if min(separations) > 0.82:
            positions.append(point)
    return in_box(Atoms(symbols, positions=positions)), "cluster"


def elemental(rng: np.random.Generator) -> Draw:
    """An element in any elemental structure, strained and rattled."""
    name, element = pick(rng, ELEMENTAL), pick(rng, ELEMENTS)
    atoms = enlarge(build(name, (element,)), rng, largest=12)
    return vary(atoms, rng), f"{name}:{element}"


def binary(rng: np.random.Generator) -> Draw:
    """Any two elements on any binary prototype."""
    name = pick(rng, BINARY)
    pair = tuple(rng.choice(ELEMENTS, size=2, replace=False))
    atoms = enlarge(build(name, pair), rng, largest=14)
    return vary(atoms, rng), f"{name}:{''.join(pair)}"


def ternary(rng: np.random.Generator) -> Draw:
    """All three elements on any ternary prototype."""
    name = pick(rng, TERNARY)
    triple = tuple(rng.permutation(ELEMENTS))
    atoms = enlarge(build(name, triple), rng, largest=14)
    return vary(atoms, rng), f"{name}:{''.join(triple)}"


def compound(rng: np.random.Generator) -> Draw:
    """Known Cr-Sb-Te compounds near equilibrium: small strains, small to medium rattling."""
    label, name, elements = COMPOUNDS[rng.integers(len(COMPOUNDS))]
    atoms = enlarge(build(name, tuple(elements.split())), rng, largest=20)
    return vary(atoms, rng, strength=0.7), label


def nickeline(rng: np.random.Generator) -> Draw:
    """NiAs cells whose metal planes are partly empty, from CrTe over Cr2Te3 to CrTe2."""
    metal, anion = [("Cr", "Te"), ("Cr", "Te"), ("Cr", "Sb"), ("Sb", "Te")][rng.integers(4)]
    cell = build("nias", (metal, anion))
    planes = [np.diag([1, 1, 1]), np.diag([2, 1, 1]), layers.PLANES["r3"], np.diag([2, 2, 1])]
    atoms = make_supercell(cell, planes[rng.integers(4)])
    atoms = vacate(atoms, rng, count=int(rng.integers(0, len(atoms) // 4 + 1)), element=metal)
    if rng.random() < 0.3:
        atoms = substitute(atoms, rng, fraction=0.2)
    return vary(atoms, rng, strength=0.8), f"{metal}x{anion}"


def alloy(rng: np.random.Generator) -> Draw:
    """Random occupation of a parent lattice, rescaled to sensible bonds."""
    name = pick(
        rng,
        ["bcc", "fcc", "hcp", "sc", "A7", "rocksalt", "nias", "zincblende", "tetradymite", "omega"],
    )
    parent = build(name, ("Sb", "Te")[: 1 if name in ELEMENTAL else 2])
    atoms = enlarge(enlarge(parent, rng, largest=16), rng, largest=16)
    atoms.set_chemical_symbols(
        list(rng.choice(ELEMENTS, size=len(atoms), p=rng.dirichlet([1.5, 1.5, 1.5])))
    )
    if rng.random() < 0.3:
        atoms = vacate(atoms, rng, count=1)
    return vary(scale_to_bonds(atoms, rng.uniform(0.97, 1.08)), rng, strength=0.8), name


def packing(rng: np.random.Generator) -> Draw:
    """Random atoms in a random cell, pushed apart to at least 0.8-0.95 of a bond."""
    count = int(rng.integers(3, 15))
    symbols = [str(s) for s in rng.choice(ELEMENTS, size=count, p=rng.dirichlet([1, 1, 1]))]
    cell = np.diag(rng.uniform(0.7, 1.4, size=3)) + rng.normal(scale=0.12, size=(3, 3))
    volume = sum(VOLUMES[symbol] for symbol in symbols) * rng.uniform(0.85, 1.5)
    cell *= (volume / abs(np.linalg.det(cell))) ** (1 / 3)
    atoms = Atoms(symbols, scaled_positions=rng.random((count, 3)), cell=cell, pbc=True)
    atoms = push_apart(atoms, rng.uniform(0.8, 0.95))
    return None if atoms is None else (atoms, "packing")


def push_apart(atoms: Atoms, closest: float, *, sweeps: int = 60) -> Atoms | None:
    """Move overlapping pairs apart until all are beyond ``closest`` bonds; None if that fails."""
    atoms = atoms.copy()
    symbols = atoms.get_chemical_symbols()
    for _ in range(sweeps):
        first, second, distance, vector = neighbor_list("ijdD", atoms, 3.2)
        wanted = closest * np.array(
            [bond(symbols[i], symbols[j]) for i, j in zip(first, second, strict=True)]
        )
        overlap = wanted - distance
        if len(distance) == 0 or overlap.max() < 1e-3:
            return atoms
        close = overlap > 0
        # Both directions of a pair are listed, so each atom moves by about half of the overlap.
        shift = -0.6 * (overlap / np.maximum(distance, 1e-3))[close, None] * vector[close]
        np.add.at(atoms.positions, first[close], shift)
    return None


def slab(rng: np.random.Generator) -> Draw:
    """A low-index surface of an element or compound with 8-12 Å of vacuum."""
    if rng.random() < 0.4:
        name, element = pick(rng, ["bcc", "fcc", "hcp", "A7", "A8", "sc"]), pick(rng, ELEMENTS)
        bulk, label = build(name, (element,), conventional=True), f"{name}:{element}"
    else:
        name = pick(
            rng, ["rocksalt", "zincblende", "nias", "cdi2", "tetradymite", "cscl", "wurtzite"]
        )
        pair = tuple(rng.choice(ELEMENTS, size=2, replace=False))
        bulk, label = (
            build(name, pair, conventional=name != "tetradymite"),
            f"{name}:{''.join(pair)}",
        )
    facets = [(0, 0, 1), (1, 0, 0), (1, 1, 0), (1, 1, 1)]
    atoms = surface(
        bulk,
        facets[rng.integers(4)],
        int(rng.integers(1, 4)),
        vacuum=rng.uniform(4, 6),
        periodic=True,
    )
    return (vary(atoms, rng, strength=0.5), label) if len(atoms) <= LARGEST else None


def defect(rng: np.random.Generator) -> Draw:
    """Vacancies, antisites and interstitials in a small supercell of a known compound."""
    label, name, elements = COMPOUNDS[rng.integers(len(COMPOUNDS))]
    atoms = build(name, tuple(elements.split()))
    while len(atoms) <= 10:
        atoms = enlarge(atoms, rng, largest=22)
    kind = pick(rng, ["vacancy", "antisite", "interstitial", "interstitial", "pair"])
    if kind in ("vacancy", "pair"):
        atoms = vacate(atoms, rng, count=1)
    if kind in ("antisite", "pair"):
        atoms = substitute(atoms, rng, fraction=1.5 / len(atoms))
    if kind == "interstitial":
        atoms = insert(atoms, rng, pick(rng, ELEMENTS))
        if atoms is None:
            return None
    return vary(atoms, rng, strength=0.5), f"{label}:{kind}"


def equation_of_state(rng: np.random.Generator) -> Draw:
    """Ideal crystals, isotropically strained, so that the minimum in volume is well covered."""
    table = [ELEMENTAL, BINARY, TERNARY][rng.integers(3)]
    name = pick(rng, table)
    elements = tuple(rng.permutation(ELEMENTS))
    atoms = strain(build(name, elements), rng, low=-0.12, high=0.18)
    return (
        shear(atoms, rng, size=0.04) if rng.random() < 0.3 else atoms
    ), f"{name}:{''.join(elements)}"


def _rattled(
    draw: Callable[[np.random.Generator], Draw], high: float
) -> Callable[[np.random.Generator], Draw]:
    """Wrap a family so that two thirds of its structures are also rattled by up to ``high`` Å."""

    def wrapped(rng: np.random.Generator) -> Draw:
        drawn = draw(rng)
        if drawn is None or rng.random() < 0.33:
            return drawn
        return rattle(drawn[0], rng, high=high), drawn[1]

    return wrapped


FAMILIES: dict[str, tuple[Callable[[np.random.Generator], Draw], int]] = {
    "dimer": (dimer, 110),
    "cluster": (cluster, 140),
    "elemental": (elemental, 250),
    "binary": (binary, 390),
    "ternary": (ternary, 260),
    "compound": (compound, 260),
    "nickeline": (nickeline, 130),
    "equation_of_state": (equation_of_state, 150),
    "alloy": (alloy, 200),
    "packing": (packing, 230),
    "slab": (slab, 130),
    "defect": (defect, 180),
    "sliding_stack": (_rattled(layers.sliding_stack, 0.25), 240),
    "bilayer_slab": (_rattled(layers.bilayer_slab, 0.25), 130),
    "intercalate": (_rattled(layers.intercalate, 0.2), 330),
}
