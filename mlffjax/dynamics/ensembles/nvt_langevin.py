"""Constant temperature by friction and noise on every atom (BAOAB), the whole at rest.

Reaches equilibrium from anywhere, because it acts on every atom; for the same reason it damps all
velocity correlations by about exp(-friction t). Do not measure transport with it.
"""

from typing import ClassVar, Literal, NamedTuple

import jax.numpy as jnp
import pydantic

from mlffjax import units
from mlffjax.arrays import Array, Float
from mlffjax.dynamics.ensembles import _moves
from mlffjax.dynamics.ensembles._section import Section
from mlffjax.dynamics.ensembles._thermostats import langevin
from mlffjax.dynamics.state import Conditions, State, noise_key


class Config(Section):
    """Friction."""

    kind: Literal["nvt_langevin"] = "nvt_langevin"
    keeps_rotation: ClassVar[bool] = False

    friction_per_fs: float = pydantic.Field(default=0.01, gt=0, le=1)
    """1/fs; 0.01 forgets velocities within 100 fs."""


class Parameters(NamedTuple):
    """In internal units."""

    friction: Float[Array, ""]


def example() -> Config:
    """The paper's friction."""
    return Config()


def parameters(config: Config) -> Parameters:
    """In internal units."""
    return Parameters(jnp.asarray(config.friction_per_fs / units.FS))


def init(parameters: Parameters, conditions: Conditions, state: State) -> tuple[()]:
    """The bath has no variables."""
    del parameters, conditions, state
    return ()


def move(parameters: Parameters, conditions: Conditions, state: State) -> State:
    """B A O A."""
    state = _moves.drift(conditions, _moves.half_kick(conditions, state), 0.5)
    velocities = langevin(conditions, state.velocities, parameters.friction, noise_key(state))
    return _moves.drift(conditions, _moves.supplied(conditions, state, velocities), 0.5)


def complete(parameters: Parameters, conditions: Conditions, state: State) -> State:
    """The last B."""
    del parameters
    return _moves.half_kick(conditions, state)


def conserved(parameters: Parameters, conditions: Conditions, state: State) -> Float[Array, ""]:
    """Total energy less what the bath has put in."""
    del parameters
    return _moves.energy_without_supply(conditions, state)
