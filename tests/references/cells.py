"""Random structures in cells that users have and algorithms dislike."""

import itertools

import numpy as np

from mlffjax.structures.system import System

PBC = tuple(itertools.product([False, True], repeat=3))
KINDS = ("triclinic", "skewed", "thin", "needle", "vacuum", "lone", "empty", "left", "flat", "far")


def random_system(rng, kind, pbc, *, elements=(24, 51, 52), atoms=6, closest=0.9):
    """A structure of a kind of cell with given periods; no two atoms at one place.

    Directions without a period have a zero vector half of the time, as files of slabs and
    molecules do. Positions may lie outside the cell.
    """
    count = 1 if kind == "lone" else int(rng.integers(1, atoms + 1))
    lengths = rng.uniform(3.5, 8.0, 3)
    lengths *= {"thin": [0.5, 1, 1], "needle": [0.6, 0.6, 4.0], "empty": 30.0,
                "vacuum": [1, 1, 50.0]}.get(kind, 1.0)  # fmt: skip
    cell = np.diag(lengths) @ (np.eye(3) + rng.uniform(-0.3, 0.3, (3, 3)))
    if kind == "skewed":  # the same lattice type in a basis that nobody would choose
        cell = unimodular(rng) @ cell
    if kind == "left":
        cell[2] *= -1
    if kind == "flat":
        cell[1] = 0.97 * cell[0] + 0.35 * cell[1]
    positions = _apart(rng, cell, np.array(pbc), count, closest)
    if kind == "far":
        positions += rng.integers(-9, 10, positions.shape) * np.array(pbc) @ cell
        positions += rng.uniform(-100, 100, 3)
    cell = np.where(np.array(pbc)[:, None] | (rng.random(3) < 0.5)[:, None], cell, 0.0)
    numbers = np.array(elements, np.int32)[rng.integers(0, len(elements), len(positions))]
    return System(positions, numbers, cell, np.array(pbc))


def unimodular(rng):
    """An integer matrix of determinant 1: another basis of the same lattice."""
    matrix = np.eye(3, dtype=int)
    for _ in range(3):
        i, j = rng.choice(3, 2, replace=False)
        step = np.eye(3, dtype=int)
        step[i, j] = rng.integers(-2, 3)
        matrix = step @ matrix
    return matrix


def brute_force(system, cutoff):
    """Receivers, senders, shifts and lengths of all edges: every image in a box that is enough."""
    pbc = np.asarray(system.pbc)
    periods = system.cell[pbc]
    # Wrap, so that the images around the cell are enough; the wraps are given back below.
    wraps = np.zeros((len(system.numbers), 3), int)
    wraps[:, pbc] = np.floor(system.positions @ np.linalg.pinv(periods))
    places = system.positions - wraps @ system.cell
    heights = 1 / np.linalg.norm(np.linalg.pinv(periods), axis=0)
    reach = np.zeros(3, int)
    reach[pbc] = np.ceil(cutoff / heights).astype(int) + 1
    images = np.array(list(itertools.product(*(range(-r, r + 1) for r in reach))))
    vectors = (places[None, :, None] - places[:, None, None]) + (images @ system.cell)[None, None]
    lengths = np.linalg.norm(vectors, axis=-1)
    i, j, image = np.nonzero((lengths < cutoff) & (lengths > 1e-9))
    return i, j, images[image] + wraps[i] - wraps[j], lengths[i, j, image]


def _apart(rng, cell, pbc, count, closest):
    """Positions by rejection, no two atoms or images closer than asked."""
    for _ in range(200):
        positions = rng.uniform(0, 1, (count, 3)) @ cell
        system = System(positions, np.ones(count, np.int32), cell, pbc)
        if not len(brute_force(system, closest)[0]):
            return positions
        count = max(1, count - 1) if rng.random() < 0.2 else count
    return np.zeros((1, 3))
