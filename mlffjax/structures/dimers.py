"""Two atoms in empty space at a range of distances, for every pair of elements."""

import itertools
from collections.abc import Sequence

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float64

from mlffjax.structures.geometry import radii
from mlffjax.structures.system import System

NEAREST, FARTHEST, POINTS = 0.8, 2.5, 52
RATIOS = np.linspace(NEAREST, FARTHEST, POINTS)
"""Distances in sums of covalent radii; the sum itself is one of them."""


def pairs(elements: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Every pair of elements once, equal ones included, by atomic number."""
    return tuple(itertools.combinations_with_replacement(sorted(set(elements)), 2))


def label(pair: tuple[int, int]) -> str:
    """Name of a pair, such as ``Cr-Te``."""
    return "-".join(chemical_symbols[number] for number in pair)


def distances(pair: tuple[int, int]) -> Float64[np.ndarray, " points"]:
    """Distances of a curve, Å, ascending."""
    return RATIOS * float(radii(np.array(pair)).sum())


def curve(pair: tuple[int, int]) -> list[System]:
    """The dimers of a curve along x, first atom at the origin, nothing periodic."""
    return [
        System(
            np.array([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]]),
            np.array(pair, np.int32),
            np.zeros((3, 3)),
            np.zeros(3, bool),
        )
        for distance in distances(pair)
    ]
