"""Layered structures: stacks with chosen gaps and slides, bilayers in vacuum, intercalates.

A *layer* is a slab with in-plane periodicity cut from a layered prototype. Stacking two layers with
a gap and a slide gives every kind of van der Waals registry; atoms are then put in the gaps or
inside the layers. The cells are 1x1, 2x1 or sqrt(3) x sqrt(3) in the plane.
"""

import numpy as np
from ase import Atoms
from ase.build import make_supercell

from prototypes import ELEMENTS, bond, build
from variations import hexagonal_slab, nearest, split_layers

# (prototype, element assignments that make a plausible host), the first ones most often
HOSTS = (
    ("tetradymite", ("Sb Te", "Sb Te", "Sb Te", "Cr Te", "Te Sb", "Sb Cr", "Cr Sb")),
    ("mixed_tetradymite", ("Sb Cr Te", "Sb Sb Te", "Cr Te Sb", "Sb Te Sb", "Cr Sb Te")),
    ("cdi2", ("Cr Te", "Cr Te", "Sb Te", "Cr Sb", "Te Sb", "Te Cr", "Te Te")),
    ("mos2", ("Cr Te", "Sb Te", "Cr Sb")),
    ("septuple", ("Cr Sb Te", "Sb Sb Te", "Te Sb Te", "Sb Cr Te")),
    ("A7", ("Sb", "Te", "Cr")),
    ("ges", ("Sb Te", "Cr Te")),
    ("pbo", ("Cr Te", "Sb Te", "Sb Cr")),
    ("bii3", ("Cr Te", "Sb Te")),
)
PLANES = {
    "1x1": np.eye(3, dtype=int),
    "2x1": np.diag([2, 1, 1]),
    "r3": np.array([[2, 1, 0], [-1, 1, 0], [0, 0, 1]]),
}


def random_layer(
    rng: np.random.Generator, *, antimony_telluride: float = 0.35
) -> tuple[Atoms, str]:
    """One layer of a random host; Sb2Te3 with probability ``antimony_telluride``."""
    if rng.random() < antimony_telluride:
        name, assignment = "tetradymite", "Sb Te"
    else:
        name, assignments = HOSTS[rng.integers(len(HOSTS))]
        assignment = assignments[rng.integers(len(assignments))]
    crystal = build(name, tuple(assignment.split()), conventional=True)
    if name == "ges":  # its gap is along a
        crystal = Atoms(
            crystal.symbols,
            positions=crystal.positions[:, [1, 2, 0]],
            cell=crystal.cell.array[[1, 2, 0]][:, [1, 2, 0]],
            pbc=True,
        )
    pieces = split_layers(crystal)
    layer = pieces[rng.integers(len(pieces))] if pieces else crystal
    factor = 1 + rng.normal(scale=0.025)
    layer.set_cell(layer.cell * factor, scale_atoms=True)
    return layer, f"{name}:{assignment.replace(' ', '')}"


def in_plane(layer: Atoms, kind: str) -> Atoms:
    """Supercell of a layer without wrapping its atoms into the cell."""
    return make_supercell(layer, PLANES[kind], wrap=False)


def contact_gap(lower: Atoms, upper: Atoms) -> float:
    """Height between the facing planes that looks like a van der Waals contact, Å."""
    top = lower.get_chemical_symbols()[int(np.argmax(lower.positions[:, 2]))]
    bottom = upper.get_chemical_symbols()[int(np.argmin(upper.positions[:, 2]))]
    return 0.92 * bond(top, bottom)


def stack(layers: list[Atoms], gaps: list[float], slides: np.ndarray) -> Atoms:
    """Pile layers up: ``gaps[i]`` Å of height and ``slides[i]`` Å in the plane follow layer i.

    The last gap and slide lead to the periodic image, so c is tilted like in rhombohedral crystals.
    """
    cell = layers[0].cell.array.copy()
    positions, symbols, offset = [], [], np.zeros(3)
    for layer, gap, slide in zip(layers, gaps, slides, strict=True):
        local = layer.positions - [0, 0, layer.positions[:, 2].min()]
        positions.append(local + offset)
        symbols += layer.get_chemical_symbols()
        offset = offset + np.array([*slide, np.ptp(local[:, 2]) + gap])
    cell[2] = offset
    return Atoms(symbols, positions=np.vstack(positions), cell=cell, pbc=True)


def random_slide(rng: np.random.Generator, cell: np.ndarray) -> np.ndarray:
    """A high-symmetry registry of the hexagonal plane or any point of the cell, Å."""
    if rng.random() < 0.5:
        fraction = np.array([[0, 0], [2 / 3, 1 / 3], [1 / 3, 2 / 3], [0.5, 0.5]])[rng.integers(4)]
    else:
        fraction = rng.random(2)
    return fraction @ cell[:2, :2]


def sliding_stack(rng: np.random.Generator) -> tuple[Atoms, str]:
    """One or two layers per cell with random gaps (-10 to +100 % of contact) and rigid slides."""
    layer, name = random_layer(rng)
    layers = [layer] * (2 if 2 * len(layer) <= 14 and rng.random() < 0.5 else 1)
    contact = contact_gap(layer, layer)
    gaps = [contact * rng.choice([rng.uniform(0.9, 1.2), rng.uniform(0.9, 2.0)]) for _ in layers]
    slides = np.array([random_slide(rng, layer.cell.array) for _ in layers])
    return stack(layers, gaps, slides), name


def bilayer_slab(rng: np.random.Generator) -> tuple[Atoms, str]:
    """One layer, or two with a random gap and slide, in 8-12 Å of vacuum."""
    lower, name = random_layer(rng)
    if rng.random() < 0.3 or 2 * len(lower) > 16:
        return hexagonal_slab(lower, vacuum=rng.uniform(8, 12)), name
    contact = contact_gap(lower, lower)
    slides = np.array([random_slide(rng, lower.cell.array), np.zeros(2)])
    pile = stack([lower, lower], [contact * rng.uniform(0.85, 1.6), 0.0], slides)
    return hexagonal_slab(pile, vacuum=rng.uniform(8, 12)), name


def intercalate(rng: np.random.Generator) -> tuple[Atoms, str] | None:
    """Guest atoms anywhere between two planes: in the gap of a host or inside its layer."""
    layer, name = random_layer(rng, antimony_telluride=0.45)
    contact = contact_gap(layer, layer)
    layer = in_plane(layer, str(rng.choice(list(PLANES), p=[0.2, 0.35, 0.45])))
    if len(layer) > 21:
        return None
    gap = contact * rng.uniform(0.95, 1.25)
    registry = np.array([random_slide(rng, layer.cell.array)])
    host = stack([layer], [gap], registry)
    for _ in range(rng.choice([1, 2], p=[0.75, 0.25])):
        guest = str(rng.choice(ELEMENTS, p=[0.7, 0.15, 0.15]))
        host = _place(host, guest, layer, gap, rng)
        if host is None:
            return None
    if rng.random() < 0.2:
        host = hexagonal_slab(host, vacuum=rng.uniform(8, 11))
    return host, name


def _place(
    host: Atoms, guest: str, layer: Atoms, gap: float, rng: np.random.Generator
) -> Atoms | None:
    """Best of random points in the gap (60 %) or layer (40 %), or None if all are tight."""
    thickness = np.ptp(layer.positions[:, 2])
    best, room = None, 0.74
    for _ in range(20):
        inside = rng.random() < 0.4
        height = rng.uniform(0, thickness) if inside else thickness + rng.uniform(0, gap)
        plane = rng.random(2) @ host.cell.array[:2, :2]
        trial = host + Atoms(guest, positions=[[*plane, height]])
        distance = nearest(trial, len(host))
        if distance > room:
            best, room = trial, distance
        if room > rng.uniform(0.8, 1.0):
            break
    return best
