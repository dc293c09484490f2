"""The neighbour list of a run: made on the host, narrowed on the device at every step.

Positions of a run are never wrapped and may get far from the cell, where single precision has few
digits left for distances. A list therefore goes with local positions: each atom moved by whole
lattice vectors into the cell as it was when the list was made, and all relative to their mean.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from mlffjax.arrays import Array, Float, Int
from mlffjax.graphs import skin
from mlffjax.graphs.graph import Graph, edge_vectors
from mlffjax.graphs.skin import Anchor, Narrowing
from mlffjax.structures.system import System


class Neighborhood(NamedTuple):
    """One list, and what tells whether it still holds."""

    graph: Graph  # all edges up to cutoff + skin; positions as when the list was made
    anchor: Anchor  # in local positions before the origin is subtracted
    images: Float[Array, "atoms 3"]  # whole lattice vectors that local positions are less
    origin: Float[Array, "3"]  # Å


class Contact(NamedTuple):
    """The pair of atoms that is closest in terms of its atoms' sizes."""

    ratio: Float[Array, ""]  # distance over the sum of covalent radii
    atom: Int[Array, ""]


def build(
    system: System,
    species: np.ndarray,
    cutoff: float,
    margin: float,
    *,
    radius: float,
    slots: int = 0,
    dtype: type = np.float64,
) -> tuple[Neighborhood, int]:
    """List the edges at the given positions, and count the neighbours of the most crowded atom.

    Args:
        system: unwrapped positions, as of a run.
        species: index of each atom's element in the potential's.
        cutoff: Å.
        margin: the skin, Å.
        radius: within which to count neighbours, Å; at most cutoff + margin.
        slots: of the list, at least.
        dtype: in which the potential computes.

    Returns:
        The list with NumPy leaves, and the largest number of neighbours within the radius.
    """
    images = np.zeros_like(system.positions)
    if system.pbc.any():
        inverse = np.linalg.pinv(system.cell[system.pbc])
        images[:, system.pbc] = np.floor(system.positions @ inverse)
    local = system._replace(positions=system.positions - images @ system.cell)
    near = skin.make(local, cutoff, margin, slots=slots, dtype=dtype)
    graph = near.graph._replace(species=np.asarray(species, np.int32))
    centre: Any = local.positions.mean(axis=0)  # NumPy, until they are put on a device
    offsets: Any = images
    return Neighborhood(graph, skin.anchor(near), offsets, centre), skin.crowding(near, radius)


def local_positions(
    near: Neighborhood, positions: Float[Array, "atoms 3"], cell: Float[Array, "3 3"]
) -> Float[Array, "atoms 3"]:
    """Positions less the whole lattice vectors that a list was made without, Å."""
    return positions - near.images @ cell


def slack(
    near: Neighborhood,
    positions: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"],
    cutoff: float,
    margin: float | Float[Array, ""],
) -> Float[Array, ""]:
    """How much closer atoms may come, Å; negative if the list does not hold any more."""
    return skin.slack(near.anchor, local_positions(near, positions, cell), cell, cutoff, margin)


def narrowed(
    near: Neighborhood,
    positions: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"],
    cutoff: float,
    slots: int,
) -> tuple[Graph, Narrowing]:
    """The graph at given positions with the edges inside the cutoff, in the potential's dtype."""
    local = local_positions(near, positions, cell) - near.origin
    dtype = near.graph.shifts.dtype
    graph = near.graph._replace(positions=local.astype(dtype), cell=cell[None].astype(dtype))
    return skin.prune(graph, cutoff, slots)


def closest(graph: Graph, radii: Float[Array, "atoms"], cutoff: float) -> Contact:
    """The edge that is shortest compared with the sum of its atoms' covalent radii."""
    lengths = jnp.sqrt((edge_vectors(graph, outside=2 * cutoff) ** 2).sum(axis=-1))
    touching = radii[:, None] + radii[graph.neighbors]
    ratios = jnp.where(graph.edge_mask, lengths / touching, jnp.inf).min(axis=1)
    atom = jnp.argmin(ratios)
    return Contact(ratios[atom], atom)


def widened(near: Neighborhood, slots: int) -> Neighborhood:
    """The same list with more slots; NumPy leaves."""
    graph = near.graph
    atoms, old = graph.neighbors.shape
    more = ((0, 0), (0, slots - old))
    own = np.arange(atoms, dtype=np.int32)[:, None]
    itself = own * slots + np.arange(slots, dtype=np.int32)
    mask = np.pad(graph.edge_mask, more)
    mirror = np.pad(graph.reverse // old * slots + graph.reverse % old, more)
    wide = graph._replace(
        neighbors=np.where(mask, np.pad(graph.neighbors, more), own),
        shifts=np.pad(graph.shifts, (*more, (0, 0))),
        reverse=np.where(mask, mirror, itself).astype(np.int32),
        edge_mask=mask,
    )
    return near._replace(graph=wide)


def shortest(near: Neighborhood, radii: np.ndarray) -> tuple[int, int, float, float]:
    """The pair closest in terms of covalent radii when the list was made: two atoms, Å, ratio.

    On the host; a ratio of infinity if no two atoms are within the list's range.
    """
    graph = near.graph
    if not graph.edge_mask.any():
        return 0, 0, np.inf, np.inf
    receivers, slots = np.nonzero(graph.edge_mask)
    senders = np.asarray(graph.neighbors)[receivers, slots]
    positions = np.asarray(near.anchor.positions)
    image = np.asarray(graph.shifts)[receivers, slots].astype(np.float64) @ near.anchor.cell
    lengths = np.linalg.norm(positions[senders] - positions[receivers] + image, axis=1)
    ratios = lengths / (radii[receivers] + radii[senders])
    at = int(np.argmin(ratios))
    return int(receivers[at]), int(senders[at]), float(lengths[at]), float(ratios[at])
