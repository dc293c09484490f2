"""Many structures of all sizes, evaluated in one compiled loop over graphs of one shape.

Structures are packed into graphs of several structures each. One shape means one compilation,
whatever is asked: crystals, slabs, clusters and dimers go through the same program.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from mlffjax.arrays import Array, Float, Int
from mlffjax.graphs.batching import stacked
from mlffjax.graphs.graph import Graph
from mlffjax.pathways.mapping import mapped
from mlffjax.potential import derivatives
from mlffjax.potential.base import Potential
from mlffjax.structures.system import System

ATOMS = 48  # of a graph, unless a structure has more


class Packed(NamedTuple):
    """Structures in graphs of one shape, with the places to find them again."""

    graphs: Graph  # leading axis of graphs
    rows: Int[Array, "structures"]  # in the energies and stresses of all graphs
    atom_rows: Int[Array, "atoms"]  # in the forces of all graphs; structure after structure


class Evaluated(NamedTuple):
    """What a potential says about packed structures, in the order they were given."""

    energy: Float[Array, "structures"]  # eV, interaction energies
    forces: Float[Array, "atoms 3"]  # eV/Å
    stress: Float[Array, "structures 3 3"]  # eV/Å³, ASE sign; zero where nothing is periodic


def pack(systems: Sequence[System], elements: tuple[int, ...], cutoff: float) -> Packed:
    """Distribute structures over graphs, large ones first; float64.

    Args:
        systems: at least one.
        elements: atomic numbers the potential knows, in its order.
        cutoff: Å.

    Raises:
        CompatibilityError: an element is not among ``elements``.
    """
    counts = np.array([len(system.numbers) for system in systems])
    bins = _bins(counts, max(ATOMS, int(counts.max())))
    graphs = stacked(systems, bins, elements, cutoff, dtype=np.float64)
    _, size = graphs.species.shape
    _, places = graphs.graph_mask.shape
    rows, first = np.empty(len(systems), int), np.empty(len(systems), int)
    for place, members in enumerate(bins):
        rows[members] = place * places + np.arange(len(members))
        first[members] = place * size + np.cumsum([0, *counts[members][:-1]])
    atoms = [start + np.arange(count) for start, count in zip(first, counts, strict=True)]
    return Packed(graphs, jnp.asarray(rows), jnp.asarray(np.concatenate(atoms)))


def evaluated(potential: Potential, packed: Packed) -> Evaluated:
    """Energies, forces and stresses of all structures; pure."""

    def single(graph: Graph) -> tuple[Array, Array, Array]:
        found = derivatives.predict(potential, graph)
        return found.energy, found.forces, found.stress

    energy, forces, stress = mapped(single, packed.graphs)
    return Evaluated(
        energy.reshape(-1)[packed.rows],
        forces.reshape(-1, 3)[packed.atom_rows],
        stress.reshape(-1, 3, 3)[packed.rows],
    )


def _bins(counts: np.ndarray, capacity: int) -> list[list[int]]:
    """First fit, large structures first."""
    bins: list[list[int]] = []
    room: list[int] = []
    for index in np.argsort(-counts, kind="stable").tolist():
        place = next((k for k, left in enumerate(room) if left >= counts[index]), None)
        if place is None:
            bins.append([])
            room.append(capacity)
            place = -1
        bins[place].append(index)
        room[place] -= int(counts[index])
    return bins
