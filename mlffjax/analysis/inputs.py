"""What every observable asks of a trajectory, with one clear refusal for each thing missing."""

from typing import Any, Protocol

import numpy as np

from mlffjax.arrays import Bool, Float, Int
from mlffjax.errors import InputError
from mlffjax.structures.elements import symbols

SPACING = 1e-3  # relative; times are rounded when they are written, but none is left out
_SYMBOLS = symbols(tuple(range(119)))


class Frames(Protocol):
    """An array, or something sliced like one that reads frames when asked (a stored channel)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Frames first."""
        ...

    def __getitem__(self, index: Any, /) -> Any:
        """Frames of a slice."""
        ...


def checked_frames(frames: Frames, name: str = "positions") -> tuple[int, int]:
    """Number of frames and atoms.

    Raises:
        InputError: not [frames, atoms, 3], fewer than 2 frames, or no atoms.
    """
    shape = tuple(np.shape(frames))
    if len(shape) != 3 or shape[2] != 3 or shape[1] == 0:
        raise InputError(
            f"expected {name} of shape [frames, atoms, 3] with the same atoms in all frames, got "
            f"{shape}"
        )
    if shape[0] < 2:
        raise InputError(f"expected at least 2 frames of {name}, got {shape[0]}; run longer")
    return shape[0], shape[1]


def finite(values: Any, name: str) -> Float[np.ndarray, "..."]:
    """The values in float64.

    Raises:
        InputError: some are not finite.
    """
    array = np.asarray(values, np.float64)
    if not np.isfinite(array).all():
        raise InputError(
            f"expected finite {name}, got values that are not; cut the trajectory where the run "
            "failed"
        )
    return array


def interval(times_fs: Float[np.ndarray, "frames"], frames: int) -> float:
    """Time between frames, fs.

    Raises:
        InputError: another number of times than frames, times that do not increase, or that are not
            equally spaced.
    """
    times = finite(times_fs, "times")
    if times.shape != (frames,):
        raise InputError(f"expected {frames} times, one a frame, got shape {times.shape}")
    steps = np.diff(times)
    step = (times[-1] - times[0]) / (frames - 1)
    if (steps <= 0).any():
        place = int(np.argmax(steps <= 0))
        raise InputError(
            f"expected times that increase, got {times[place]:g} fs and then {times[place + 1]:g} "
            f"fs at frame {place + 1}; a restarted run may have been appended twice"
        )
    if abs(steps - step).max() > SPACING * step:
        place = int(abs(steps - step).argmax())
        raise InputError(
            f"expected equally spaced frames, got steps of {steps[place]:g} fs at frame {place} "
            f"and {step:g} fs on average; frames are missing, or two runs were joined"
        )
    return float(step)


def checked_numbers(numbers: Int[np.ndarray, "atoms"], atoms: int) -> Int[np.ndarray, "atoms"]:
    """Atomic numbers, one an atom.

    Raises:
        InputError: another number of them, or none of the periodic table.
    """
    numbers = np.asarray(numbers)
    if numbers.shape != (atoms,) or not ((numbers > 0) & (numbers < len(_SYMBOLS))).all():
        raise InputError(f"expected {atoms} atomic numbers from 1 to 118, got {numbers}")
    return numbers


def checked_masses(masses: Float[np.ndarray, "atoms"], atoms: int) -> Float[np.ndarray, "atoms"]:
    """Masses in u, one an atom.

    Raises:
        InputError: another number of them, or some not positive.
    """
    masses = finite(masses, "masses")
    if masses.shape != (atoms,) or (masses <= 0).any():
        raise InputError(f"expected {atoms} positive masses, got {masses}")
    return masses


def checked_cells(cells: Float[np.ndarray, "... 3 3"], frames: int) -> Float[np.ndarray, "... 3 3"]:
    """Cells with a volume: one for each frame, repeated without copying if one was given.

    Raises:
        InputError: neither [3, 3] nor [frames, 3, 3], or a cell without volume.
    """
    cells = finite(cells, "cells")
    if cells.shape not in ((3, 3), (frames, 3, 3)):
        raise InputError(f"expected one cell [3, 3] or {frames} of them, got shape {cells.shape}")
    if (abs(np.linalg.det(cells)) < 1e-6).any():
        raise InputError(
            "expected three lattice vectors that span a volume, got a cell without; put clusters "
            "and slabs into a periodic cell, densities refer to its volume"
        )
    return np.broadcast_to(cells, (frames, 3, 3))


def atomic_number(species: int | str) -> int:
    """Of a symbol or of itself.

    Raises:
        InputError: there is no such element.
    """
    if isinstance(species, str) and species in _SYMBOLS[1:]:
        return _SYMBOLS.index(species)
    if isinstance(species, int | np.integer) and 0 < species < len(_SYMBOLS):
        return int(species)
    raise InputError(f"expected a chemical symbol or an atomic number, got {species!r}")


def symbol(number: int) -> str:
    """Chemical symbol of an atomic number."""
    return _SYMBOLS[int(number)]


def atoms_of(numbers: Int[np.ndarray, "atoms"], species: int | str) -> Bool[np.ndarray, "atoms"]:
    """Which atoms are of a species.

    Raises:
        InputError: none is; the message names the species that are present.
    """
    chosen = np.asarray(numbers) == atomic_number(species)
    if not chosen.any():
        present = ", ".join(symbol(number) for number in np.unique(numbers))
        raise InputError(f"expected one of the species present, {present}, got {species!r}")
    return chosen
