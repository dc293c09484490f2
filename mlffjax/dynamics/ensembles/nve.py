"""Constant energy: velocity Verlet.

The choice for transport coefficients: a thermostat that touches single atoms changes them.

Reference: Swope et al., J. Chem. Phys. 76, 637 (1982), doi:10.1063/1.442716.
"""

from typing import Literal, NamedTuple

from mlffjax.arrays import Array, Float
from mlffjax.dynamics.ensembles import _moves
from mlffjax.dynamics.ensembles._section import Section
from mlffjax.dynamics.state import Conditions, State, kinetic_energy


class Config(Section):
    """There is nothing to choose."""

    kind: Literal["nve"] = "nve"


class Parameters(NamedTuple):
    """None."""


def example() -> Config:
    """The only one."""
    return Config()


def parameters(config: Config) -> Parameters:
    """None."""
    del config
    return Parameters()


def init(parameters: Parameters, conditions: Conditions, state: State) -> tuple[()]:
    """There is no bath."""
    del parameters, conditions, state
    return ()


def move(parameters: Parameters, conditions: Conditions, state: State) -> State:
    """Half a kick and a drift."""
    del parameters
    return _moves.drift(conditions, _moves.half_kick(conditions, state), 1.0)


def complete(parameters: Parameters, conditions: Conditions, state: State) -> State:
    """The other half of the kick."""
    del parameters
    return _moves.half_kick(conditions, state)


def conserved(parameters: Parameters, conditions: Conditions, state: State) -> Float[Array, ""]:
    """Total energy."""
    del parameters
    return kinetic_energy(state.velocities, conditions.masses) + state.energy
