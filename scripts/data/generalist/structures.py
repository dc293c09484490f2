"""Generate the unlabelled structures of the generalist's training set.

    python scripts/data/generalist/structures.py --out build/structures.xyz [--count 3000]

Families (see ``families.py``) are interleaved: any prefix of the file has the same mixture as the
whole, so labelling can stop at any time. None of the structures comes from the bundled PBE set; in
particular Sb2Te3 and its intercalates appear only in other cells (1x1, 2x1, sqrt3 x sqrt3), never
the 2x2 one.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write

from families import FAMILIES
from prototypes import ELEMENTS
from variations import CLOSEST, LARGEST, separation

ATTEMPTS = 40  # draws per structure before a family is considered broken


def isolated_atoms() -> list[Atoms]:
    """One atom of each element in a box wide enough to be alone."""
    atoms = [
        Atoms(element, positions=[[6, 6, 6]], cell=[12, 12, 12], pbc=True) for element in ELEMENTS
    ]
    for one in atoms:
        one.info |= {
            "config_type": "IsolatedAtom",
            "source": "isolated atom",
            "group": f"atom_{one.symbols}",
        }
    return atoms


def draw(family: str, seed: int, index: int) -> Atoms:
    """The ``index``-th structure of a family, reproducible independently of all others."""
    function = FAMILIES[family][0]
    rng = np.random.default_rng([seed, *family.encode(), index])
    for _ in range(ATTEMPTS):
        drawn = function(rng)
        if drawn is None:
            continue
        atoms, label = drawn
        if len(atoms) <= LARGEST and separation(atoms) > CLOSEST:
            break
    else:
        raise RuntimeError(f"family {family!r} produced nothing usable in {ATTEMPTS} attempts")
    clean = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
    clean.info = {"config_type": family, "source": label, "group": f"{family}_{index:04d}"}
    return clean


def reserved(atoms: Atoms) -> bool:
    """Whether a structure has the size and content of the PBE set's 2x2 cell of Sb2Te3."""
    antimony, tellurium = atoms.symbols.count("Sb"), atoms.symbols.count("Te")
    return 18 <= len(atoms) <= 22 and abs(antimony - 8) <= 1 and abs(tellurium - 12) <= 1


def interleaved(count: int) -> Iterator[tuple[str, int]]:
    """(family, index) pairs, well mixed, about ``count`` of them."""
    total = sum(wanted for _, wanted in FAMILIES.values())
    slots = []
    for family, (_, wanted) in FAMILIES.items():
        number = round(count * wanted / total)
        slots += [((index + 0.5) / number, family, index) for index in range(number)]
    for _, family, index in sorted(slots):
        yield family, index


def main() -> None:
    """Write the structures as extended XYZ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    structures = isolated_atoms()
    structures += [
        draw(family, arguments.seed, index) for family, index in interleaved(arguments.count)
    ]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write(arguments.out, structures, format="extxyz")
    sizes = [len(atoms) for atoms in structures]
    print(
        f"{len(sizes)} structures, {np.median(sizes):.0f} atoms in the median, {max(sizes)} at most"
    )


if __name__ == "__main__":
    main()
