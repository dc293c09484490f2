"""Energies and their derivatives, once for every model.

One structure graph may hold many structures; every function returns one value per structure or
atom. Leading axes (images, models) are the caller's ``vmap`` or ``lax.map``.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mlffjax.arrays import Array, Float
from mlffjax.graphs.graph import Graph, graph_sums
from mlffjax.potential.base import Potential


class Prediction(NamedTuple):
    """What a potential says about the structures of a graph."""

    energy: Float[Array, "graphs"]  # eV, interaction energy (reference energies not included)
    forces: Float[Array, "atoms 3"]  # eV/Å, zero for padded atoms
    stress: Float[Array, "graphs 3 3"]  # eV/Å^3, ASE sign; zero for padded structures
    atomic_energies: Float[Array, "atoms"]  # eV, without reference energies


def energies(potential: Potential, graph: Graph) -> Float[Array, "graphs"]:
    """Interaction energy of each structure, eV (total minus reference energies)."""
    return graph_sums(potential.model.atomic_energies(potential.params, graph), graph)


def energies_and_forces(
    potential: Potential, graph: Graph
) -> tuple[Float[Array, "graphs"], Float[Array, "atoms 3"]]:
    """Interaction energies, eV, and forces, eV/Å."""

    def total(positions: Float[Array, "atoms 3"]) -> tuple[Array, Array]:
        each = energies(potential, graph._replace(positions=positions))
        return each.sum(), each

    (_, energy), gradient = jax.value_and_grad(total, has_aux=True)(graph.positions)
    return energy, _real(-gradient, graph)


def predict(potential: Potential, graph: Graph) -> Prediction:
    """Energies, forces and stresses in one reverse pass.

    The stress is the derivative by one symmetric strain per structure that moves atoms and cell
    together. For structures without a periodic direction it has no meaning and callers must not
    read it; padded structures read zero.
    """

    def total(
        positions: Float[Array, "atoms 3"], strain: Float[Array, "graphs 3 3"]
    ) -> tuple[Array, Array]:
        deformation = jnp.eye(3, dtype=strain.dtype) + (strain + strain.mT) / 2
        moved = _transform(positions, deformation[graph.atom_graph])
        cell = _transform(graph.cell, deformation[:, None])
        atomic = potential.model.atomic_energies(
            potential.params, graph._replace(positions=moved, cell=cell)
        )
        return jnp.where(graph.atom_mask, atomic, 0).sum(), atomic

    (_, atomic), (gradient, virial) = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(
        graph.positions, jnp.zeros_like(graph.cell)
    )
    volume = jnp.abs(jnp.linalg.det(graph.cell))[:, None, None]
    real = graph.graph_mask[:, None, None] & (volume > 0)
    stress = jnp.where(real, virial / jnp.where(real, volume, 1), 0)
    atomic = jnp.where(graph.atom_mask, atomic, 0)
    return Prediction(graph_sums(atomic, graph), _real(-gradient, graph), stress, atomic)


def hessian_vector_product(
    potential: Potential, graph: Graph, direction: Float[Array, "atoms 3"]
) -> Float[Array, "atoms 3"]:
    """Second derivative of the energy by positions times a direction, eV/Å^2.

    Forward over reverse; Cartesian, all atoms free. The graph's neighbour list must be valid at its
    positions.
    """

    def gradient(positions: Float[Array, "atoms 3"]) -> Float[Array, "atoms 3"]:
        return -energies_and_forces(potential, graph._replace(positions=positions))[1]

    return jax.jvp(gradient, (graph.positions,), (direction,))[1]


def _transform(rows: Array, matrix: Array) -> Array:
    """rows @ matrix with one 3x3 matrix per row, as a fused sum of products."""
    first, second, third = (rows[..., k, None] * matrix[..., k, :] for k in range(3))
    return first + second + third


def _real(values: Float[Array, "atoms 3"], graph: Graph) -> Float[Array, "atoms 3"]:
    return jnp.where(graph.atom_mask[:, None], values, 0)
