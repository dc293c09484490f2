"""Neighbour lists on the host: matscipy's edges in the dense slot layout with mirror indices."""

import importlib.metadata
from typing import NamedTuple

import numpy as np
from matscipy.neighbours import neighbour_list

from mlffjax.errors import HealthError
from mlffjax.structures.system import System


class NeighborList(NamedTuple):
    """Dense neighbours of one structure; ``slots`` is the largest number of neighbours."""

    neighbors: np.ndarray  # i4 [atoms, slots]
    shifts: np.ndarray  # i4 [atoms, slots, 3]
    reverse: np.ndarray  # i4 [atoms, slots], flat index atom * slots + slot
    mask: np.ndarray  # bool [atoms, slots]


def neighbors_within(system: System, cutoff: float) -> NeighborList:
    """All neighbours closer than ``cutoff`` (Å), periodic images of an atom itself included.

    Positions may lie outside the cell; the shifts refer to the positions as given. Directions
    that are not periodic get no images, whatever the cell says there.

    Raises:
        HealthError: the installed matscipy computes wrong lists.
    """
    atoms = len(system.numbers)
    receivers, senders, shifts = _edges(system, cutoff)
    counts = np.bincount(receivers, minlength=atoms)
    slots = max(int(counts.max(initial=0)), 1)
    first = np.cumsum(counts) - counts
    slot = np.arange(len(receivers)) - first[receivers]
    flat = receivers * slots + slot

    neighbors = np.tile(np.arange(atoms, dtype=np.int32)[:, None], (1, slots))
    dense_shifts = np.zeros((atoms, slots, 3), np.int32)
    reverse = np.arange(atoms * slots, dtype=np.int32)
    mask = np.zeros((atoms, slots), bool)
    neighbors[receivers, slot] = senders
    dense_shifts[receivers, slot] = shifts
    mask[receivers, slot] = True
    reverse[flat] = flat[_mirror(receivers, senders, shifts)]
    return NeighborList(neighbors, dense_shifts, reverse.reshape(atoms, slots), mask)


def _edges(system: System, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Receivers (sorted), senders, integer shifts of all directed edges."""
    positions = np.asarray(system.positions, float)
    pbc = np.asarray(system.pbc, bool)
    cell = np.array(system.cell, float)
    if not pbc.all():
        cell = _complete_cell(positions, cell, pbc, cutoff)
    receivers, senders, shifts = neighbour_list(
        "ijS", positions=positions, cell=cell, pbc=pbc, cutoff=float(cutoff)
    )
    order = np.argsort(receivers, kind="stable")
    return receivers[order], senders[order], shifts[order]


def _complete_cell(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float
) -> np.ndarray:
    """Replace the vectors of open directions by normals to the periodic ones, long enough to fit.

    The search algorithm needs a cell that holds every atom, but users leave it zero or too small.
    """
    basis = np.linalg.qr(np.concatenate([cell[pbc], np.eye(3)]).T)[0][:, :3].T
    normals = iter(basis[pbc.sum() :])
    extent = np.ptp(positions, axis=0) if len(positions) else np.zeros(3)
    length = 2 * float(np.linalg.norm(extent)) + 2 * cutoff + 1.0
    return np.stack(
        [
            row if periodic else next(normals) * length
            for row, periodic in zip(cell, pbc, strict=True)
        ]
    )


def _mirror(receivers: np.ndarray, senders: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Position in the edge list of the mirror image (j, i, -S) of every edge (i, j, S)."""
    forward = np.lexsort((*shifts.T, senders, receivers))
    backward = np.lexsort((*-shifts.T, receivers, senders))
    same = (
        np.array_equal(receivers[forward], senders[backward])
        and np.array_equal(senders[forward], receivers[backward])
        and np.array_equal(shifts[forward], -shifts[backward])
    )
    if not same:
        raise HealthError(
            f"matscipy {importlib.metadata.version('matscipy')} gives a neighbour list that is not "
            "symmetric: an edge lacks its mirror image; versions before 1.3 do so in skewed cells. "
            "Install a sound version: pip install 'matscipy>=1.3'"
        )
    mirror = np.empty(len(receivers), int)
    mirror[backward] = forward
    return mirror
