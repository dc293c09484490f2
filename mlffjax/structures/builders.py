"""Cells of Sb2Te3: one quintuple layer, n x n bulk, a bilayer slab, and sites for an intercalate.

Sb2Te3 (R-3m) stacks quintuple layers Te2-Sb-Te1-Sb-Te2 along z. With hexagonal in-plane vectors a1
and a2 of length a, each layer repeats the one below moved by the stacking vector
(2 a1 + a2) / 3 + c z / 3, so one layer per cell is the whole crystal. Between the outer Te planes
of neighbouring layers lies the van der Waals gap; seen from above, each plane of atoms occupies one
of the positions 0, p, -p (p = (2 a1 + a2) / 3) of a triangular lattice.

Lattice and internal coordinates: Anderson and Krause, Acta Cryst. B 30, 1307 (1974),
doi:10.1107/S0567740874004729.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from mlffjax.errors import InputError
from mlffjax.structures.system import System

A = 4.264  # Å
C = 30.458  # Å
SB = 0.3988  # internal coordinate z/c of Sb (site 6c)
TE2 = 0.2128  # of the outer Te (site 6c); the inner Te (site 3a) is at 0
TE, SB_NUMBER, CR = 52, 51, 24


class GapSites(NamedTuple):
    """Sites in the middle of the van der Waals gap above the topmost Te plane, Å.

    Attributes:
        octahedral: six Te neighbours, three below and three above.
        over_te: straight above a Te of the lower plane; tetrahedral.
        under_te: straight below a Te of the upper plane; tetrahedral.
    """

    octahedral: Float64[np.ndarray, " 3"]
    over_te: Float64[np.ndarray, " 3"]
    under_te: Float64[np.ndarray, " 3"]


def in_plane(a: float = A) -> Float64[np.ndarray, "2 3"]:
    """The hexagonal lattice vectors a1 and a2 (120 degrees apart), Å."""
    return np.array([[a, 0.0, 0.0], [-a / 2, a * np.sqrt(3) / 2, 0.0]])


def slide_vector(a: float = A) -> Float64[np.ndarray, " 3"]:
    """In-plane move of the upper layer to the next stacking, Å; its length is a / sqrt(3).

    One such step from the stacking of the crystal leads to the other hollow stacking, two to Te
    above Te, and three are a lattice vector.
    """
    return -_registry(a)


def bulk(repeats: int = 1, *, a: float = A, c: float = C) -> System:
    """Crystal with one quintuple layer per cell, ``repeats`` x ``repeats`` in plane; 5 n² atoms.

    The layer is centred at z = 0, its atoms from bottom to top, cell after cell along a2 within a1.
    """
    a1, a2 = in_plane(a)
    stacking = _registry(a) + np.array([0.0, 0.0, c / 3])
    return _repeat(_layer(a, c), np.array([a1, a2, stacking]), repeats)


def bilayer(
    repeats: int = 1, *, a: float = A, c: float = C, height: float = C, shift: float = 0.0
) -> System:
    """Two quintuple layers and vacuum in a cell of the given ``height``; 10 n² atoms.

    The middle of the gap is at half the height. The upper layer is moved by ``shift`` slide vectors
    from the stacking of the crystal.

    Raises:
        InputError: the layers do not fit into the height.
    """
    thickness = c / 3 + 2 * (1 / 3 - TE2) * c
    if height <= thickness:
        raise InputError(
            f"expected a height above {thickness:.2f} Å, the thickness of two layers, got "
            f"{height:g}; add vacuum"
        )
    lower = _layer(a, c) + np.array([0.0, 0.0, height / 2 - c / 6])
    upper = lower + _registry(a) + shift * slide_vector(a) + np.array([0.0, 0.0, c / 3])
    cell = np.array([*in_plane(a), [0.0, 0.0, height]])
    return _repeat(np.concatenate([lower, upper]), cell, repeats)


def gap_sites(*, a: float = A, c: float = C) -> GapSites:
    """Sites above the first column of the layer of ``bulk``, at the height of the gap's middle.

    In ``bilayer`` at ``shift`` 0 they lie (height / 2 - c / 6) higher. All in-plane lattice
    translations of a site are equivalent.
    """
    p, height = _registry(a), np.array([0.0, 0.0, c / 6])
    # Lower Te plane at p; the upper one at -p + p = 0; what is left free by both is -p.
    return GapSites(octahedral=-p + height, over_te=p + height, under_te=height)


def intercalate(system: System, position: Float64[np.ndarray, " 3"], number: int = CR) -> System:
    """The system with one more atom, appended last."""
    return system._replace(
        positions=np.concatenate([system.positions, np.reshape(position, (1, 3))]),
        numbers=np.append(system.numbers, np.int32(number)).astype(np.int32),
    )


def _registry(a: float) -> Float64[np.ndarray, " 3"]:
    a1, a2 = in_plane(a)
    return (2 * a1 + a2) / 3


def _layer(a: float, c: float) -> Float64[np.ndarray, "5 3"]:
    """Te2, Sb, Te1, Sb, Te2 around the inner Te at the origin."""
    p = _registry(a)
    up = np.array([0.0, 0.0, c])
    outer, inner = p + (1 / 3 - TE2) * up, -p + (SB - 1 / 3) * up
    return np.array([-outer, -inner, np.zeros(3), inner, outer])


def _repeat(basis: np.ndarray, cell: np.ndarray, repeats: int) -> System:
    if repeats < 1:
        raise InputError(f"expected at least 1 repeat in plane, got {repeats}")
    offsets = [i * cell[0] + j * cell[1] for i in range(repeats) for j in range(repeats)]
    numbers = np.tile([TE, SB_NUMBER, TE, SB_NUMBER, TE], len(basis) // 5 * len(offsets))
    return System(
        positions=np.concatenate([basis + offset for offset in offsets]),
        numbers=numbers.astype(np.int32),
        cell=cell * np.array([[repeats], [repeats], [1.0]]),
        pbc=np.ones(3, dtype=bool),
    )
