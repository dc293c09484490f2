import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax.errors import CompatibilityError
from mlffjax.pathways import mapping


@pytest.mark.parametrize("lanes", [1, 3, 64])
def test_result_does_not_depend_on_how_many_are_done_at_once(monkeypatch, lanes):
    monkeypatch.setattr(mapping, "lanes", lambda count: min(count, lanes))
    tree = {"x": np.arange(7.0), "y": np.arange(14.0).reshape(7, 2)}
    found = mapping.mapped(lambda leaf: leaf["x"] * jnp.sin(leaf["y"]), tree)
    np.testing.assert_array_equal(found, tree["x"][:, None] * np.sin(tree["y"]))


def test_one_lane_on_a_cpu_and_few_enough_elsewhere(monkeypatch):
    assert mapping.lanes(100) == 1
    monkeypatch.setattr(mapping.jax, "default_backend", lambda: "gpu")
    assert (mapping.lanes(3), mapping.lanes(1000)) == (3, mapping.LANES)


def test_leading_axes_must_agree():
    with pytest.raises(CompatibilityError, match="leading axis"):
        mapping.mapped(lambda leaf: leaf, {"x": np.zeros(3), "y": np.zeros(4)})
