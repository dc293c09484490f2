"""What training minimises: residuals of energy per atom, force components and stress components.

With rho(x) = x² (``weighted``) or Huber's function (``huber``), weights w_g of the structures and
means over labelled, unpadded entries::

    loss = energy  * mean_g   w_g rho((E_g - E*_g) / N_g)
         + forces  * mean_ia  w_g(i) rho(F_ia - F*_ia)
         + stress  * mean_gab w_g rho(S_gab - S*_gab)

Huber: x²/2 below delta, delta (|x| - delta/2) above; Ann. Math. Statist. 35, 73 (1964),
doi:10.1214/aoms/1177703732.
"""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jax.tree_util import Partial

from mlffjax import trees
from mlffjax.arrays import Array, Float, PyTree
from mlffjax.graphs.graph import atom_counts
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import Prediction, energies_and_forces, predict
from mlffjax.training import spread
from mlffjax.training.batches import Batch
from mlffjax.training.config import LossConfig

Realize = Callable[[PyTree], Potential]
Loss = Callable[[PyTree, Batch], Float[Array, ""]]


class Weights(NamedTuple):
    """The numbers of a ``LossConfig``; they may be arrays."""

    energy: float | Array
    forces: float | Array
    stress: float | Array
    delta: float | Array


def adjustable(config: LossConfig, realize: Realize) -> Partial:
    """The loss as a function of (trainable, batch) whose numbers are data.

    Runs that differ in weights, or in what ``realize`` holds, share compiled steps. Only the kind
    and whether stresses count at all are compiled in.
    """
    numbers = Weights(config.energy, config.forces, config.stress, config.delta)
    return Partial(_adjustable(config.kind, config.stress > 0), numbers, realize)


@functools.cache
def _adjustable(
    kind: Literal["weighted", "huber"], stressed: bool
) -> Callable[..., Float[Array, ""]]:
    """Equal choices give the same function object."""
    config = LossConfig(kind=kind, stress=float(stressed))

    def loss(
        weights: Weights, realize: Realize, trainable: PyTree, batch: Batch
    ) -> Float[Array, ""]:
        return _loss(config, weights, realize, trainable, batch)

    return loss


@functools.cache
def supervised(config: LossConfig) -> Callable[[Realize, PyTree, Batch], Float[Array, ""]]:
    """The loss as a function of (realize, trainable, batch).

    Equal configurations give the same function object, so runs share compiled steps.
    """

    def loss(realize: Realize, trainable: PyTree, batch: Batch) -> Float[Array, ""]:
        return _loss(config, None, realize, trainable, batch)

    return loss


def _loss(
    config: LossConfig,
    weights: Weights | None,
    realize: Realize,
    trainable: PyTree,
    batch: Batch,
) -> Float[Array, ""]:
    # Frozen weights and constants may be float64; the batch decides the precision.
    potential = trees.cast(realize(trainable), batch.graph.positions.dtype)
    if config.stress:
        return residual_loss(predict(potential, batch.graph), batch, config, weights)
    energy, forces = energies_and_forces(potential, batch.graph)
    unstressed = Prediction(energy, forces, jnp.zeros_like(batch.stress), energy)
    return residual_loss(unstressed, batch, config, weights)


def residual_loss(
    prediction: Prediction, batch: Batch, config: LossConfig, weights: Weights | None = None
) -> Float[Array, ""]:
    """The loss of a prediction; padded and unlabelled entries do not count.

    ``weights`` replace the numbers of the configuration.
    """
    numbers = config if weights is None else weights
    rho = functools.partial(huber, delta=numbers.delta) if config.kind == "huber" else jnp.square
    graph, weight = batch.graph, batch.weight
    per_atom = (prediction.energy - batch.energy) / atom_counts(graph)
    energy = mean(weight * rho(per_atom), batch.has_energy)
    each = rho(prediction.forces - batch.forces).mean(axis=1)
    forces = mean(weight[graph.atom_graph] * each, graph.atom_mask)
    stress = mean(
        weight * rho(prediction.stress - batch.stress).mean(axis=(1, 2)), batch.has_stress
    )
    return numbers.energy * energy + numbers.forces * forces + numbers.stress * stress


def huber(residual: Float[Array, "..."], *, delta: float | Array) -> Float[Array, "..."]:
    """x²/2 up to |x| = delta, then linear with the slope reached there."""
    size = jnp.abs(residual)
    # Both branches are finite everywhere, so the gradient of the unused one does no harm.
    return jnp.where(size <= delta, residual**2 / 2, delta * (size - delta / 2))


def mean(values: Array, mask: Array) -> Float[Array, ""]:
    """Mean over the masked entries of a batch, 0 if there are none.

    Where a batch is spread over devices this is the part of the device at work: its sum by the
    count of all. A loss must take its means over a batch here, so that the parts add up.
    """
    count = jnp.maximum(spread.total(mask.sum()), 1)
    return jnp.where(mask, values, 0).sum() / count.astype(values.dtype)
