"""Readouts: from the invariant features of an atom to its energy."""

import itertools
from typing import NamedTuple

import flax.linen as nn
import jax

from mlffjax.arrays import Array, Float
from mlffjax.potential.mace.plan import LayerPlan


class FoldedReadout(NamedTuple):
    """Matrices with an activation between each and the next; biases of all but the first."""

    weights: list[Float[Array, "fan_in fan_out"]]
    biases: list[Float[Array, "fan_out"]]  # none, or one for each matrix but the first


def declare_readout(module: nn.Module, plan: LayerPlan) -> FoldedReadout:
    """Declare the weights of a layer's readout in the scope of a module."""
    one, zero = nn.initializers.ones, nn.initializers.zeros
    shapes = list(enumerate(itertools.pairwise(plan.readout_widths)))
    biased = shapes[1:] if plan.has_biases else []
    return FoldedReadout(
        [module.param(f"readout_{k}", one, shape) for k, shape in shapes],
        [module.param(f"readout_bias_{k}", zero, (width,)) for k, (_, width) in biased],
    )


def fold_readout(declared: FoldedReadout) -> FoldedReadout:
    """Multiply the normalisations in."""
    return declared._replace(weights=[w / w.shape[0] ** 0.5 for w in declared.weights])


def read_out(
    folded: FoldedReadout, scalars: Float[Array, "atoms channels"], activation_scale: float
) -> Float[Array, "atoms"]:
    """Energy of the scalar features, before scale and shift."""
    values = last_inputs(folded, scalars, activation_scale) @ folded.weights[-1]
    values = values + folded.biases[-1] if folded.biases else values
    return values[:, 0]


def last_inputs(
    folded: FoldedReadout, scalars: Float[Array, "atoms channels"], activation_scale: float
) -> Float[Array, "atoms fan_in"]:
    """What the last matrix multiplies: the scalar features themselves, or hidden values."""
    biases = [None, *folded.biases] if folded.biases else [None] * len(folded.weights)
    values = scalars
    for weight, bias in zip(folded.weights[:-1], biases, strict=False):  # without the last
        values = values @ weight
        values = values if bias is None else values + bias
        values = jax.nn.silu(values) * activation_scale
    return values
