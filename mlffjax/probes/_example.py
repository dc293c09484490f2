"""Small systems of argon on which contract tests run every kind of probe."""

import numpy as np

from mlffjax.probes._probe import Context
from mlffjax.structures.paths import Path
from mlffjax.structures.system import Frame, System

ARGON = 18
CUTOFF = 5.5  # Å
SPACING = 3.9  # Å


def frames(count: int = 6) -> Context:
    """Rattled simple cubic argon, two kinds of frame, split into three parts."""
    rng = np.random.default_rng(7)
    made = []
    for index in range(count):
        atoms = 8 if index % 2 else 4
        positions = _cubic(atoms) + rng.normal(scale=0.1, size=(atoms, 3))
        cell = np.diag([2, 2, atoms // 4]) * SPACING
        energy, forces = -0.05 * atoms + 0.01 * rng.normal(), 0.1 * rng.normal(size=(atoms, 3))
        made.append(_frame(_system(positions, cell), f"kind{index % 2}", index, energy, forces))
    splits = {"train": (0, 1, 2), "validation": (3,), "test": (4, 5)}
    return Context((ARGON,), CUTOFF, frames=tuple(made), splits=splits)


def migration(images: int = 7, *, labelled: bool = True) -> Context:
    """An interstitial atom that hops through the face between two cells of a cubic crystal."""
    made = []
    for index, s in enumerate(np.linspace(0.0, 1.0, images)):
        positions = np.concatenate([_cubic(8), [SPACING * np.array([0.5 + s, 0.5, 0.5])]])
        energy, slope = 0.3 * np.sin(np.pi * s) ** 2, 0.3 * np.pi * np.sin(2 * np.pi * s)
        forces = np.zeros((9, 3))
        forces[8, 0] = -slope / SPACING
        labels = (energy - 1.0, forces) if labelled else (None, None)
        made.append(_frame(_system(positions, 2 * SPACING * np.eye(3)), "hop", index, *labels))
    return Context((ARGON,), CUTOFF, paths={"hop": Path("hop", tuple(made), closed=False)})


def slide(images: int = 7, *, labelled: bool = True) -> Context:
    """The upper of two square layers that slides by one lattice vector."""
    made = []
    cell = np.diag([SPACING, SPACING, 30.0])
    for index, s in enumerate(np.linspace(0.0, 1.0, images)):
        hollow = SPACING * np.array([0.5 + s, 0.5])
        positions = np.array([[0.0, 0.0, 10.0], [*hollow, 12.9]])
        energy = 0.1 * np.sin(np.pi * s) ** 2 if labelled else None
        made.append(_frame(_system(positions, cell), "slide", index, energy, None))
    return Context((ARGON,), CUTOFF, paths={"slide": Path("slide", tuple(made), closed=True)})


def _cubic(atoms: int) -> np.ndarray:
    corners = np.array([[i, j, k] for k in (0, 1) for j in (0, 1) for i in (0, 1)], float)
    return SPACING * corners[:atoms]


def _system(positions: np.ndarray, cell: np.ndarray) -> System:
    numbers = np.full(len(positions), ARGON, np.int32)
    return System(positions, numbers, np.asarray(cell, float), np.ones(3, bool))


def _frame(
    system: System, kind: str, index: int, energy: float | None, forces: np.ndarray | None
) -> Frame:
    label = None if energy is None else float(energy)
    return Frame(
        system, label, forces, None, kind, kind, float(index), f"{kind}_{index}", "example", {}
    )
