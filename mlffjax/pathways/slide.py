"""Sliding layers over each other: which atoms move, where to, and what of it can be measured.

A ``Slider`` says which atoms of a layered structure move together (whole layers, with what lies
between them) and which stay. Its shifts are vectors in the plane of the layers; ``line`` and
``grid`` make sets of them, ``shifted`` the structures. Nothing is assumed about symmetry: every
point of a grid is a structure of its own. Moving layers by a lattice vector of the plane gives the
same crystal (``closing_shifts``), and every potential must return the same energy there.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from mlffjax.errors import InputError
from mlffjax.structures.layers import Gap, Layers
from mlffjax.structures.system import System

IN_PLANE = 1e-6  # part of a vector that may lead out of the plane
LATTICE = 1e-4  # Å; a shift nearer to a lattice vector is one
Side = Literal["rest", "move"]


class Slider(NamedTuple):
    """A structure of which some layers slide.

    Attributes:
        system: before any shift.
        moving: atoms that shift.
        lower, upper: atoms of the layers below and above the gap whose width is reported.
        intercalated: atoms between layers.
        lift: multiples of the period, Å along the normal, that put the upper layer over the lower.
        normal: unit vector, towards the upper layer.
        plane: primitive lattice vectors of the plane, Å.
        area: of the cell in the plane, Å².
        interfaces: gaps that are sheared: 1 in a slab, 2 in a crystal of two layers.
        vacuum: whether the layers can move apart at fixed cell.
    """

    system: System
    moving: Bool[np.ndarray, " atoms"]
    lower: Bool[np.ndarray, " atoms"]
    upper: Bool[np.ndarray, " atoms"]
    intercalated: Bool[np.ndarray, " atoms"]
    lift: Float64[np.ndarray, " atoms"]
    normal: Float64[np.ndarray, " 3"]
    plane: Float64[np.ndarray, "2 3"]
    area: float
    interfaces: int
    vacuum: bool


def slider(
    system: System,
    layers: Layers,
    *,
    moving: Sequence[int] | None = None,
    intercalated: Side = "rest",
) -> Slider:
    """Choose what slides.

    Args:
        system: the structure.
        layers: its layers.
        moving: layers that slide; by default the upper one of two.
        intercalated: whether atoms in a sheared gap stay at rest or move along. Those between two
            layers that move together always move, those on a free surface follow their layer.

    Raises:
        InputError: one layer only, more than two and none chosen, or layers that do not exist, all
            of them, or none in contact with one at rest.
    """
    count = len(layers.layers)
    chosen = _chosen(layers, moving)
    sheared = [gap for gap in layers.gaps if not gap.vacuum and _shears(gap, chosen)]
    if not sheared:
        raise InputError(
            f"expected moving layers in contact with layers at rest, but vacuum separates layers "
            f"{sorted(chosen)} from the others; choose other layers"
        )
    # The gap below the moving layers, so that the upper one is the one that moves, if there is one.
    gap = next((gap for gap in sheared if gap.above in chosen), sheared[0])
    atoms = len(system.numbers)
    masks = {name: np.zeros(atoms, bool) for name in ("moving", "lower", "upper", "guests")}
    for index in chosen:
        masks["moving"][layers.layers[index].atoms] = True
    for one in layers.gaps:
        masks["guests"][one.intercalated] = True
        masks["moving"][one.intercalated] = _follows(one, chosen, intercalated)
    masks["lower"][layers.layers[gap.below].atoms] = True
    masks["upper"][layers.layers[gap.above].atoms] = True
    return Slider(
        system=system,
        moving=masks["moving"],
        lower=masks["lower"],
        upper=masks["upper"],
        intercalated=masks["guests"],
        lift=_lift(system, layers, gap, masks["lower"], masks["upper"]),
        normal=layers.normal,
        plane=layers.plane @ system.cell,
        area=layers.area,
        interfaces=len(sheared),
        vacuum=any(one.vacuum for one in layers.gaps) and count - 1 >= len(sheared),
    )


def line(
    along: Slider, vector: Float64[np.ndarray, " 3"], images: int
) -> Float64[np.ndarray, "images 3"]:
    """Shifts from nothing to the whole vector, both included.

    Raises:
        InputError: fewer than three images, or a vector that is zero or leads out of the plane.
    """
    vector = np.asarray(vector, float)
    length = np.linalg.norm(vector)
    if images < 3:
        raise InputError(f"expected at least 3 images of a slide, got {images}")
    if vector.shape != (3,) or not np.isfinite(length) or length < LATTICE:
        raise InputError(
            f"expected a slide vector of three components, Å, and not zero, got {vector.tolist()}"
        )
    if abs(vector @ along.normal) > IN_PLANE * length:
        raise InputError(
            f"expected a slide in the plane of the layers, normal to {along.normal.tolist()}, got "
            f"{vector.tolist()} Å, which leads {vector @ along.normal:.3g} Å out of it"
        )
    return np.linspace(0.0, 1.0, images)[:, None] * vector


def lattice_vector(along: Slider, direction: Sequence[int]) -> Float64[np.ndarray, " 3"]:
    """The lattice vector with the given integer components along the cell vectors, Å.

    Raises:
        InputError: not three integers, all zero, or along a direction that is not periodic.
    """
    integers = np.asarray(direction)
    if integers.shape != (3,) or not np.issubdtype(integers.dtype, np.integer):
        raise InputError(
            f"expected a direction of three integers along the cell vectors, got {list(direction)}"
        )
    if not integers.any() or integers[~along.system.pbc].any():
        raise InputError(
            f"expected a direction along periodic cell vectors, got {list(direction)} with pbc = "
            f"{along.system.pbc.tolist()}"
        )
    return integers @ along.system.cell


def is_lattice_vector(along: Slider, vector: Float64[np.ndarray, " 3"]) -> bool:
    """Whether a shift in the plane leads back to the same crystal."""
    components = vector @ np.linalg.pinv(along.plane)
    return bool(np.linalg.norm((components - np.round(components)) @ along.plane) < LATTICE)


def grid(along: Slider, counts: tuple[int, int]) -> Float64[np.ndarray, "n m 3"]:
    """Shifts over one cell of the plane: (i / n) first + (j / m) second lattice vector.

    Raises:
        InputError: fewer than three points along a vector.
    """
    if min(counts) < 3:
        raise InputError(f"expected at least 3 x 3 points of a surface, got {counts}")
    first, second = (np.arange(count) / count for count in counts)
    return first[:, None, None] * along.plane[0] + second[None, :, None] * along.plane[1]


def closing_shifts(along: Slider) -> Float64[np.ndarray, "2 3"]:
    """Shifts that give the unshifted crystal again: the two lattice vectors of the plane."""
    return along.plane.copy()


def shifted(along: Slider, shifts: Float64[np.ndarray, "*grid 3"]) -> list[System]:
    """One structure per shift, in the order of the flattened grid; positions are not wrapped."""
    still = along.system
    return [
        still._replace(positions=still.positions + np.where(along.moving[:, None], shift, 0.0))
        for shift in np.reshape(shifts, (-1, 3))
    ]


def _chosen(layers: Layers, moving: Sequence[int] | None) -> set[int]:
    count = len(layers.layers)
    if count == 1:
        raise InputError(
            "expected at least two layers, found one in the cell, over which its own periodic "
            "images cannot slide; repeat the structure along the stacking direction, or name the "
            "atoms of each layer"
        )
    if moving is None:
        if count > 2:
            raise InputError(
                f"expected to be told which of {count} layers move (0 is the lowest); choose some, "
                "such as 'moving: [1]'"
            )
        return {1}
    chosen = set(moving)
    if not chosen or not chosen < set(range(count)):
        raise InputError(
            f"expected some but not all of the layers 0 to {count - 1} to move, got {list(moving)}"
        )
    return chosen


def _shears(gap: Gap, chosen: set[int]) -> bool:
    return (gap.below in chosen) != (gap.above in chosen)


def _follows(gap: Gap, chosen: set[int], intercalated: Side) -> bool:
    """Whether atoms in a gap move."""
    if gap.vacuum:
        return gap.below in chosen
    return intercalated == "move" if _shears(gap, chosen) else gap.below in chosen


def _lift(
    system: System, layers: Layers, gap: Gap, lower: np.ndarray, upper: np.ndarray
) -> np.ndarray:
    """Whole periods that make the heights of both layers follow each other."""
    heights = system.positions @ layers.normal
    lift = np.zeros(len(heights))
    if np.isinf(layers.period):
        return lift
    below = layers.layers[gap.below]
    for mask, start in ((lower, below.bottom), (upper, below.top + gap.thickness)):
        # A little below the start, so that rounding does not wrap the lowest atom.
        wrapped = (heights[mask] - start + 1e-6) % layers.period - 1e-6 + start
        lift[mask] = wrapped - heights[mask]
    return lift
