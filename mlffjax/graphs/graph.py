"""The graph: one or many structures in fixed shapes with a dense neighbour layout."""

from typing import NamedTuple

import jax.numpy as jnp

from mlffjax.arrays import Array, Bool, Float, Int
from mlffjax.graphs.exchange import gather_senders, gather_senders_tilted


class Graph(NamedTuple):
    """Structures flattened into one set of atoms; see the package docstring for the contract.

    Padded atoms have ``atom_mask`` False, padded edges point from an atom to itself and have
    ``edge_mask`` False, padded structures have ``graph_mask`` False and a unit cell of 1 Å.
    """

    positions: Float[Array, "atoms 3"]  # Å, unwrapped
    species: Int[Array, "atoms"]  # index into the potential's elements
    cell: Float[Array, "graphs 3 3"]  # Å, rows are lattice vectors
    neighbors: Int[Array, "atoms slots"]  # sender of the edge (i, slot)
    shifts: Float[Array, "atoms slots 3"]  # integers: which periodic image of the sender
    reverse: Int[Array, "atoms slots"]  # flat index (atom * slots + slot) of the mirrored edge
    edge_mask: Bool[Array, "atoms slots"]
    atom_graph: Int[Array, "atoms"]  # which structure an atom belongs to
    atom_mask: Bool[Array, "atoms"]
    graph_mask: Bool[Array, "graphs"]
    tilt: Float[Array, "atoms slots"] | None = None
    """Weighs every derivative that passes along an edge by ``exp(tilt)``; values are unaffected.
    Heat fluxes need it; None otherwise."""


def from_senders(
    graph: Graph, nodes: Float[Array, "atoms *rest"]
) -> Float[Array, "atoms slots *rest"]:
    """Rows of the senders, one per edge; zero for padded edges.

    The one way by which anything passes from an atom to its neighbours: a model that goes around
    it has wrong heat fluxes.
    """
    lists = graph.neighbors, graph.reverse, graph.edge_mask
    if graph.tilt is None:
        return gather_senders(nodes, *lists)
    return gather_senders_tilted(nodes, *lists, graph.tilt)


def edge_vectors(graph: Graph, outside: float) -> Float[Array, "atoms slots 3"]:
    """Vectors from receivers to senders, Å; padded edges are ``(outside, 0, 0)``.

    Args:
        graph: structures without leading axes.
        outside: a length beyond the cutoff, Å, so that an envelope silences padded edges and no
            derivative ever meets a zero vector.
    """
    senders = from_senders(graph, graph.positions)
    cell = graph.cell[graph.atom_graph]
    # A sum of three products, not a matmul: XLA fuses it, and batches of 3x3 matmuls are slow.
    image = sum(graph.shifts[:, :, k, None] * cell[:, None, k] for k in range(3))
    vectors = senders - graph.positions[:, None] + image
    padding = jnp.array([outside, 0.0, 0.0], vectors.dtype)
    return jnp.where(graph.edge_mask[..., None], vectors, padding)


def graph_sums(values: Float[Array, "atoms"], graph: Graph) -> Float[Array, "graphs"]:
    """Sum of a per-atom quantity over the real atoms of each structure."""
    count = graph.cell.shape[0]
    masked = jnp.where(graph.atom_mask, values, 0)
    if count == 1:
        return masked.sum(keepdims=True)
    member = graph.atom_graph[:, None] == jnp.arange(count)
    return jnp.where(member, masked[:, None], 0).sum(axis=0)


def atom_counts(graph: Graph) -> Float[Array, "graphs"]:
    """Number of real atoms per structure, as floats of the positions' type; padded ones read 1."""
    counts = graph_sums(graph.atom_mask.astype(graph.positions.dtype), graph)
    return jnp.maximum(counts, 1)
