"""Constant temperature by a Nose-Hoover chain; deterministic, with a conserved energy.

In a small or stiff solid a chain may not sample everything; compare with ``nvt_langevin``.

References: Martyna, Klein and Tuckerman, J. Chem. Phys. 97, 2635 (1992), doi:10.1063/1.463940;
Martyna, Tuckerman, Tobias and Klein, Mol. Phys. 87, 1117 (1996), doi:10.1080/00268979600100761.
"""

from typing import ClassVar, Literal, NamedTuple

import jax.numpy as jnp
import pydantic

from mlffjax import units
from mlffjax.arrays import Array, Float
from mlffjax.dynamics.ensembles import _moves
from mlffjax.dynamics.ensembles._section import Section
from mlffjax.dynamics.ensembles._thermostats import (
    Chain,
    Coupling,
    chain_at_rest,
    chain_energy,
    chain_half_step,
    kinetic_of,
)
from mlffjax.dynamics.state import Conditions, State


class Config(Section):
    """Time and length of the chain."""

    kind: Literal["nvt_nose_hoover"] = "nvt_nose_hoover"
    needs_heat: ClassVar[bool] = True

    time_fs: float = pydantic.Field(default=100.0, gt=0, le=1e6)
    """The thermostat swings with a period of 2 pi of these, fs; at least twenty time steps."""
    links: int = pydantic.Field(default=3, ge=1, le=10)


class Parameters(NamedTuple):
    """In internal units."""

    time: Float[Array, ""]
    links: Float[Array, "links"]  # only its length matters


def example() -> Config:
    """100 fs, three links."""
    return Config()


def parameters(config: Config) -> Parameters:
    """In internal units."""
    return Parameters(jnp.asarray(config.time_fs * units.FS), jnp.zeros(config.links))


def init(parameters: Parameters, conditions: Conditions, state: State) -> Chain:
    """A chain at rest."""
    del conditions, state
    return chain_at_rest(parameters.links.shape[0])


def move(parameters: Parameters, conditions: Conditions, state: State) -> State:
    """Half a step of the chain, half a kick, a drift."""
    state = _thermostat(parameters, conditions, state)
    return _moves.drift(conditions, _moves.half_kick(conditions, state), 1.0)


def complete(parameters: Parameters, conditions: Conditions, state: State) -> State:
    """Half a kick, half a step of the chain."""
    return _thermostat(parameters, conditions, _moves.half_kick(conditions, state))


def conserved(parameters: Parameters, conditions: Conditions, state: State) -> Float[Array, ""]:
    """Energy of system and chain."""
    kinetic = kinetic_of(conditions, state.velocities)
    return kinetic + state.energy + chain_energy(state.bath, _coupling(parameters, conditions))


def _coupling(parameters: Parameters, conditions: Conditions) -> Coupling:
    return Coupling(conditions.freedom, conditions.kt, parameters.time)


def _thermostat(parameters: Parameters, conditions: Conditions, state: State) -> State:
    kinetic = kinetic_of(conditions, state.velocities)
    chain, factor = chain_half_step(
        state.bath, _coupling(parameters, conditions), kinetic, conditions.timestep
    )
    return state._replace(velocities=factor * state.velocities, bath=chain)
