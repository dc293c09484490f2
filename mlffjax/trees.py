"""Trees of arrays: one model, one graph, or many of them along a leading axis.

``stack`` turns a list of trees into one tree over which ``jax.vmap`` maps. Trees whose leaves
are all NumPy stay NumPy, so batches can be prepared on the host without touching a device.
"""

import operator
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from mlffjax.arrays import Array, PyTree
from mlffjax.errors import CompatibilityError, InputError

Tree = TypeVar("Tree")


def stack(trees: Sequence[Tree]) -> Tree:
    """Join trees of equal structure and leaf shapes along a new leading axis.

    Raises:
        InputError: there is no tree to stack.
        CompatibilityError: structures, static parts or leaf shapes differ.
    """
    if not trees:
        raise InputError("expected at least one tree to stack, got none")
    first = jax.tree.structure(trees[0])
    for index, tree in enumerate(trees[1:], start=1):
        if (other := jax.tree.structure(tree)) != first:
            raise CompatibilityError(
                f"trees of one structure are needed to stack them, but tree {index} differs from "
                f"tree 0:\n  {other}\n  {first}"
            )
    for name, *shapes in zip(_paths(trees[0]), *map(_shapes, trees), strict=True):
        if odd := [index for index, shape in enumerate(shapes) if shape != shapes[0]]:
            raise CompatibilityError(
                f"leaves of one shape are needed to stack trees, but {name!r} has shape "
                f"{shapes[0]} in tree 0 and {shapes[odd[0]]} in tree {odd[0]}; pad them to a "
                "common shape first"
            )
    return jax.tree.map(_stack_leaves, *trees)


def unstack(tree: Tree) -> list[Tree]:
    """Split a tree along the leading axis of its leaves; the inverse of ``stack``."""
    return [jax.tree.map(operator.itemgetter(index), tree) for index in range(length(tree))]


def length(tree: PyTree) -> int:
    """Length of the leading axis that all leaves share.

    Raises:
        CompatibilityError: the leaves have no common leading axis.
    """
    lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(tree)}
    if len(lengths) != 1 or () in lengths:
        raise CompatibilityError(
            f"expected leaves with one common leading axis, got leading axes {sorted(lengths)}"
        )
    return lengths.pop()[0]


def size(tree: PyTree) -> int:
    """Number of scalars in all leaves; for parameters, the size of the model."""
    return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(tree))


def cast(tree: Tree, dtype: Any) -> Tree:
    """Give all floating-point leaves a dtype; integers, booleans and keys stay as they are."""

    def convert(leaf: Any) -> Any:
        leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(convert, tree)


def names(tree: PyTree) -> dict[str, Any]:
    """Leaves by name, the keys on the way joined by ``/``, in the order of ``jax.tree.leaves``.

    Raises:
        InputError: two leaves would get the same name because a key contains ``/``.
    """
    paths, leaves = _paths(tree), jax.tree.leaves(tree)
    named = dict(zip(paths, leaves, strict=True))
    if len(named) != len(leaves) or any(
        isinstance(key, jax.tree_util.DictKey) and "/" in str(key.key)
        for path, _ in jax.tree_util.tree_leaves_with_path(tree)
        for key in path
    ):
        raise InputError(f"keys without '/' are needed to name the leaves of a tree, got {paths}")
    return named


def from_names(named: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries from ``/``-joined names; inverts ``names`` for trees of dictionaries.

    Raises:
        InputError: a name is also the beginning of another one, so it is both leaf and branch.
    """
    tree: dict[str, Any] = {}
    for name, leaf in named.items():
        *branches, last = name.split("/")
        node = tree
        for branch in branches:
            node = node.setdefault(branch, {})
            if not isinstance(node, dict):
                raise InputError(f"{name!r} goes through {branch!r}, which already holds an array")
        if last in node:
            raise InputError(f"{name!r} would replace what other names put there")
        node[last] = leaf
    return tree


def _paths(tree: PyTree) -> list[str]:
    return [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree_util.tree_leaves_with_path(tree)
    ]


def _shapes(tree: PyTree) -> list[tuple[int, ...]]:
    return [np.shape(leaf) for leaf in jax.tree.leaves(tree)]


def _stack_leaves(*leaves: Any) -> Array | np.ndarray:
    if all(isinstance(leaf, np.ndarray | np.generic | float | int) for leaf in leaves):
        return np.stack(leaves)
    return jnp.stack(leaves)
