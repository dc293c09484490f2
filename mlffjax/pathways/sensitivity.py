"""How a barrier depends on the parameters of the potential, on positions and on strain.

For images that stay where they are (``path_gradient``) the derivatives are exact. For relaxed
images (``relaxed_gradient``) they are those of the relaxed barrier by the envelope theorem: the
energy of a stationary point does not change to first order when the point moves, so

    d E(x*(p), p) / dp = partial E(x*, p) / partial p,

with an error of the residual force times dx*/dp. Points with a residual above a tolerance
therefore give NaN, not numbers. The derivative by a symmetric strain of all images together is
the volume times the difference of their stresses.

All functions are pure: compile them with ``quantity`` static, map them over stacked potentials.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mlffjax.arrays import Array, Bool, Float, Int, PyTree
from mlffjax.graphs.graph import Graph
from mlffjax.pathways.mapping import mapped
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import energies

Quantity = Callable[[Float[Array, "images"]], Float[Array, ""]]

TOLERANCE = 1e-3
"""eV/Å; the largest force at which a point passes for stationary."""


class PathGradient(NamedTuple):
    """A quantity of the energies of some images, with its derivatives at fixed geometry."""

    value: Float[Array, ""]  # eV
    params: PyTree  # like the potential's, eV per unit of each
    positions: Float[Array, "images atoms 3"]  # eV/Å
    strain: Float[Array, "3 3"]  # symmetric strain of cell and positions of all images, eV


class RelaxedGradient(NamedTuple):
    """A quantity of stationary points, with its derivatives; NaN where they are not stationary."""

    value: Float[Array, ""]  # eV
    params: PyTree  # like the potential's, eV per unit of each
    strain: Float[Array, "3 3"]  # symmetric strain; the points follow it, eV
    residual: Float[Array, ""]  # largest force on a free atom of the images that matter, eV/Å
    stationary: Bool[Array, ""]


def barrier(energy: Float[Array, "images"]) -> Float[Array, ""]:
    """The highest image above the first, eV."""
    return energy.max() - energy[0]


def asymmetry(energy: Float[Array, "images"]) -> Float[Array, ""]:
    """The last image above the first, eV."""
    return energy[-1] - energy[0]


def path_gradient(
    potential: Potential, images: Graph, quantity: Quantity = barrier
) -> PathGradient:
    """A quantity of the energies of fixed images and all its derivatives, in one reverse pass.

    Args:
        potential: an energy model.
        images: structures of one size and cell, stacked (``profiles.band``).
        quantity: of the interaction energies of the images, such as ``barrier`` or ``asymmetry``.
    """

    def total(
        params: PyTree, positions: Float[Array, "images atoms 3"], strain: Float[Array, "3 3"]
    ) -> Float[Array, ""]:
        deformed = strained(images._replace(positions=positions), strain)

        # Recomputed in the reverse pass: the memory is that of one image, not of all.
        @jax.checkpoint
        def single(image: Graph) -> Float[Array, ""]:
            return energies(dataclasses.replace(potential, params=params), image)[0]

        return quantity(mapped(single, deformed))

    still = jnp.zeros((3, 3), images.positions.dtype)
    value, (params, positions, strain) = jax.value_and_grad(total, argnums=(0, 1, 2))(
        potential.params, images.positions, still
    )
    return PathGradient(value, params, positions, strain)


def relaxed_gradient(
    potential: Potential,
    points: Graph,
    quantity: Quantity = asymmetry,
    *,
    free: Int[Array, "free"] | None = None,
    tolerance: float = TOLERANCE,
) -> RelaxedGradient:
    """A quantity of stationary points and its total derivatives by parameters and strain.

    With the points (minimum, saddle), ``asymmetry`` is the barrier; with two minima, the energy
    between them.

    Args:
        potential: the one with which the points were refined.
        points: stationary points, stacked (``profiles.band``).
        quantity: of the energies of the points.
        free: indices of the atoms that were free; all by default. Fixed atoms follow a strain.
        tolerance: largest force on a free atom, eV/Å.
    """
    fixed = path_gradient(potential, points, quantity)
    forces = fixed.positions if free is None else fixed.positions[:, free]
    residual = jnp.sqrt((forces**2).sum(axis=-1).max())
    stationary = residual <= tolerance

    def believed(leaf: Array) -> Array:
        return jnp.where(stationary, leaf, jnp.nan)

    return RelaxedGradient(
        value=believed(fixed.value),
        params=jax.tree.map(believed, fixed.params),
        strain=believed(fixed.strain),
        residual=residual,
        stationary=stationary,
    )


def strained(graph: Graph, strain: Float[Array, "3 3"]) -> Graph:
    """Atoms and cells deformed together by the symmetric part of a strain.

    Leading axes are allowed.
    """
    deformation = jnp.eye(3, dtype=strain.dtype) + (strain + strain.T) / 2
    return graph._replace(
        positions=graph.positions @ deformation, cell=jnp.asarray(graph.cell) @ deformation
    )
