"""Random changes of a structure: strain, shear, rattling, supercells, vacancies, slides.

Every function takes and returns ``ase.Atoms`` (Å) without changing its argument. Randomness comes
in as a ``numpy.random.Generator``.
"""

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from prototypes import ELEMENTS

LARGEST = 26  # atoms; small cells keep both labelling and training cheap
CLOSEST = 0.7  # of the sum of covalent radii; anything closer is dropped


def strain(
    atoms: Atoms, rng: np.random.Generator, *, low: float = -0.12, high: float = 0.15
) -> Atoms:
    """Scale all lengths by 1 + u, u uniform in [low, high]."""
    strained = atoms.copy()
    strained.set_cell(atoms.cell * (1 + rng.uniform(low, high)), scale_atoms=True)
    return strained


def shear(atoms: Atoms, rng: np.random.Generator, *, size: float = 0.06) -> Atoms:
    """Apply a random symmetric deformation whose components are normal with width ``size``."""
    random = rng.normal(scale=size, size=(3, 3))
    deformation = np.eye(3) + np.clip((random + random.T) / 2, -2.5 * size, 2.5 * size)
    sheared = atoms.copy()
    sheared.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    return sheared


def rattle(
    atoms: Atoms, rng: np.random.Generator, *, low: float = 0.02, high: float = 0.5
) -> Atoms:
    """Move every atom by a normal displacement; its width is log-uniform in [low, high] Å."""
    width = np.exp(rng.uniform(np.log(low), np.log(high)))
    rattled = atoms.copy()
    rattled.positions += rng.normal(scale=width, size=rattled.positions.shape)
    return rattled


def vary(atoms: Atoms, rng: np.random.Generator, *, strength: float = 1.0) -> Atoms:
    """Strain, shear and rattle together, each with its own probability and a random size."""
    size = strength * rng.choice([0.25, 0.5, 1.0])
    varied = strain(atoms, rng, low=-0.12 * size, high=0.15 * size)
    if rng.random() < 0.5:
        varied = shear(varied, rng, size=0.06 * size)
    if rng.random() < 0.85:
        varied = rattle(varied, rng, high=0.05 + 0.45 * size)
    return varied


def enlarge(atoms: Atoms, rng: np.random.Generator, *, largest: int = 16) -> Atoms:
    """Repeat along randomly chosen short axes up to ``largest`` atoms."""
    while rng.random() < 0.7 and 2 * len(atoms) <= largest:
        lengths = atoms.cell.lengths()
        axis = int(np.argmin(lengths * rng.uniform(0.8, 1.25, size=3)))
        repeats = [1, 1, 1]
        repeats[axis] = 2
        atoms = atoms.repeat(repeats)
    return atoms


def substitute(atoms: Atoms, rng: np.random.Generator, *, fraction: float) -> Atoms:
    """Give each atom, with probability ``fraction``, a random element."""
    mixed = atoms.copy()
    symbols = np.array(mixed.get_chemical_symbols())
    chosen = rng.random(len(symbols)) < fraction
    symbols[chosen] = rng.choice(ELEMENTS, size=int(chosen.sum()))
    mixed.set_chemical_symbols(list(symbols))
    return mixed


def vacate(
    atoms: Atoms, rng: np.random.Generator, *, count: int, element: str | None = None
) -> Atoms:
    """Remove ``count`` atoms (of one element, if given) but never the last one."""
    symbols = atoms.get_chemical_symbols()
    candidates = [i for i, symbol in enumerate(symbols) if element in (None, symbol)]
    count = min(count, len(candidates), len(atoms) - 1)
    kept = atoms.copy()
    del kept[list(rng.choice(candidates, size=count, replace=False))]
    return kept


def insert(
    atoms: Atoms, rng: np.random.Generator, element: str, *, closest: float = 0.78
) -> Atoms | None:
    """Add one atom at the roomiest of a few random points, or None if all are tight."""
    best, room = None, closest
    for fractional in rng.random((12, 3)):
        trial = atoms + Atoms(element, positions=[fractional @ atoms.cell.array])
        distance = nearest(trial, len(atoms))
        if distance > room:
            best, room = trial, distance
        if room > 1.0:
            break
    return best


def nearest(atoms: Atoms, index: int) -> float:
    """Distance of an atom to its closest neighbour, relative to the covalent sum (8 if lonely)."""
    centre, other, distance = neighbor_list("ijd", atoms, 4.5)
    mask = centre == index
    if not mask.any():
        return 8.0
    radii = covalent_radii[atoms.numbers]
    return float((distance[mask] / (radii[index] + radii[other[mask]])).min())


def separation(atoms: Atoms) -> float:
    """Smallest distance between atoms or images, relative to the covalent sum (8 if none)."""
    first, second, distance = neighbor_list("ijd", atoms, 3.0)
    if len(distance) == 0:
        return 8.0
    radii = covalent_radii[atoms.numbers]
    return float((distance / (radii[first] + radii[second])).min())


def hexagonal_slab(layer: Atoms, *, vacuum: float) -> Atoms:
    """Put a layer into a cell with c normal to the plane and ``vacuum`` Å of empty space."""
    slab = layer.copy()
    height = np.ptp(slab.positions[:, 2])
    cell = slab.cell.array
    cell[2] = [0, 0, height + vacuum]
    slab.set_cell(cell, scale_atoms=False)
    slab.positions[:, 2] += vacuum / 2 - slab.positions[:, 2].min()
    return slab


def split_layers(atoms: Atoms, *, gap: float = 1.9) -> list[Atoms]:
    """Cut a crystal at its empty planes (wider than ``gap`` Å along z) into whole, sorted slabs."""
    order = np.argsort(atoms.positions[:, 2])
    sorted_atoms = atoms[order]
    heights = sorted_atoms.positions[:, 2]
    period = atoms.cell.array[2, 2]
    spaces = np.diff(np.append(heights, heights[0] + period))
    cuts = [i for i, space in enumerate(spaces) if space > gap]
    if not cuts:
        return []
    start = cuts[-1] + 1
    rolled = sorted_atoms[np.roll(np.arange(len(atoms)), -start)]
    wrapped = np.arange(len(atoms)) >= len(atoms) - start
    rolled.positions[wrapped] += atoms.cell.array[2]
    spaces = np.diff(rolled.positions[:, 2])
    pieces = np.split(np.arange(len(atoms)), np.flatnonzero(spaces > gap) + 1)
    return [rolled[piece] for piece in pieces]
