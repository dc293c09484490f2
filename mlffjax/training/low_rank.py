"""Low-rank updates of matrices in a tree of weights: W + (alpha / r) A B.

In a MACE a matrix acts on the channels (multiplicities) of one irrep, or on invariants, never on
components. Adding anything to it commutes with rotations, so a low-rank update is as equivariant
as the matrix. The first axis is the input; all others together are the output, so that a map with
one matrix per element [in, elements, out] has one update with a common input side.

Hu et al., ICLR 2022, arXiv:2106.09685.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from mlffjax import trees
from mlffjax.arrays import Array, Float, PRNGKey, PyTree
from mlffjax.potential.base import Potential
from mlffjax.training.parts import with_weights

DOWN, UP = "down", "up"
"""Names of A and B."""


class Adapted(NamedTuple):
    """What is trained, how it becomes a potential, and which weights have which part in it."""

    trainable: PyTree  # {"low": factors of the adapted, "full": the others that are trained}
    realize: Partial
    low: tuple[str, ...]
    full: tuple[str, ...]
    frozen: tuple[str, ...]


def saves(shape: tuple[int, ...], rank: int) -> bool:
    """Whether the two factors have fewer numbers than the matrix."""
    inputs, outputs = _flat(shape)
    return rank * (inputs + outputs) < inputs * outputs


def adapt(
    potential: Potential, names: tuple[str, ...], *, rank: int, alpha: float, key: PRNGKey
) -> Adapted:
    """Updates of the named weights; those that a low rank would not make smaller are trained whole.

    A is drawn with the standard deviation 1/sqrt(r) and B is zero: nothing is changed at first, and
    with alpha = r the first steps of Adam change a weight about as much as without factors, if
    weights are of the order of one, as those of a MACE are.
    """
    named = trees.names(potential.params["weights"])
    low = tuple(name for name in names if saves(named[name].shape, rank))
    full = tuple(name for name in names if name not in low)
    frozen = tuple(name for name in named if name not in names)
    factors = {}
    for name, draw in zip(low, jax.random.split(key, max(len(low), 1)), strict=False):
        inputs, outputs = _flat(named[name].shape)
        dtype = named[name].dtype
        factors[f"{name}/{DOWN}"] = jax.random.normal(draw, (inputs, rank), dtype) / rank**0.5
        factors[f"{name}/{UP}"] = jnp.zeros((rank, outputs), dtype)
    trainable = {
        "low": trees.from_names(factors),
        "full": trees.from_names({name: named[name] for name in full}),
    }
    scale = jnp.asarray(alpha / rank)
    return Adapted(trainable, Partial(merged, potential, scale), low, full, frozen)


def merged(potential: Potential, scale: Float[Array, ""], trainable: PyTree) -> Potential:
    """The potential with the updates added and the weights that are trained whole replaced."""
    named, factors = trees.names(potential.params["weights"]), trees.names(trainable["low"])
    new = {}
    for name in (path.removesuffix(f"/{DOWN}") for path in factors if path.endswith(f"/{DOWN}")):
        weight = named[name]
        update = factors[f"{name}/{DOWN}"] @ factors[f"{name}/{UP}"]
        new[name] = weight + scale.astype(update.dtype) * update.reshape(weight.shape)
    return with_weights(potential, trees.from_names(new | trees.names(trainable["full"])))


def _flat(shape: tuple[int, ...]) -> tuple[int, int]:
    """Inputs and outputs of a weight taken as one matrix."""
    outputs = 1
    for length in shape[1:]:
        outputs *= length
    return shape[0], outputs
