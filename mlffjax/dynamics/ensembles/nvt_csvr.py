"""Constant temperature by stochastic velocity rescaling (CSVR).

All velocities get one factor per step, drawn so that the kinetic energy has its canonical
distribution: no atom's direction is disturbed, which leaves transport nearly as in NVE.

Reference: Bussi, Donadio and Parrinello, J. Chem. Phys. 126, 014101 (2007), doi:10.1063/1.2408420.
"""

from typing import Literal, NamedTuple

import jax.numpy as jnp
import pydantic

from mlffjax import units
from mlffjax.arrays import Array, Float
from mlffjax.dynamics.ensembles import _moves
from mlffjax.dynamics.ensembles._section import Section
from mlffjax.dynamics.ensembles._thermostats import kinetic_of, rescaling
from mlffjax.dynamics.state import Conditions, State, noise_key


class Config(Section):
    """Relaxation time."""

    kind: Literal["nvt_csvr"] = "nvt_csvr"

    time_fs: float = pydantic.Field(default=100.0, gt=0, le=1e6)
    """Time in which the kinetic energy forgets, fs."""


class Parameters(NamedTuple):
    """In internal units."""

    time: Float[Array, ""]


def example() -> Config:
    """100 fs."""
    return Config()


def parameters(config: Config) -> Parameters:
    """In internal units."""
    return Parameters(jnp.asarray(config.time_fs * units.FS))


def init(parameters: Parameters, conditions: Conditions, state: State) -> tuple[()]:
    """The bath has no variables."""
    del parameters, conditions, state
    return ()


def move(parameters: Parameters, conditions: Conditions, state: State) -> State:
    """Half a kick and a drift."""
    del parameters
    return _moves.drift(conditions, _moves.half_kick(conditions, state), 1.0)


def complete(parameters: Parameters, conditions: Conditions, state: State) -> State:
    """The other half of the kick, and the factor."""
    state = _moves.half_kick(conditions, state)
    kinetic = kinetic_of(conditions, state.velocities)
    factor = rescaling(conditions, kinetic, parameters.time, noise_key(state))
    return _moves.supplied(conditions, state, factor * state.velocities)


def conserved(parameters: Parameters, conditions: Conditions, state: State) -> Float[Array, ""]:
    """Total energy less what the bath has put in."""
    del parameters
    return _moves.energy_without_supply(conditions, state)
