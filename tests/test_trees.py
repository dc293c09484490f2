"""Stacking, naming and casting trees lose nothing and refuse what does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.errors import CompatibilityError, InputError


def tree(value: float) -> dict:
    return {"weights": {"a": jnp.full((2, 3), value), "b": jnp.array(value)}, "n": jnp.arange(4)}


def assert_equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_unstack_inverts_stack():
    singles = [tree(1.0), tree(2.0), tree(3.0)]
    stacked = trees.stack(singles)
    assert stacked["weights"]["a"].shape == (3, 2, 3)
    assert trees.length(stacked) == 3
    for single, again in zip(singles, trees.unstack(stacked), strict=True):
        assert_equal(single, again)


def test_numpy_stays_on_the_host():
    stacked = trees.stack([{"x": np.zeros(2)}, {"x": np.ones(2)}])
    assert isinstance(stacked["x"], np.ndarray)
    mixed = trees.stack([{"x": np.zeros(2)}, {"x": jnp.ones(2)}])
    assert isinstance(mixed["x"], jax.Array)


@pytest.mark.parametrize(
    ("singles", "error", "message"),
    [
        ([], InputError, "at least one"),
        ([{"a": np.zeros(2)}, {"b": np.zeros(2)}], CompatibilityError, "tree 1 differs"),
        (
            [{"a": np.zeros(2)}, {"a": np.zeros(2)}, {"a": np.zeros(3)}],
            CompatibilityError,
            r"'a' has shape \(2,\) in tree 0 and \(3,\) in tree 2",
        ),
    ],
)
def test_unlike_trees_do_not_stack(singles, error, message):
    with pytest.raises(error, match=message):
        trees.stack(singles)


@pytest.mark.parametrize("bad", [{"a": np.zeros(2), "b": np.zeros(3)}, {"a": np.float64(1.0)}, {}])
def test_length_needs_a_common_axis(bad):
    with pytest.raises(CompatibilityError, match="common leading axis"):
        trees.length(bad)


def test_size_counts_scalars():
    assert trees.size(tree(0.0)) == 6 + 1 + 4


def test_cast_touches_floats_only():
    mixed = {"x": jnp.ones(2, jnp.float64), "i": jnp.arange(2), "b": np.array([True]), "s": 1.5}
    cast = trees.cast({**mixed, "key": jax.random.key(0)}, jnp.float32)
    assert cast["x"].dtype == cast["s"].dtype == jnp.float32
    assert cast["i"].dtype == mixed["i"].dtype
    assert cast["b"].dtype == bool
    assert jnp.issubdtype(cast["key"].dtype, jax.dtypes.prng_key)


def test_names_and_back():
    original = tree(2.0)
    named = trees.names(original)
    assert list(named) == ["n", "weights/a", "weights/b"]
    assert_equal(trees.from_names(named), original)


def test_names_follow_the_order_of_leaves():
    named = trees.names(tree(1.0))
    for one, other in zip(named.values(), jax.tree.leaves(tree(1.0)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_ambiguous_names_are_refused():
    with pytest.raises(InputError, match="without '/'"):
        trees.names({"a/b": np.zeros(1)})
    with pytest.raises(InputError, match="already holds an array"):
        trees.from_names({"a": np.zeros(1), "a/b": np.zeros(1)})
    with pytest.raises(InputError, match="would replace"):
        trees.from_names({"a/b": np.zeros(1), "a": np.zeros(1)})
