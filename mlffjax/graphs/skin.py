"""Neighbour lists that stay valid while atoms move: wider than the cutoff, narrowed on the device.

A list is made once on the host, up to ``cutoff + skin``. While atoms and cell move less than the
skin allows (``is_valid``), ``prune`` keeps of it the edges inside the cutoff, so the model sees
the same edges as with a fresh list and pays for no others.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from mlffjax.arrays import Array, Float, Int
from mlffjax.errors import InputError
from mlffjax.graphs.batching import SLOT_STEP, Shape, assemble
from mlffjax.graphs.graph import Graph, edge_vectors
from mlffjax.graphs.neighbors import neighbors_within
from mlffjax.structures.system import System

WIDE_STEP = 4 * SLOT_STEP  # slots of a wide list are cheap, so they come in few sizes


class SkinList(NamedTuple):
    """All edges of one structure up to ``cutoff + skin``; NumPy leaves, species not filled in."""

    graph: Graph  # as when the list was made
    system: System  # as when the list was made
    dual: np.ndarray  # f8 [3, periods]: periodic cell vectors @ dual = identity
    cutoff: float  # Å
    skin: float  # Å


class Narrowing(NamedTuple):
    """What ``prune`` found; the host must look at both before it believes the graph."""

    slots: Int[Array, ""]  # the largest number of neighbours; with fewer slots edges are lost
    closest: Float[Array, ""]  # shortest edge, Å; twice the cutoff if there is none


def make(
    system: System,
    cutoff: float,
    skin: float,
    *,
    atoms: int | None = None,
    slots: int = 0,
    dtype: type = np.float64,
) -> SkinList:
    """List the edges of a structure up to ``cutoff + skin``.

    Args:
        system: at least one atom.
        cutoff: Å.
        skin: Å; 0 makes a list that is valid for this very structure only.
        atoms: number of atoms to pad to.
        slots: to have at least, so that lists made one after another share a shape.
        dtype: of the graph's floating-point leaves.

    Raises:
        InputError: positions are not finite, or periodic cell vectors are dependent.
    """
    _check(system)
    near = neighbors_within(system, cutoff + skin)
    count = len(system.numbers)
    slots = max(slots, -(-near.mask.shape[1] // WIDE_STEP) * WIDE_STEP)
    graph = assemble(
        [system],
        [np.zeros(count, np.int32)],
        [near],
        shape=Shape(atoms or count, slots, 1),
        dtype=dtype,
    )
    return SkinList(graph, system, np.linalg.pinv(system.cell[system.pbc]), cutoff, skin)


def is_valid(near: SkinList, system: System) -> bool:
    """Whether a list still holds every edge inside the cutoff; elements do not matter.

    With F the deformation of the periodic cell vectors and u = r - r_made F, an edge that was
    longer than cutoff + skin is now at least (cutoff + skin) s - |u_i| - |u_j| long, s being the
    smallest singular value of F. That is compared with the cutoff; common translations cancel.
    """
    made = near.system
    if len(made.numbers) != len(system.numbers) or not np.array_equal(made.pbc, system.pbc):
        return False
    if not _is_finite(system):
        return False
    change = near.dual @ (system.cell - made.cell)[made.pbc]
    unchanged = not change.any()
    affine = made.positions if unchanged else made.positions + made.positions @ change
    moved = system.positions - affine
    moved -= moved.mean(axis=0)
    lengths = np.sqrt(np.einsum("ij,ij->i", moved, moved))
    approach = np.partition(lengths, -2)[-2:].sum() if len(lengths) > 1 else 0.0
    shrinkage = 1.0 if unchanged else np.linalg.norm(np.eye(3) + change, -2)
    return bool((near.cutoff + near.skin) * shrinkage - approach >= near.cutoff)


class Anchor(NamedTuple):
    """What the device needs to tell whether a list still holds."""

    positions: Float[Array, "atoms 3"]  # Å, as when the list was made; padded atoms included
    cell: Float[Array, "3 3"]  # Å, as when the list was made
    dual: Float[Array, "3 3"]  # cell vectors @ dual = identity; zero where not periodic


def anchor(near: SkinList) -> Anchor:
    """The state a list was made at; NumPy leaves in float64."""
    atoms = near.graph.species.shape[0]
    positions = np.zeros((atoms, 3))
    positions[: len(near.system.positions)] = near.system.positions
    dual = np.zeros((3, 3))
    dual[:, near.system.pbc] = near.dual
    leaves: Any = (positions, np.array(near.system.cell, float), dual)
    return Anchor(*leaves)


def slack(
    made: Anchor,
    positions: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"],
    cutoff: float,
    skin: float | Float[Array, ""],
) -> Float[Array, ""]:
    """How much closer, Å, atoms may still come before an edge inside the cutoff may be missing.

    Negative: make a new list. Pure and compilable, for one structure; the bound of ``is_valid``,
    with the Frobenius norm in place of the singular value, so never more generous. Padded atoms
    must not move, and a common translation of all atoms counts as motion.
    """
    change = made.dual @ (cell - made.cell)
    moved = positions - made.positions - made.positions @ change
    lengths = jnp.sqrt((moved**2).sum(axis=-1))
    first = jnp.argmax(lengths)
    others = jnp.where(jnp.arange(lengths.shape[0]) == first, 0.0, lengths)
    approach = lengths[first] + others.max()
    shrinkage = 1.0 - jnp.sqrt((change**2).sum())
    return (cutoff + skin) * shrinkage - approach - cutoff


def crowding(near: SkinList, radius: float) -> int:
    """Largest number of neighbours within a radius of at most ``cutoff + skin``, as listed."""
    graph, (positions, _, cell, _) = near.graph, near.system
    count, listed = len(positions), graph.edge_mask[: len(positions)]
    vectors = positions[graph.neighbors[:count] % count] - positions[:, None]
    vectors += graph.shifts[:count].astype(np.float64) @ cell
    inside = listed & (np.einsum("nkx,nkx->nk", vectors, vectors) < radius**2)
    return int(inside.sum(axis=1).max())


def prune(graph: Graph, cutoff: float, slots: int) -> tuple[Graph, Narrowing]:
    """Keep the edges shorter than the cutoff, in their order, in a given number of slots.

    Pure and compilable; not meant to be differentiated (prune first, then differentiate).

    Args:
        graph: structures without leading axes, with a list wider than the cutoff.
        cutoff: Å.
        slots: of the graph returned. Edges beyond are lost: compare with ``Narrowing.slots``.
    """
    wide = graph.neighbors.shape[1]
    vectors = edge_vectors(graph, outside=2 * cutoff)
    squared = (vectors**2).sum(-1)
    inside = graph.edge_mask & (squared < cutoff**2)
    inside &= inside.reshape(-1)[graph.reverse]  # both directions or none, whatever the rounding
    rank = jnp.cumsum(inside, axis=1)
    target = jnp.arange(slots, dtype=rank.dtype)
    # The edge for slot t is the first with rank t + 1; comparing is faster than sorting.
    source = jnp.minimum((rank[:, :, None] <= target).sum(axis=1), wide - 1)

    def taken(values: Array) -> Array:
        index = source.reshape(source.shape + (1,) * (values.ndim - 2))
        return jnp.take_along_axis(values, index, axis=1)

    mask = target < rank[:, -1:]
    atoms = jnp.arange(graph.neighbors.shape[0], dtype=graph.neighbors.dtype)[:, None]
    mirror = taken(graph.reverse)
    reverse = mirror // wide * slots + rank.reshape(-1)[mirror] - 1
    pruned = graph._replace(
        neighbors=jnp.where(mask, taken(graph.neighbors), atoms),
        shifts=jnp.where(mask[..., None], taken(graph.shifts), 0),
        reverse=jnp.where(mask, reverse, atoms * slots + target).astype(graph.reverse.dtype),
        edge_mask=mask,
    )
    return pruned, Narrowing(rank[:, -1].max(), jnp.sqrt(squared.min()))


def _check(system: System) -> None:
    if not _is_finite(system):
        raise InputError("expected finite positions and cell vectors, got NaN or infinity")
    periods = system.cell[system.pbc]
    if len(periods) and np.linalg.matrix_rank(periods) < len(periods):
        raise InputError(
            f"the structure is periodic along {len(periods)} cell vectors, but they are zero or "
            f"lie in one plane or line: {periods.tolist()}; set the cell, or pbc to False there"
        )


def _is_finite(system: System) -> bool:
    return bool(np.isfinite(system.positions).all() and np.isfinite(system.cell).all())
