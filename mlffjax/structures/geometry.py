"""Facts of periodic geometry: nearest images, supercells, and the sizes of atoms."""

import numpy as np
from ase.data import covalent_radii
from ase.geometry import find_mic
from jaxtyping import Bool, Float64, Int

from mlffjax.errors import InputError
from mlffjax.structures.system import System

KNOWN_RADIUS = 0.25  # Å; ASE writes 0.2 where no covalent radius is known


def minimum_image(
    steps: Float64[np.ndarray, "*atoms 3"],
    cell: Float64[np.ndarray, "3 3"],
    pbc: Bool[np.ndarray, " 3"],
) -> Float64[np.ndarray, "*atoms 3"]:
    """The shortest vectors that differ from the given ones by lattice vectors, Å.

    Exact in skewed cells (the search runs in a Minkowski-reduced cell), unlike rounding of
    fractional coordinates. Cell vectors of open directions do not matter.
    """
    flat, periodic = np.asarray(steps, float).reshape(-1, 3), np.asarray(pbc, bool)
    full = np.array(cell, float)
    if not periodic.all():
        # ASE's search is right only if open vectors are normal to the periodic ones.
        basis = np.linalg.svd(full[periodic].reshape(-1, 3))[2]
        full[~periodic] = basis[periodic.sum() :]
    # ASE takes three booleans, though it announces one.
    shortest, _ = find_mic(flat, full, periodic)  # pyright: ignore[reportArgumentType]
    return np.asarray(shortest).reshape(np.shape(steps))


def radii(numbers: Int[np.ndarray, " atoms"]) -> Float64[np.ndarray, " atoms"]:
    """Covalent radii, Å; the median over the elements where none is known.

    Cordero et al., Dalton Trans. 2832 (2008), doi:10.1039/b801115j, as ASE tabulates them.
    """
    known = covalent_radii[1:][covalent_radii[1:] > KNOWN_RADIUS]
    found = covalent_radii[np.asarray(numbers)]
    return np.where(found > KNOWN_RADIUS, found, np.median(known))


def repeated(system: System, times: tuple[int, int, int]) -> System:
    """A supercell: ``times`` cells along each lattice vector, cell after cell.

    Raises:
        InputError: a direction that is not periodic is to be repeated.
    """
    open_ones = [axis for axis in range(3) if times[axis] > 1 and not system.pbc[axis]]
    if open_ones:
        raise InputError(
            f"expected to repeat periodic directions only, got {times} for pbc = "
            f"{system.pbc.tolist()}"
        )
    places = np.stack(np.meshgrid(*map(np.arange, times), indexing="ij"), axis=-1).reshape(-1, 3)
    positions = (places @ system.cell)[:, None] + system.positions
    return System(
        positions.reshape(-1, 3),
        np.tile(system.numbers, len(places)),
        system.cell * np.array(times)[:, None],
        system.pbc,
    )
