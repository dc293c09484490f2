"""How much a trained model's own loss depends on each weight: the diagonal of its Fisher matrix.

    F_i = mean over samples z of (d l_z / d w_i)²

with the loss l_z of one structure alone. This is the empirical Fisher matrix: squares of gradients
of single samples, which differs from the squared gradient of a batch, where samples cancel. It
stands in for the curvature of the loss at the trained weights (Kirkpatrick et al., PNAS 114, 3521
(2017), doi:10.1073/pnas.1611835114); labels that are met exactly give zero, so it needs labels that
are not the model's own (on its limits: arXiv:1905.12558).
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from mlffjax import trees
from mlffjax.arrays import PyTree
from mlffjax.errors import TrainingError
from mlffjax.potential.base import Potential
from mlffjax.structures.system import Frame
from mlffjax.training.batches import Batch, collect, gather, plan, samples
from mlffjax.training.config import TrainingConfig
from mlffjax.training.losses import supervised
from mlffjax.training.recipe import all_weights


def fisher(potential: Potential, frames: Sequence[Frame], training: TrainingConfig) -> PyTree:
    """Diagonal of the empirical Fisher matrix, scaled to a mean of one.

    Args:
        potential: trained, with the reference energies that belong to the labels.
        frames: labelled structures of what it was trained for.
        training: gives loss, precision and number of array shapes.

    Returns:
        A tree like ``potential.params["weights"]``.

    Raises:
        TrainingError: there are no frames, one has no forces, or no gradient is finite and
            different from zero.
        CompatibilityError: a frame holds an element the potential does not know, or the potential
            has no weights.
    """
    if not frames:
        raise TrainingError("expected labelled frames for a Fisher matrix, got none")
    systems = [frame.system for frame in frames]
    weights, realize = all_weights(trees.cast(potential, training.precision))
    buckets = collect(
        samples(frames, potential),
        potential.elements,
        potential.cutoff,
        plan(systems, potential.cutoff, most=training.buckets),
        dtype=np.dtype(training.precision),
    )
    loss = Partial(supervised(training.loss), realize)  # pyright: ignore[reportArgumentType]
    sums = [summed_squares(loss, weights, bucket.rows) for bucket in buckets]
    total = functools.reduce(functools.partial(jax.tree.map, jnp.add), sums)
    mean = sum(leaf.sum() for leaf in jax.tree.leaves(total)) / trees.size(total)
    if not np.isfinite(mean) or mean <= 0:
        raise TrainingError(
            f"expected gradients of the loss of {len(frames)} frames that are finite and not all "
            f"zero, got a mean square of {float(mean):.3g}; the labels must not be the model's own"
        )
    return jax.tree.map(lambda leaf: leaf / mean, total)


@jax.jit
def summed_squares(loss: Partial, weights: PyTree, rows: Batch) -> PyTree:
    """Sum over structures of the squared gradient of the loss of each, one after the other.

    Args:
        loss: (weights, batch) -> number.
        weights: to differentiate by.
        rows: a bucket of structures of one shape.
    """

    def add(total: PyTree, row: jax.Array) -> tuple[PyTree, None]:
        gradient = jax.grad(loss)(weights, gather(rows, row[None]))
        return jax.tree.map(lambda sofar, g: sofar + g**2, total, gradient), None

    zeros = jax.tree.map(jnp.zeros_like, weights)
    return jax.lax.scan(add, zeros, jnp.arange(len(rows.weight)))[0]
