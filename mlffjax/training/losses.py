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

import jax.numpy as jnp

from mlffjax import trees
from mlffjax.arrays import Array, Float, PyTree
from mlffjax.graphs.graph import atom_counts
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import Prediction, energies_and_forces, predict
from mlffjax.training.batches import Batch
from mlffjax.training.config import LossConfig

Realize = Callable[[PyTree], Potential]
Loss = Callable[[PyTree, Batch], Float[Array, ""]]


@functools.cache
def supervised(config: LossConfig) -> Callable[[Realize, PyTree, Batch], Float[Array, ""]]:
    """The loss as a function of (realize, trainable, batch).

    Equal configurations give the same function object, so runs share compiled steps.
    """

    def loss(realize: Realize, trainable: PyTree, batch: Batch) -> Float[Array, ""]:
        # Frozen weights and constants may be float64; the batch decides the precision.
        potential = trees.cast(realize(trainable), batch.graph.positions.dtype)
        if config.stress:
            return residual_loss(predict(potential, batch.graph), batch, config)
        energy, forces = energies_and_forces(potential, batch.graph)
        unused = jnp.zeros_like(batch.stress)
        return residual_loss(Prediction(energy, forces, unused, energy), batch, config)

    return loss


def residual_loss(prediction: Prediction, batch: Batch, config: LossConfig) -> Float[Array, ""]:
    """The loss of a prediction; padded and unlabelled entries do not count."""
    rho = functools.partial(huber, delta=config.delta) if config.kind == "huber" else jnp.square
    graph, weight = batch.graph, batch.weight
    per_atom = (prediction.energy - batch.energy) / atom_counts(graph)
    energy = _mean(weight * rho(per_atom), batch.has_energy)
    each = rho(prediction.forces - batch.forces).mean(axis=1)
    forces = _mean(weight[graph.atom_graph] * each, graph.atom_mask)
    stress = _mean(
        weight * rho(prediction.stress - batch.stress).mean(axis=(1, 2)), batch.has_stress
    )
    return config.energy * energy + config.forces * forces + config.stress * stress


def huber(residual: Float[Array, "..."], *, delta: float) -> Float[Array, "..."]:
    """x²/2 up to |x| = delta, then linear with the slope reached there."""
    size = jnp.abs(residual)
    # Both branches are finite everywhere, so the gradient of the unused one does no harm.
    return jnp.where(size <= delta, residual**2 / 2, delta * (size - delta / 2))


def _mean(values: Array, mask: Array) -> Float[Array, ""]:
    return jnp.where(mask, values, 0).sum() / jnp.maximum(mask.sum(), 1).astype(values.dtype)
