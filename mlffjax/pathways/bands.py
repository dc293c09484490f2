"""Bands: the images of one path as arrays, checked before anything is computed with them."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int
from scipy.optimize import linear_sum_assignment

from mlffjax.errors import InputError
from mlffjax.pathways import interpolate
from mlffjax.structures.geometry import minimum_image
from mlffjax.structures.paths import FEWEST, LONGEST_STEP, SAME, Path
from mlffjax.structures.system import System

TRADED = 0.5  # a relabelling that shortens the longest move to less than this part is suspicious


class Band(NamedTuple):
    """Images of one path between two structures; one cell, one order of atoms."""

    positions: Float64[np.ndarray, "images atoms 3"]  # Å, unwrapped along the path
    numbers: Int[np.ndarray, " atoms"]
    cell: Float64[np.ndarray, "3 3"]  # Å
    pbc: Bool[np.ndarray, " 3"]
    fixed: Bool[np.ndarray, " atoms"]  # atoms that must not move
    layers: Int[np.ndarray, " atoms"]  # number of the layer, from below; -1: of no layer


def from_path(path: Path, *, fixed: Sequence[int] = (), layers: Sequence[int] = ()) -> Band:
    """The images of a path as they are.

    Args:
        path: at least three images.
        fixed: atoms that must not move.
        layers: number of the layer each atom belongs to, counted from below along the normal of
            the first two cell vectors, -1 for atoms between layers; empty if there are none.

    Raises:
        InputError: see ``from_images``.
    """
    return from_images([frame.system for frame in path.frames], fixed=fixed, layers=layers)


def from_images(
    images: Sequence[System], *, fixed: Sequence[int] = (), layers: Sequence[int] = ()
) -> Band:
    """A band from images given one by one; positions must run on across cell boundaries.

    Raises:
        InputError: fewer than three images; images that differ in atoms, their order, cell or
            periodicity; an image equal to the one before; an atom that jumps across a cell
            boundary; equal ends; fixed atoms that do not exist or that move.
    """
    if len(images) < FEWEST:
        raise InputError(
            f"expected a path of at least {FEWEST} images, got {len(images)}; interpolate with "
            "bands.from_ends"
        )
    for index, system in enumerate(images[1:], start=1):
        _check_same_crystal(images[0], system, f"image {index}")
    positions = np.array([system.positions for system in images], float)
    band = _band(positions, images[0], fixed, layers)
    for index, (before, after) in enumerate(pairwise(positions), start=1):
        _check_step(before, after, band, index)
    if abs(positions[-1] - positions[0]).max() < SAME:
        raise InputError(
            "expected two different ends, got the same positions in the first and the last image; "
            "a slide by a lattice vector needs positions that are not wrapped back into the cell"
        )
    return band


def from_ends(
    first: System,
    last: System,
    images: int,
    *,
    displacement: Float64[np.ndarray, "atoms 3"] | None = None,
    method: str = "linear",
    fixed: Sequence[int] = (),
    layers: Sequence[int] = (),
    exchange: bool = False,
) -> Band:
    """A band interpolated between two structures.

    Args:
        first: start of the path.
        last: its end; only used as far as ``displacement`` does not say how atoms get there.
        images: number of images, ends included.
        displacement: how far each atom moves, Å. By default the shortest way to its place in
            ``last``. Slides must give it: the shortest way of a slide by a lattice vector is none.
        method: ``"linear"`` or ``"idpp"`` (``interpolate.idpp``).
        fixed: atoms that must not move.
        layers: see ``from_path``.
        exchange: whether atoms of one element may trade places on the way.

    Raises:
        InputError: fewer than three images, structures that differ in atoms, order, cell or
            periodicity, a path without length, a displacement that does not lead to ``last``,
            an order of atoms that another one beats, fixed atoms that do not exist or that move.
    """
    if images < FEWEST:
        raise InputError(f"expected at least {FEWEST} images, got {images}")
    if method not in interpolate.METHODS:
        raise InputError(f"expected a method of {interpolate.METHODS}, got {method!r}")
    _check_same_crystal(first, last, "the last structure")
    steps = last.positions - first.positions
    nearest = minimum_image(steps, first.cell, first.pbc)
    if displacement is None:
        displacement = nearest
        if not exchange:
            _check_order(first, nearest)
    else:
        displacement = _checked_displacement(displacement, steps, first)
    if abs(displacement).max() < SAME:
        raise InputError(
            "expected two different structures, but no atom moves: they are equal up to lattice "
            "vectors. If a slide by a lattice vector is meant, give its displacement"
        )
    positions = interpolate.linear(first.positions, displacement, images)
    band = _band(positions, first, fixed, layers)
    if method == "idpp":
        return band._replace(positions=interpolate.idpp(positions, first.cell, first.pbc, fixed))
    return band


def systems(band: Band) -> list[System]:
    """The images as structures."""
    return [
        System(positions, np.asarray(band.numbers, np.int32), band.cell, band.pbc)
        for positions in band.positions
    ]


def _band(
    positions: np.ndarray, system: System, fixed: Sequence[int], layers: Sequence[int]
) -> Band:
    atoms = len(system.numbers)
    wrong = [index for index in fixed if not -atoms <= index < atoms]
    if wrong:
        raise InputError(f"expected fixed atoms from 0 to {atoms - 1}, got {wrong}")
    held = np.zeros(atoms, bool)
    held[list(fixed)] = True
    moved = np.linalg.norm(positions - positions[0], axis=-1).max(axis=0)
    if held.any() and moved[held].max() > SAME:
        atom = int(np.argmax(np.where(held, moved, 0)))
        raise InputError(
            f"atom {atom} is fixed but moves by {moved[atom]:.3g} Å along the path; release it, or "
            "give images in which it stays"
        )
    if held.all():
        raise InputError("all atoms are fixed; nothing is left to relax")
    if len(layers) not in (0, atoms):
        raise InputError(f"expected a layer for each of {atoms} atoms or none, got {len(layers)}")
    numbered = np.asarray(layers, int) if len(layers) else np.full(atoms, -1)
    return Band(
        positions, np.asarray(system.numbers), np.asarray(system.cell, float), system.pbc,
        held, numbered,
    )  # fmt: skip


def _check_same_crystal(first: System, other: System, name: str) -> None:
    if not np.array_equal(first.numbers, other.numbers):
        same = np.array_equal(np.sort(first.numbers), np.sort(other.numbers))
        raise InputError(
            f"expected the atoms of the first structure in {name}, got "
            + ("the same atoms in another order" if same else "different atoms")
            + "; give all structures the same list of atoms"
        )
    if not np.array_equal(first.pbc, other.pbc):
        raise InputError(
            f"expected pbc {np.asarray(first.pbc).tolist()} in {name}, got "
            f"{np.asarray(other.pbc).tolist()}"
        )
    change = abs(np.asarray(first.cell) - other.cell).max()
    if change > SAME:
        raise InputError(
            f"expected the cell of the first structure in {name}, got one that differs by "
            f"{change:.3g} Å; a band has one cell: relax the ends in the cell of one of them"
        )
    if not (np.isfinite(first.positions).all() and np.isfinite(other.positions).all()):
        raise InputError(f"expected finite positions, got NaN or infinity in {name} or the first")


def _check_step(before: np.ndarray, after: np.ndarray, band: Band, index: int) -> None:
    steps = after - before
    lengths = np.linalg.norm(steps, axis=1)
    atom = int(np.argmax(lengths))
    if lengths[atom] < SAME:
        raise InputError(
            f"expected image {index} to differ from image {index - 1}, got the same positions; "
            "remove one of them"
        )
    if lengths[atom] > LONGEST_STEP:
        shorter = np.linalg.norm(minimum_image(steps, band.cell, band.pbc), axis=1)[atom]
        wrapped = shorter < lengths[atom] - SAME
        raise InputError(
            f"atom {atom} moves {lengths[atom]:.2f} Å from image {index - 1} to {index}; "
            + (
                f"a periodic image of it moves only {shorter:.2f} Å: unwrap the positions along "
                "the path (structures.paths.read_path does)"
                if wrapped
                else "the order of atoms may differ, or images are missing in between"
            )
        )


def _checked_displacement(
    displacement: Float64[np.ndarray, "atoms 3"], steps: np.ndarray, first: System
) -> np.ndarray:
    given = np.asarray(displacement, float)
    if given.shape != steps.shape:
        raise InputError(
            f"expected a displacement of shape {steps.shape}, got {given.shape}; give one vector "
            "for each atom"
        )
    rest = np.linalg.norm(minimum_image(steps - given, first.cell, first.pbc), axis=1)
    if rest.max() > 1e-3:  # Å; files keep eight decimals, users fewer
        raise InputError(
            f"expected displacements that lead to the last structure up to lattice vectors; atom "
            f"{int(np.argmax(rest))} ends {rest.max():.3g} Å away from it"
        )
    return given


def _check_order(first: System, nearest: np.ndarray) -> None:
    """Refuse an order of atoms for which a relabelling of equal atoms moves them much less."""
    lengths = np.linalg.norm(nearest, axis=1)
    if lengths.max() <= 1.0:  # Å; nothing moves as far as to a neighbour's place
        return
    order = np.arange(len(lengths))
    for number in np.unique(first.numbers):
        group = np.flatnonzero(first.numbers == number)
        places = first.positions[group] + nearest[group]
        steps = places[None] - first.positions[group][:, None]
        cost = (minimum_image(steps, first.cell, first.pbc) ** 2).sum(-1)
        order[group] = group[linear_sum_assignment(cost)[1]]
    steps = first.positions[order] + nearest[order] - first.positions
    better = np.linalg.norm(minimum_image(steps, first.cell, first.pbc), axis=1)
    if better.max() < TRADED * lengths.max():
        atom = int(np.argmax(lengths))
        raise InputError(
            f"atom {atom} moves {lengths[atom]:.2f} Å, but with atoms of the last structure in "
            f"another order none moves more than {better.max():.2f} Å (atom {atom} would go to "
            f"the place of {order[atom]}); reorder them, or say exchange=True if atoms really "
            "trade places"
        )
