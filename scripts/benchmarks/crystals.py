"""The structures and architectures that all sides of the benchmark compute; NumPy and ASE only."""

from typing import Any, NamedTuple

import numpy as np

ELEMENTS = (24, 51, 52)  # Cr, Sb, Te
AVERAGE_NEIGHBORS = 25.0
REFERENCE_ENERGIES = (-5.1, -3.2, -2.9)
SCALE, SHIFT = 0.8, 0.16


class Architecture(NamedTuple):
    """Hyper-parameters of a MACE with two layers."""

    channels: int = 128
    degree: int = 1  # of node features
    r_max: float = 6.0  # Å
    num_bessel: int = 10
    max_ell: int = 3
    correlation: int = 3
    radial: tuple[int, ...] = (64, 64, 64)

    @property
    def hidden(self) -> str:
        """Node features, as e3nn writes them."""
        parts = [f"{self.channels}x{d}{'eo'[d % 2]}" for d in range(self.degree + 1)]
        return " + ".join(parts)


ARCHITECTURES = {
    "tiny": Architecture(4, 1, r_max=4.0, num_bessel=4, max_ell=1, correlation=2, radial=(8,)),
    "small": Architecture(degree=0),
    "medium": Architecture(degree=1),
    "large": Architecture(degree=2),
}
"""MACE-MP-0 in its three sizes, and one that compiles at once."""

REPEATS = {
    16: (1, 1),
    61: (2, 2),
    136: (3, 3),
    376: (5, 5),
    1981: (11, 12),
    4321: (16, 18),
    10141: (26, 26),
}
HOP = 2.0  # Å along which the Cr atom is moved over a path


def cell_with_chromium(atoms: int, *, seed: int = 0, rattle: float = 0.05) -> Any:
    """Hexagonal Sb2Te3 cells side by side with one Cr in the gap, rattled."""
    from ase import Atoms
    from ase.spacegroup import crystal

    if atoms not in REPEATS:
        raise SystemExit(f"expected one of {sorted(REPEATS)} atoms, got {atoms}")
    cell = crystal(
        ["Te", "Sb", "Te"],
        [(0, 0, 0), (0, 0, 0.3988), (0, 0, 0.2128)],
        spacegroup=166,
        cellpar=[4.264, 4.264, 30.458, 90, 90, 120],
    )
    structure = cell.repeat((*REPEATS[atoms], 1))
    structure += Atoms("Cr", positions=[0.5 * cell.cell.array[2]])
    structure.rattle(rattle, seed=seed)
    return structure


def band(atoms: int, *, images: int = 9, seed: int = 0) -> list[Any]:
    """Images of a path: one atom moves, the others are rattled alike."""
    made = []
    for index in range(images):
        structure = cell_with_chromium(atoms, seed=seed)
        structure.positions[-1, 0] += HOP * index / (images - 1)
        made.append(structure)
    return made


def labelled(atoms: int, count: int) -> list[Any]:
    """Structures with made-up labels: total energies near those of the atoms, and forces."""
    random = np.random.default_rng(0)
    made = []
    for seed in range(count):
        structure = cell_with_chromium(atoms, seed=seed, rattle=0.1)
        alone = dict(zip(ELEMENTS, REFERENCE_ENERGIES, strict=True))
        energy = sum(alone[number] for number in structure.numbers) + random.normal()
        structure.info["REF_energy"] = float(energy)
        structure.arrays["REF_forces"] = random.normal(size=(len(structure), 3))
        made.append(structure)
    return made
