"""Neighbour lists of bands, made on the host in one common shape."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlffjax import trees
from mlffjax.graphs.batching import SLOT_STEP
from mlffjax.graphs.graph import Graph
from mlffjax.graphs.skin import WIDE_STEP, SkinList, anchor, crowding, make
from mlffjax.pathways.descent import Lists
from mlffjax.structures.system import System

HEADROOM = 1.1  # slots are made so many times more than needed, so that they seldom grow
FEWEST = 2 * SLOT_STEP


@dataclass
class Room:
    """Slots of the lists in use; they only grow, each time by one compilation."""

    wide: int = 0  # of the lists made on the host
    slots: int = FEWEST  # of what the device keeps of them

    def hold(self, lists: Sequence[SkinList]) -> None:
        """Grow until the lists fit, and what half of their skin may bring inside the cutoff."""
        wide = max(near.graph.neighbors.shape[1] for near in lists)
        if wide > self.wide:
            self.wide = -(-wide // WIDE_STEP) * WIDE_STEP
        self.grow(max(crowding(near, near.cutoff + near.skin / 2) for near in lists))

    def grow(self, needed: int) -> None:
        """Have at least so many slots on the device."""
        if needed > self.slots:
            self.slots = -(-int(np.ceil(HEADROOM * needed)) // SLOT_STEP) * SLOT_STEP


def listed(
    images: Sequence[System], cutoff: float, skin: float, *, atoms: int
) -> tuple[SkinList, ...]:
    """A list for every image, padded to a number of atoms."""
    return tuple(make(image, cutoff, skin, atoms=atoms) for image in images)


def stacked(lists: Sequence[SkinList], images: int, room: Room) -> Lists:
    """Lists of one band along a leading axis; the last one is repeated up to ``images``."""
    full = [*lists, *[lists[-1]] * (images - len(lists))]
    graphs = [widened(near.graph, room.wide) for near in full]
    return Lists(trees.stack(graphs), trees.stack([anchor(near) for near in full]))


def widened(graph: Graph, slots: int) -> Graph:
    """The same edges in more slots; NumPy leaves."""
    atoms, have = graph.neighbors.shape
    if have == slots:
        return graph
    own = np.arange(atoms * slots, dtype=np.int32).reshape(atoms, slots)
    reverse = own.copy()
    atom, slot = np.divmod(np.asarray(graph.reverse), have)
    reverse[:, :have] = atom * slots + slot
    neighbors = own // slots
    neighbors[:, :have] = graph.neighbors
    more = ((0, 0), (0, slots - have))
    leaves = {
        "neighbors": neighbors,
        "reverse": reverse,
        "shifts": np.pad(np.asarray(graph.shifts), (*more, (0, 0))),
        "edge_mask": np.pad(np.asarray(graph.edge_mask), more),
    }
    return graph._replace(**leaves)
