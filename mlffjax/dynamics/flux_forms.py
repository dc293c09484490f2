"""Heat fluxes that other programs compute, to see how wrong they are for a given model.

Both need no more than derivatives by edge vectors d_ij = r_j - r_i, of which forces and stress are
made, and agree with the exact flux for pair potentials. So a test of forces or stress cannot tell
them apart, and only the exact flux shows their error:

- the *edge form*, -sum_ij d_ij (dU/dd_ij . v_j), is exact if an edge enters the energy of its
  receiver only: one interaction, any body order. With more interactions it puts energies of other
  atoms at the receiver;
- the *pairwise form*, sum_ij (F_ij . v_j) (r_i - r_j) / 2 with antisymmetric pair forces, which
  many-body codes evaluate, is right for pair potentials only.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mlffjax.arrays import Array, Float
from mlffjax.dynamics.heat_flux import check, heat_flux
from mlffjax.graphs.graph import Graph, edge_vectors, from_senders
from mlffjax.potential.base import Potential


class FormErrors(NamedTuple):
    """|J - J_exact| / |J_exact| of the potential parts."""

    edge: Float[Array, ""]
    pairwise: Float[Array, ""]


def edge_flux(
    potential: Potential, graph: Graph, velocities: Float[Array, "atoms 3"]
) -> Float[Array, "3"]:
    """Potential part in the edge form, eV Å per unit of time; exact for one interaction.

    Arguments and errors are those of ``heat_flux``.
    """
    vectors, gradients, senders = _edges(potential, graph, velocities)
    return -((gradients * senders).sum(-1, keepdims=True) * vectors).sum(axis=(0, 1))


def pairwise_flux(
    potential: Potential, graph: Graph, velocities: Float[Array, "atoms 3"]
) -> Float[Array, "3"]:
    """Potential part as a sum over pair forces, eV Å per unit of time; exact for pair potentials.

    F_ij = dU/dd_ij - dU/dd_ji is the force on i by j. Arguments and errors are those of
    ``heat_flux``.
    """
    vectors, gradients, senders = _edges(potential, graph, velocities)
    mirrored = gradients.reshape(-1, 3)[graph.reverse]
    forces = jnp.where(graph.edge_mask[..., None], gradients - mirrored, 0)
    return -((forces * senders).sum(-1, keepdims=True) * vectors).sum(axis=(0, 1)) / 2


def form_errors(
    potential: Potential, graph: Graph, velocities: Float[Array, "atoms 3"]
) -> FormErrors:
    """How far both forms are from the exact flux of a model, relative, at one frame.

    Arguments and errors are those of ``heat_flux``.
    """
    massless = jnp.zeros(graph.species.shape, graph.positions.dtype)
    exact = heat_flux(potential, graph, velocities, massless).potential

    def error(approximate: Float[Array, "3"]) -> Float[Array, ""]:
        return jnp.linalg.norm(approximate - exact) / jnp.linalg.norm(exact)

    return FormErrors(
        edge=error(edge_flux(potential, graph, velocities)),
        pairwise=error(pairwise_flux(potential, graph, velocities)),
    )


def _edges(
    potential: Potential, graph: Graph, velocities: Float[Array, "atoms 3"]
) -> tuple[Float[Array, "atoms slots 3"], ...]:
    """Edge vectors, derivatives of the energy by them, and velocities of the senders."""
    check(potential, graph, velocities)
    # With the unit cell the shifts are the Cartesian vectors of the images, which add to the edges.
    images = jnp.einsum("nkx,xy->nky", graph.shifts, graph.cell[0])
    cartesian = graph._replace(cell=jnp.eye(3, dtype=graph.cell.dtype)[None])

    def total(shifts: Float[Array, "atoms slots 3"]) -> Array:
        moved = cartesian._replace(shifts=shifts)
        atomic = potential.model.atomic_energies(potential.params, moved)
        return jnp.where(graph.atom_mask, atomic, 0).sum()

    senders = from_senders(graph, jnp.where(graph.atom_mask[:, None], velocities, 0))
    return edge_vectors(graph, outside=0.0), jax.grad(total)(images), senders
