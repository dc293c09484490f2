import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax.training.crew import _put, _taken, crew
from mlffjax.training.step import State


@pytest.mark.parametrize(
    ("active", "width", "lanes", "blocks"),
    [
        ((0, 1, 2, 3, 4), 1, [[0], [1], [2], [3], [4]], 5),
        ((1, 4), 1, [[1], [4], [5], [5], [5]], 2),
        ((0, 2, 3), 2, [[0, 2], [3, 5], [5, 5]], 2),
        ((4,), 8, [[4, 5, 5, 5, 5, 5, 5, 5]], 1),
    ],
)
def test_crew_lists_the_active_ones_in_blocks(active, width, lanes, blocks):
    made = crew(active, 5, width)
    assert np.asarray(made.members).tolist() == lanes
    assert int(made.blocks) == blocks


def test_empty_lanes_change_nothing():
    states = State(*(jnp.arange(3.0) + 10 * number for number in range(5)))
    who = jnp.array([2, 3, 3])  # the third run, and two empty lanes
    taken = _taken(states, who)
    assert taken.trainable[0] == 2.0
    changed = _put(states, who, State(*(leaf + 100.0 for leaf in taken)))
    assert np.asarray(changed.trainable).tolist() == [0.0, 1.0, 102.0]
    assert np.asarray(changed.loss).tolist() == [40.0, 41.0, 142.0]
