"""Heat flux of any model that passes messages, exact and without unfolding the cell.

With atomic energies e_i = U_i + m_i v_i^2 / 2, the flux is J = d/dt sum_i r_i e_i, which is::

    J = J_pot + J_conv,   J_conv = sum_i e_i v_i,
    J_pot = sum_i sum_j (r_i - r_j) (dU_i/dr_j . v_j)

where j runs over *every* periodic image within the model's reach and r_i - r_j is the true
distance. Forces do not hold these sums, because they have summed over i already. Here every
derivative that passes from atom j to its neighbour i is weighed by exp(tilt) of that edge
(``Graph.tilt``). Along a path of messages the factors multiply, so with tilt = k . (r_j - r_i) the
rate of change of the energy,

    T(k) = sum_i sum_j (dU_i/dr_j . v_j) exp(k . (r_j - r_i)),

has the derivative -J_pot at k = 0, whatever the number of interactions and the shape of the cell.
By the chain rule through the tilts that is one directional derivative and one reverse pass:
dT/dtilt of an edge is the power that flows through it, and J_pot = -sum over edges of power times
edge vector. The idea of weighing tangents is ours; the definition, and the unfolded form it is
tested against, are those of [1].

Everything is extensive (not divided by the volume), in eV Å per internal unit of time, and depends
on how the model shares its energy among atoms. So fluxes of two models cannot be compared, only
conductivities.

References:
    [1] Langer, Frank and Knoop, J. Chem. Phys. 159, 174105 (2023), doi:10.1063/5.0173967.
"""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from mlffjax.arrays import Array, Float
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.graphs.graph import Graph, edge_vectors
from mlffjax.potential.base import Potential


class Flux(NamedTuple):
    """Heat flux of one structure, extensive, eV Å per internal unit of time."""

    potential: Float[Array, "3"]  # work of atoms on each other
    convective: Float[Array, "3"]  # energy that atoms carry along

    @property
    def total(self) -> Float[Array, "3"]:
        """Sum of both parts."""
        return self.potential + self.convective


class Moving(Protocol):
    """The part of a state of dynamics that a flux depends on."""

    @property
    def velocities(self) -> Float[Array, "atoms 3"]:
        """Å per internal unit of time."""
        ...


def heat_flux(
    potential: Potential,
    graph: Graph,
    velocities: Float[Array, "atoms 3"],
    masses: Float[Array, "atoms"],
    *,
    mean_energies: Float[Array, "elements"] | None = None,
) -> Flux:
    """Exact heat flux of one structure.

    Costs less than two evaluations of energy and forces. May be compiled and mapped.

    Args:
        potential: a model that states "heat_flux" in ``supports``.
        graph: one structure, padded or not, with a neighbour list that is valid at its positions.
        velocities: Å per internal unit of time; those of padded atoms do not matter. Subtract the
            centre of mass's velocity first, or the drift of the whole crystal counts as heat.
        masses: u.
        mean_energies: energy per atom of each element, eV, that does not count as transported.
            Leaves the conductivity of a solid as it is and removes most of the noise; see
            ``mean_energies`` of this module.

    Raises:
        CompatibilityError: the model does not support heat fluxes.
        InputError: the graph holds several structures, or shapes do not fit.
    """
    check(potential, graph, velocities)
    moving = jnp.where(graph.atom_mask[:, None], velocities, 0).astype(graph.positions.dtype)
    vectors = jax.lax.stop_gradient(edge_vectors(graph, outside=0.0))
    powers, atomic = _edge_powers(potential, graph, moving)
    if mean_energies is not None:
        atomic = atomic - mean_energies[graph.species]
    carried = atomic + masses * (moving**2).sum(axis=1) / 2
    return Flux(
        potential=-(powers[..., None] * vectors).sum(axis=(0, 1)),
        convective=(jnp.where(graph.atom_mask, carried, 0)[:, None] * moving).sum(axis=0),
    )


def species_currents(
    velocities: Float[Array, "atoms 3"], graph: Graph, elements: int
) -> Float[Array, "elements 3"]:
    """Particle current of each element: the sum of its atoms' velocities, Å per unit of time.

    Multiplied by the mass they are mass currents. Where atoms diffuse, the conductivity needs
    them beside the heat flux; and another zero of energy shifts the heat flux by a sum of them.
    """
    return _element_matrix(graph, elements, velocities.dtype) @ velocities


def mean_energies(potential: Potential, graph: Graph) -> Float[Array, "elements"]:
    """Mean interaction energy per atom of each element, eV; zero for elements that are absent.

    Any frame of the run will do: the offset need not be exact, only close.
    """
    atomic = potential.model.atomic_energies(potential.params, graph)
    member = _element_matrix(graph, len(potential.elements), atomic.dtype)
    return member @ jnp.where(graph.atom_mask, atomic, 0) / jnp.maximum(member.sum(axis=1), 1)


def observe(
    potential: Potential, graph: Graph, state: Moving, masses: Float[Array, "atoms"]
) -> Float[Array, "rows 3"]:
    """What to record along a run: ``2 + elements`` rows.

    Potential part, convective part (with the model's own zero of energy), then the particle
    currents of ``potential.elements``. The centre of mass's velocity is subtracted.
    ``analysis.green_kubo.heat_currents`` moves the zero of energy afterwards.

    Args:
        potential: see ``heat_flux``.
        graph: the structure at the state's positions.
        state: anything with ``velocities`` [atoms, 3], Å per internal unit of time.
        masses: u, zero or not for padded atoms.
    """
    heavy = jnp.where(graph.atom_mask, masses, 0)[:, None]
    drift = (heavy * state.velocities).sum(axis=0) / heavy.sum()
    velocities = jnp.where(graph.atom_mask[:, None], state.velocities - drift, 0)
    flux = heat_flux(potential, graph, velocities, masses)
    currents = species_currents(velocities, graph, len(potential.elements))
    return jnp.concatenate([jnp.stack(flux), currents])


def check(potential: Potential, graph: Graph, velocities: Float[Array, "atoms 3"]) -> None:
    """Refuse models and graphs that have no heat flux.

    Raises:
        CompatibilityError: the model does not support heat fluxes.
        InputError: the graph holds several structures, or shapes do not fit.
    """
    if "heat_flux" not in potential.model.supports:
        kind = potential.model.settings.get("kind", type(potential.model).__name__)
        raise CompatibilityError(
            f"the model kind {kind!r} supports {sorted(potential.model.supports)}, but not "
            "'heat_flux': energy goes from atom to atom by ways the flux cannot follow; use a "
            "mace or pair potential"
        )
    if graph.cell.shape[0] != 1 or graph.cell.ndim != 3:
        raise InputError(
            f"expected a graph of one structure, got cells of shape {graph.cell.shape}; build one "
            "graph per structure and map over them with jax.vmap"
        )
    if velocities.shape != graph.positions.shape:
        raise InputError(
            f"expected velocities of shape {graph.positions.shape}, got {velocities.shape}"
        )


def _edge_powers(
    potential: Potential, graph: Graph, velocities: Float[Array, "atoms 3"]
) -> tuple[Float[Array, "atoms slots"], Float[Array, "atoms"]]:
    """Power through each edge from its sender to its receiver, and the atoms' energies, eV."""

    def power(tilt: Float[Array, "atoms slots"]) -> tuple[Array, Array]:
        def total(positions: Float[Array, "atoms 3"]) -> tuple[Array, Array]:
            moved = graph._replace(positions=positions, tilt=tilt)
            atomic = potential.model.atomic_energies(potential.params, moved)
            return jnp.where(graph.atom_mask, atomic, 0).sum(), atomic

        _, rate, atomic = jax.jvp(total, (graph.positions,), (velocities,), has_aux=True)
        return rate, atomic

    untilted = jnp.zeros(graph.neighbors.shape, graph.positions.dtype)
    return jax.grad(power, has_aux=True)(untilted)


def _element_matrix(
    graph: Graph, elements: int, dtype: jnp.dtype
) -> Float[Array, "elements atoms"]:
    """One where a real atom (column) is of an element (row)."""
    member = jnp.arange(elements)[:, None] == graph.species
    return (member & graph.atom_mask).astype(dtype)
