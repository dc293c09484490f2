"""Frames ordered along a reaction coordinate: migration and sliding paths."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path as FilePath
from typing import NamedTuple

import numpy as np
from ase.cell import Cell
from jaxtyping import Float64

from mlffjax.errors import InputError
from mlffjax.structures.files import read_frames
from mlffjax.structures.geometry import minimum_image
from mlffjax.structures.system import Frame

FEWEST = 3
SAME = 1e-6  # Å; images closer than this are one
CLOSURE = 1e-3  # Å; files keep eight decimals, relaxed end points are not that exact
LONGEST_STEP = 3.0  # Å; farther than one atom moves between images of a usable path


class Path(NamedTuple):
    """Images of one path.

    Attributes:
        name: what figures and tables call it.
        frames: by image; equal atoms, cell and pbc; positions continuous along the path.
        closed: the last image is the first with atoms moved by lattice vectors.
    """

    name: str
    frames: tuple[Frame, ...]
    closed: bool


def read_path(
    file: str | FilePath, name: str, *, closed: bool = False, unwrap: bool = True
) -> Path:
    """Read the images of a file and order them by their ``image`` (or ``order``) entry.

    Positions are unwrapped from image to image by the minimum-image convention, so that a path may
    cross a cell boundary. ``unwrap=False`` takes displacements as the file writes them, which is
    needed when a step is longer than half a lattice vector (coarse sliding).

    Labels are optional, but must be there for all images or for none.

    Raises:
        InputError: fewer than three images, images that differ in atoms, order of atoms, cell or
            periodicity, two images at one place or equal to each other, a jump, labels for some
            images only, or a closed path that does not close.
    """
    frames = sorted(read_frames(file), key=_position)
    if len(frames) < FEWEST:
        raise InputError(f"{file}: expected a path of at least {FEWEST} images, got {len(frames)}")
    for before, after in pairwise(frames):
        _check_pair(frames[0], before, after)
    _check_labels(frames)
    positions = _unwrapped(frames) if unwrap else [frame.system.positions for frame in frames]
    images = tuple(
        frame._replace(system=frame.system._replace(positions=place))
        for frame, place in zip(frames, positions, strict=True)
    )
    for before, after in pairwise(images):
        _check_step(before, after, jumps=unwrap)
    if closed:
        _check_closed(images)
    return Path(name=name, frames=images, closed=closed)


def arclength(path: Path) -> Float64[np.ndarray, " images"]:
    """Distance from the first image along the path, Å: norm over all 3N coordinates."""
    places = np.array([frame.system.positions for frame in path.frames])
    steps = np.linalg.norm(np.diff(places, axis=0).reshape(len(places) - 1, -1), axis=1)
    return np.concatenate([[0.0], np.cumsum(steps)])


def energies(path: Path) -> Float64[np.ndarray, " images"] | None:
    """Reference energies relative to the first image, eV; ``None`` for a path without labels."""
    labels = [frame.energy for frame in path.frames]
    if any(label is None for label in labels):
        return None
    return np.array(labels) - labels[0]


def segments(path: Path) -> tuple[Path, ...]:
    """Parts between minima, as the ``segment`` entry of the frames numbers them.

    Neighbouring parts share the image between them. A path without that entry is its only part.

    Raises:
        InputError: a part would have fewer than three images.
    """
    marks = [frame.info.get("segment", 0) for frame in path.frames]
    ends = [k for k in range(len(marks) - 1) if marks[k] != marks[k + 1]]
    if not ends:
        return (path,)
    parts = []
    for number, (start, end) in enumerate(pairwise([0, *ends, len(marks) - 1])):
        images = path.frames[start : end + 1]
        if len(images) < FEWEST:
            raise InputError(
                f"{images[0].source}: expected at least {FEWEST} images in segment {number} of "
                f"path {path.name}, got {len(images)}; correct the segment entries"
            )
        parts.append(Path(name=f"{path.name} {number + 1}", frames=images, closed=False))
    return tuple(parts)


def _position(frame: Frame) -> float:
    image = frame.info.get("image")
    return float(image) if isinstance(image, int | float) else frame.order


def _check_pair(first: Frame, before: Frame, after: Frame) -> None:
    """Whether an image is the same system as the first and follows the one before."""
    numbers, expected = after.system.numbers, first.system.numbers
    if not np.array_equal(numbers, expected):
        same = np.array_equal(np.sort(numbers), np.sort(expected))
        raise InputError(
            f"{after.source}: expected the atoms of {first.source}, got "
            + ("the same atoms in another order" if same else "different atoms")
            + f" ({len(numbers)} and {len(expected)}); give all images the same list of atoms"
        )
    if not np.array_equal(after.system.pbc, first.system.pbc):
        raise InputError(
            f"{after.source}: expected pbc {first.system.pbc.tolist()} as in {first.source}, got "
            f"{after.system.pbc.tolist()}"
        )
    change = abs(after.system.cell - first.system.cell).max()
    if change > SAME:
        raise InputError(
            f"{after.source}: expected the cell of {first.source}, got one that differs by "
            f"{change:.3g} Å; a path has one cell (energies of different cells are not comparable "
            "at fixed k points)"
        )
    if _position(before) == _position(after):
        raise InputError(
            f"{after.source}: expected one image at position {_position(after):g}, got this one "
            f"and {before.source}; number the images"
        )


def _check_labels(frames: Sequence[Frame]) -> None:
    for label in ("energy", "forces"):
        missing = [frame.source for frame in frames if getattr(frame, label) is None]
        if missing and len(missing) < len(frames):
            raise InputError(
                f"{missing[0]}: expected {label} for all images or for none, got none here and "
                f"{len(frames) - len(missing)} elsewhere; label this image or leave it out"
            )


def _unwrapped(frames: Sequence[Frame]) -> list[np.ndarray]:
    positions = [frames[0].system.positions]
    for frame in frames[1:]:
        system = frame.system
        step = minimum_image(system.positions - positions[-1], system.cell, system.pbc)
        # Adding lattice vectors rather than the step keeps positions that need no unwrapping
        # exactly as they were read.
        move = positions[-1] + step - system.positions
        positions.append(np.where(abs(move) < SAME, system.positions, system.positions + move))
    return positions


def _check_step(before: Frame, after: Frame, *, jumps: bool) -> None:
    steps = np.linalg.norm(after.system.positions - before.system.positions, axis=1)
    atom = int(np.argmax(steps))
    if steps[atom] < SAME:
        raise InputError(
            f"{after.source}: expected an image different from {before.source}, got the same "
            "positions up to lattice vectors; remove it, or, if a slide by a lattice vector is "
            "meant, read with unwrap=False or add images in between"
        )
    if jumps and steps[atom] > LONGEST_STEP:
        raise InputError(
            f"{after.source}: expected atoms to move less than {LONGEST_STEP} Å from "
            f"{before.source}, got {steps[atom]:.2f} Å for atom {atom}; the order of atoms may "
            "differ, or images are missing in between"
        )


def _check_closed(images: Sequence[Frame]) -> None:
    first, last = images[0].system, images[-1].system
    steps = (last.positions - first.positions) @ np.linalg.inv(_complete(first.cell))
    lattice = np.round(steps) * first.pbc
    gap = np.linalg.norm((steps - lattice) @ _complete(first.cell), axis=1)
    if gap.max() > CLOSURE:
        raise InputError(
            f"{images[-1].source}: expected the first image up to lattice vectors, because the "
            f"path is declared closed; atom {int(np.argmax(gap))} is {gap.max():.3g} Å off"
        )


def _complete(cell: np.ndarray) -> np.ndarray:
    return Cell(cell).complete().array
