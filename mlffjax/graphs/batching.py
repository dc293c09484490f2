"""Many structures in one graph of fixed shape."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols

from mlffjax import trees
from mlffjax.errors import CapacityError, CompatibilityError
from mlffjax.graphs.graph import Graph
from mlffjax.graphs.neighbors import NeighborList, neighbors_within
from mlffjax.structures.system import System

SLOT_STEP = 4  # slot counts are rounded up to a multiple of this: fewer shapes, full vectors


class Shape(NamedTuple):
    """Fixed sizes of a graph: one compilation per value."""

    atoms: int
    slots: int
    graphs: int


def build(
    systems: Sequence[System],
    elements: tuple[int, ...],
    cutoff: float,
    *,
    shape: Shape | None = None,
    dtype: type = np.float32,
) -> Graph:
    """Flatten structures into one graph with NumPy leaves.

    Args:
        systems: structures, at least one.
        elements: atomic numbers the potential knows, in its order.
        cutoff: Å.
        shape: fixed sizes to pad to; by default the smallest that fits.
        dtype: of positions, cells and shifts; differences are taken in float64 before.

    Raises:
        CompatibilityError: an element is not among ``elements``.
        CapacityError: the structures do not fit into ``shape``.
    """
    species = [species_of(system, elements) for system in systems]
    return assemble(
        systems, species, [neighbors_within(s, cutoff) for s in systems], shape=shape, dtype=dtype
    )


def assemble(
    systems: Sequence[System],
    species: Sequence[np.ndarray],
    lists: Sequence[NeighborList],
    *,
    shape: Shape | None = None,
    dtype: type = np.float32,
) -> Graph:
    """Like ``build``, from neighbour lists made before."""
    needed = Shape(
        atoms=sum(len(s.numbers) for s in systems),
        slots=_round_up(max(int(n.mask.sum(axis=1).max(initial=0)) for n in lists)),
        graphs=len(systems),
    )
    shape = shape or needed
    _check_fits(needed, shape)
    atoms, slots, graphs = shape
    neighbors = np.tile(np.arange(atoms, dtype=np.int32)[:, None], (1, slots))
    shifts = np.zeros((atoms, slots, 3), dtype)
    reverse = np.arange(atoms * slots, dtype=np.int32).reshape(atoms, slots)
    edge_mask = np.zeros((atoms, slots), bool)
    positions = np.zeros((atoms, 3), dtype)
    flat_species = np.zeros(atoms, np.int32)
    atom_graph = np.full(atoms, graphs - 1, np.int32)
    cell = np.tile(np.eye(3, dtype=dtype), (graphs, 1, 1))
    first = 0
    for index, (system, kinds, near) in enumerate(zip(systems, species, lists, strict=True)):
        rows = slice(first, first + len(kinds))
        own = min(near.mask.shape[1], slots)  # columns beyond hold no neighbour: it fits
        neighbors[rows, :own] = near.neighbors[:, :own] + first
        shifts[rows, :own] = near.shifts[:, :own]
        edge_mask[rows, :own] = near.mask[:, :own]
        atom, slot = np.divmod(near.reverse[:, :own], near.mask.shape[1])
        mirrored = (atom + first) * slots + slot
        reverse[rows, :own] = np.where(near.mask[:, :own], mirrored, reverse[rows, :own])
        positions[rows] = system.positions
        flat_species[rows] = kinds
        atom_graph[rows] = index
        cell[index] = system.cell
        first += len(kinds)
    leaves: dict[str, Any] = {  # NumPy, until they are put on a device
        "positions": positions,
        "species": flat_species,
        "cell": cell,
        "neighbors": neighbors,
        "shifts": shifts,
        "reverse": reverse,
        "edge_mask": edge_mask,
        "atom_graph": atom_graph,
        "atom_mask": np.arange(atoms) < needed.atoms,
        "graph_mask": np.arange(graphs) < needed.graphs,
    }
    return Graph(**leaves)


def stacked(
    systems: Sequence[System],
    groups: Sequence[Sequence[int]],
    elements: tuple[int, ...],
    cutoff: float,
    *,
    dtype: type = np.float32,
) -> Graph:
    """Graphs of one shape, one for each group of structures, along a new leading axis.

    Args:
        systems: structures.
        groups: at least one, of indices into ``systems``, at least one in each.
        elements: atomic numbers the potential knows, in its order.
        cutoff: Å.
        dtype: as of ``build``.

    Raises:
        CompatibilityError: an element is not among ``elements``.
    """
    species = [species_of(system, elements) for system in systems]
    lists = [neighbors_within(system, cutoff) for system in systems]

    def graph(group: Sequence[int], shape: Shape | None = None) -> Graph:
        members = [systems[i] for i in group]
        kinds, near = [species[i] for i in group], [lists[i] for i in group]
        return assemble(members, kinds, near, shape=shape, dtype=dtype)

    shape = common_shape([shape_of(graph(group)) for group in groups])
    return trees.stack([graph(group, shape) for group in groups])


def shape_of(graph: Graph) -> Shape:
    """Sizes of a graph without leading axes."""
    return Shape(graph.species.shape[0], graph.neighbors.shape[1], graph.cell.shape[0])


def common_shape(shapes: Sequence[Shape]) -> Shape:
    """The smallest shape that holds each of the given ones."""
    return Shape(*(max(sizes) for sizes in zip(*shapes, strict=True)))


def species_of(system: System, elements: tuple[int, ...]) -> np.ndarray:
    """Index of each atom's element in ``elements``; i4 [atoms].

    Raises:
        CompatibilityError: an element is not among ``elements``.
    """
    numbers = np.asarray(system.numbers)
    unknown = sorted(set(numbers.tolist()) - set(elements))
    if unknown:
        names = ", ".join(chemical_symbols[z] for z in unknown)
        known = ", ".join(chemical_symbols[z] for z in elements)
        raise CompatibilityError(
            f"the structure contains {names}, but the potential knows only {known}; "
            "use a potential trained with these elements"
        )
    lookup = np.full(max(elements) + 1, -1, np.int32)
    lookup[list(elements)] = np.arange(len(elements))
    return lookup[numbers]


def _round_up(slots: int) -> int:
    return max(-(-slots // SLOT_STEP) * SLOT_STEP, SLOT_STEP)


def _check_fits(needed: Shape, shape: Shape) -> None:
    for name, want, have in zip(Shape._fields, needed, shape, strict=True):
        if want > have:
            raise CapacityError(
                f"{want} {name} do not fit into a shape with {have} {name} ({shape}); "
                f"build with at least {needed}"
            )
