"""Second derivatives of the energy by the positions of the atoms that move.

Every function takes one structure whose neighbour list is valid at its positions, and ``free``,
the indices of the atoms that move; all others stand still. Derivatives are Cartesian. Nothing here
knows about masses or rigid motions, see ``vibrations``.
"""

import jax
import jax.numpy as jnp

from mlffjax.arrays import Array, Float, Int
from mlffjax.graphs.graph import Graph
from mlffjax.pathways.mapping import mapped
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import energies_and_forces, hessian_vector_product


def gradient(
    potential: Potential, graph: Graph, free: Int[Array, "free"]
) -> tuple[Float[Array, ""], Float[Array, "free 3"]]:
    """Interaction energy, eV, and its derivative by the positions of the free atoms, eV/Å."""
    energy, forces = energies_and_forces(potential, graph)
    return energy[0], -forces[free]


def product(
    potential: Potential,
    graph: Graph,
    free: Int[Array, "free"],
    direction: Float[Array, "free 3"],
) -> Float[Array, "free 3"]:
    """Hessian times a direction, eV/Å² times the unit of the direction."""
    everywhere = jnp.zeros_like(graph.positions).at[free].set(direction)
    return hessian_vector_product(potential, graph, everywhere)[free]


def hessian(
    potential: Potential, graph: Graph, free: Int[Array, "free"]
) -> Float[Array, "coordinates coordinates"]:
    """The symmetrised Hessian of the free atoms, eV/Å²; rows go over x, y, z of atom after atom.

    The gradient is linearised once; its columns follow in sequence on CPUs, many at a time on
    accelerators.
    """
    size = 3 * free.shape[0]

    def slope(moved: Float[Array, "free 3"]) -> Float[Array, "free 3"]:
        graph_there = graph._replace(positions=graph.positions.at[free].set(moved))
        return gradient(potential, graph_there, free)[1]

    _, push = jax.linearize(slope, graph.positions[free])

    def column(index: Int[Array, ""]) -> Float[Array, "coordinates"]:
        unit = jnp.zeros(size, graph.positions.dtype).at[index].set(1.0)
        return push(unit.reshape(-1, 3)).reshape(-1)

    columns = mapped(column, jnp.arange(size))
    return (columns + columns.T) / 2
