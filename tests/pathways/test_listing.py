import jax
import numpy as np
import pytest

from mlffjax.graphs.skin import make
from mlffjax.pathways import listing
from mlffjax.potential import derivatives
from mlffjax.potential.pair import lennard_jones
from mlffjax.probes._example import migration

ARGON = lennard_jones((18,), cutoff=5.5)


@pytest.fixture(scope="module")
def images():
    return [frame.system for frame in migration(images=3).paths["hop"].frames]


def test_more_slots_are_the_same_edges(images):
    near = make(images[0], 5.5, 0.3)
    wide = listing.widened(near.graph, near.graph.neighbors.shape[1] + 12)
    one = jax.jit(derivatives.energies_and_forces)
    for found, expected in zip(one(ARGON, wide), one(ARGON, near.graph), strict=True):
        # Sums over padded slots in another order.
        np.testing.assert_allclose(found, expected, atol=1e-12)
    assert listing.widened(near.graph, near.graph.neighbors.shape[1]) is near.graph
    # The mirror of the mirror of an edge is the edge.
    reverse = wide.reverse.reshape(-1)
    np.testing.assert_array_equal(reverse[reverse], np.arange(len(reverse)))


def test_room_holds_what_it_saw_and_only_grows(images):
    room = listing.Room()
    small, large = make(images[0], 3.5, 0.2), make(images[0], 5.5, 0.2)
    room.hold([large])
    wide, slots = room.wide, room.slots
    assert wide >= large.graph.neighbors.shape[1]
    assert slots % listing.SLOT_STEP == 0
    assert slots >= large.graph.edge_mask.sum(axis=1).max()
    room.hold([small])
    assert (room.wide, room.slots) == (wide, slots)
    room.grow(slots + 1)
    assert room.slots > slots


def test_a_band_is_padded_with_its_last_image(images):
    room = listing.Room()
    lists = listing.listed(images, 5.5, 0.3, atoms=12)
    room.hold(lists)
    found = listing.stacked(lists, 5, room)
    assert found.graph.neighbors.shape == (5, 12, room.wide)
    np.testing.assert_array_equal(found.anchor.positions[4], found.anchor.positions[2])
    np.testing.assert_array_equal(found.anchor.positions[1, :9], images[1].positions)
