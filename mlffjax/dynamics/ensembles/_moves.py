"""The pieces that steps are made of."""

import jax.numpy as jnp

from mlffjax.arrays import Array, Float
from mlffjax.dynamics.state import Conditions, State, accelerations, kinetic_energy


def half_kick(conditions: Conditions, state: State) -> State:
    """Velocities after half a step of constant forces."""
    change = conditions.timestep / 2 * accelerations(state.forces, conditions.masses)
    return state._replace(velocities=state.velocities + change)


def drift(conditions: Conditions, state: State, part: float) -> State:
    """Positions after a part of a step of constant velocities."""
    change = part * conditions.timestep * state.velocities
    return state._replace(positions=state.positions + change)


def supplied(conditions: Conditions, state: State, velocities: Float[Array, "atoms 3"]) -> State:
    """The state with velocities changed by a bath, and the energy that took put down."""
    gained = kinetic_energy(velocities, conditions.masses) - kinetic_energy(
        state.velocities, conditions.masses
    )
    return state._replace(velocities=velocities, supplied=state.supplied + gained)


def energy_without_supply(conditions: Conditions, state: State) -> Float[Array, ""]:
    """Total energy less what stochastic baths have put in, eV; constant but for the time step."""
    kinetic = kinetic_energy(state.velocities, conditions.masses)
    return kinetic + state.energy - jnp.asarray(state.supplied)
