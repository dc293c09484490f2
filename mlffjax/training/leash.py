"""Holding weights near where they came from by a proximal step, so that any strength is safe.

To the loss L is added a quadratic function of the weights w with origin w* and stiffness k,

    P(w) = 1/2 sum over weights i of  k_i (w_i - w*_i)²

Its gradient is not handed to the optimizer: Adam divides gradients by their own size, so weights
would hover about w* within a step however large k is. Instead, as AdamW takes its decay apart from
the gradient, the optimizer makes its move u from the gradient of L alone, w' = w + u, and then P is
minimised exactly around w', in the metric of that move (proximal operator):

    w <- argmin_v  P(v) + sum over i of (v_i - w'_i)² / (2 s_i)
       = w* + (w' - w*) / (1 + s k)

with the step sizes s_i that the optimizer multiplied the gradient by: s = rate / (sqrt(v) + eps)
for Adam with its second moment v. Because they are the same in both halves of the step, training
ends where the gradients of L and P cancel, as it would with P in the loss. For k -> infinity the
weights are w* exactly (to rounding with ``schedule_free_adamw``, whose average is recomputed in
every step), for any rate. Clipping shortens the gradient of L only; while it acts, P counts for
that much more.

References:
    Proximal operator: Parikh and Boyd, Found. Trends Optim. 1, 127 (2014), doi:10.1561/2400000003.
    With the metric of adaptive optimizers: Yun, Lozano and Yang, arXiv:2007.07484. Decoupled
    decay: Loshchilov and Hutter, arXiv:1711.05101.
"""

from typing import NamedTuple

import jax

from mlffjax.arrays import Array, PyTree


class Leash(NamedTuple):
    """Trees like the weights."""

    origin: PyTree
    stiffness: PyTree  # a number for every weight or for every leaf, finite, not negative


def held(moves: PyTree, weights: PyTree, sizes: PyTree, leash: Leash) -> PyTree:
    """The moves of an optimizer, followed by the proximal step.

    Args:
        moves: u, what the optimizer would add to the weights.
        weights: w, before the move.
        sizes: s, what it multiplied gradients by.
        leash: origin and stiffness.

    Returns:
        What is to be added to the weights: (u - s k (w - w*)) / (1 + s k).
    """

    def hold(move: Array, weight: Array, size: Array, start: Array, stiffness: Array) -> Array:
        pull = size * stiffness.astype(weight.dtype)  # may be infinite, as may its inverse
        away = weight - start.astype(weight.dtype)
        return move / (1 + pull) - away / (1 + 1 / pull)

    return jax.tree.map(hold, moves, weights, sizes, *leash)
