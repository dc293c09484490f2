"""Which image of a path to label next, so that a committee's barrier becomes certain.

The members' barriers b and predictions y of what a calculation at one image would return (its
energy above the first image and its forces) are taken as samples of a normal distribution. A
label with noise of covariance S then leaves of the variance of b

    var(b) - cov(b, y) (cov(y, y) + S)⁻¹ cov(y, b),

which depends on the image but not on the value the label will have. Covariances of M members have
rank M - 1, so the inverse is taken in the space of members.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mlffjax import trees
from mlffjax.arrays import Array, Float
from mlffjax.errors import InputError
from mlffjax.graphs.graph import Graph
from mlffjax.pathways.profiles import profile
from mlffjax.pathways.sensitivity import Quantity, barrier
from mlffjax.potential.base import Potential


class Informative(NamedTuple):
    """What labelling each image of a path promises."""

    mean: Float[Array, ""]  # of the quantity over members, eV
    variance: Float[Array, ""]  # of the quantity over members, eV²
    reduction: Float[Array, "images"]  # of that variance, expected from a label, eV²
    force_disagreement: Float[Array, "images"]  # largest spread of a force on an atom, eV/Å


def most_informative(
    committee: Potential,
    images: Graph,
    *,
    energy_noise: float = 1e-3,
    force_noise: float = 0.05,
    quantity: Quantity = barrier,
) -> Informative:
    """Expected reduction of the variance of a barrier by labelling each image; take the largest.

    Pure; compile it with ``quantity`` static.

    Args:
        committee: at least two potentials of one model, stacked.
        images: of the path, stacked; the first is taken as labelled.
        energy_noise: what a label of the energy leaves uncertain, eV: its own error, and how well
            the model can follow it.
        force_noise: the same for force components, eV/Å.
        quantity: of the energies of the images.

    Raises:
        InputError: there are fewer than two members.
    """
    members = trees.length(committee.params)
    if members < 2:
        raise InputError(f"expected a committee of at least 2 potentials, got {members}")
    energy, forces = jax.lax.map(lambda member: profile(member, images), committee)
    relative = energy - energy[:, :1]
    values = jax.vmap(quantity)(energy)
    labels = [relative[..., None] / energy_noise, forces.reshape(*energy.shape, -1) / force_noise]
    spread = jnp.sqrt(jnp.var(forces, axis=0, ddof=1).sum(axis=-1)).max(axis=-1)
    return Informative(
        mean=values.mean(),
        variance=jnp.var(values, ddof=1),
        reduction=expected_reduction(values, jnp.concatenate(labels, axis=-1)),
        force_disagreement=spread,
    )


def expected_reduction(
    values: Float[Array, "members"], labels: Float[Array, "members candidates quantities"]
) -> Float[Array, "candidates"]:
    """By how much each candidate's labels would lower the variance of a quantity.

    Args:
        values: the quantity, as each member predicts it.
        labels: what each member predicts the labels to be, divided by their noise.

    Returns:
        Square of the unit of ``values``; at least 0 and at most their variance.
    """
    count = values.shape[0]
    value = values - values.mean()
    label = jnp.moveaxis(labels - labels.mean(axis=0), 1, 0)
    overlap = label @ label.mT / (count - 1)
    known = overlap + jnp.eye(count, dtype=overlap.dtype)
    inner = jnp.linalg.solve(known, (overlap @ value)[..., None])[..., 0]
    return inner @ value / (count - 1)
