"""Constant pressure by stochastic cell rescaling; first order, robust from any start.

Per step the cell gets the strain

    de = -(b/3t) (P0 - P - kT/V) dt + sqrt(2 kT b dt / (3 V t)) R,

with b the compressibility, t the relaxation time, P the pressure tensor and R a symmetric matrix of
normal numbers (off-diagonal ones of variance 1/2), projected on the strains of the mode; positions
are multiplied by exp(de), velocities by exp(-de). The isotropic mode is that of [1], diagonal modes
and the triclinic one follow [2]. Which ensemble that is, says ``_barostat``. A wrong bulk modulus
changes only how fast the volume relaxes.

References:
    [1] Bernetti and Bussi, J. Chem. Phys. 153, 114107 (2020), doi:10.1063/5.0020514.
    [2] Del Tatto, Raiteri, Bernetti and Bussi, Appl. Sci. 12, 1139 (2022), doi:10.3390/app12031139.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import pydantic

from mlffjax import units
from mlffjax.arrays import Array, Float, PRNGKey
from mlffjax.dynamics.ensembles import _barostat, _moves
from mlffjax.dynamics.ensembles._barostat import Barostat, allowed, exponentials, upright
from mlffjax.dynamics.ensembles._thermostats import kinetic_of, langevin, rescaling
from mlffjax.dynamics.state import Conditions, State, inner_virial, noise_key, volume


class Config(Barostat):
    """Pressure, mode, times."""

    kind: Literal["npt_rescaling"] = "npt_rescaling"

    time_fs: float = pydantic.Field(default=1000.0, gt=0, le=1e7)
    """Time in which the volume relaxes, fs."""
    bulk_modulus_gpa: float = pydantic.Field(default=40.0, ge=1e-3, le=2000)
    """Rough bulk modulus, GPa; 40 suits Sb2Te3."""
    thermostat: Literal["csvr", "langevin"] = "csvr"
    thermostat_time_fs: float = pydantic.Field(default=100.0, gt=0, le=1e6)
    """Relaxation time of the kinetic energy, or the inverse friction, fs."""

    _pressure = pydantic.field_validator("pressure_bar")(_barostat.checked_pressure)


class Parameters(NamedTuple):
    """In internal units; one of ``friction`` and ``rescaling_time`` is None."""

    pressure: Float[Array, ""]
    compressibility: Float[Array, ""]
    time: Float[Array, ""]
    strains: Float[Array, "strains 3 3"]
    friction: Float[Array, ""] | None
    rescaling_time: Float[Array, ""] | None


class LastStrain(NamedTuple):
    """What ``complete`` needs to know of the strain of this step."""

    strain: Float[Array, "3 3"]  # in the axes of the new cell


def example() -> Config:
    """One bar, isotropic."""
    return Config()


def parameters(config: Config) -> Parameters:
    """In internal units."""
    time = jnp.asarray(config.thermostat_time_fs * units.FS)
    csvr = config.thermostat == "csvr"
    return Parameters(
        pressure=_barostat.internal_pressure(config.pressure_bar),
        compressibility=jnp.asarray(1 / (config.bulk_modulus_gpa * units.GPA)),
        time=jnp.asarray(config.time_fs * units.FS),
        strains=_barostat.strains(config.mode),
        friction=None if csvr else 1 / time,
        rescaling_time=time if csvr else None,
    )


def init(parameters: Parameters, conditions: Conditions, state: State) -> LastStrain:
    """No strain yet."""
    del parameters, conditions, state
    return LastStrain(jnp.zeros((3, 3)))


def move(parameters: Parameters, conditions: Conditions, state: State) -> State:
    """B A O A, then the strain; with CSVR there is no O here."""
    thermal, mechanical, _ = _keys(state)
    state = _moves.half_kick(conditions, state)
    if parameters.friction is None:
        state = _moves.drift(conditions, state, 1.0)
    else:
        state = _moves.drift(conditions, state, 0.5)
        velocities = langevin(conditions, state.velocities, parameters.friction, thermal)
        state = _moves.drift(conditions, _moves.supplied(conditions, state, velocities), 0.5)
    return _strained(conditions, state, _strain(parameters, conditions, state, mechanical))


def complete(parameters: Parameters, conditions: Conditions, state: State) -> State:
    """The last B, the second half of the work of the strain, and CSVR's factor."""
    # Work of the strain by the trapezoidal rule: half with the virial before, half with this.
    work = -(state.virial * state.bath.strain).sum() / 2
    state = _moves.half_kick(conditions, state._replace(supplied=state.supplied + work))
    if parameters.rescaling_time is None:
        return state
    kinetic = kinetic_of(conditions, state.velocities)
    factor = rescaling(conditions, kinetic, parameters.rescaling_time, _keys(state)[2])
    return _moves.supplied(conditions, state, factor * state.velocities)


def conserved(parameters: Parameters, conditions: Conditions, state: State) -> Float[Array, ""]:
    """Total energy less what thermostat and barostat have put in."""
    del parameters
    return _moves.energy_without_supply(conditions, state)


def _keys(state: State) -> tuple[PRNGKey, PRNGKey, PRNGKey]:
    first, second, third = jax.random.split(noise_key(state), 3)
    return first, second, third


def _strain(
    parameters: Parameters, conditions: Conditions, state: State, key: PRNGKey
) -> Float[Array, "3 3"]:
    space, identity = volume(state.cell), jnp.eye(3)
    rate = parameters.compressibility / (3 * parameters.time) * conditions.timestep
    inner = (inner_virial(state, conditions.masses) + conditions.kt * identity) / space
    noise = jax.random.normal(key, (3, 3), space.dtype)
    width = jnp.sqrt(2 * conditions.kt * rate / space)
    change = rate * (inner - parameters.pressure * identity) + width * (noise + noise.T) / 2
    return allowed(parameters.strains, change)


def _strained(conditions: Conditions, state: State, strain: Float[Array, "3 3"]) -> State:
    growth, shrinkage = exponentials(strain)[0], exponentials(-strain)[0]
    turn = upright(state.cell, state.cell @ growth)
    work = -(state.virial * strain).sum() / 2
    state = _moves.supplied(conditions, state, state.velocities @ shrinkage @ turn)
    return state._replace(
        positions=state.positions @ growth @ turn,
        cell=state.cell @ growth @ turn,
        supplied=state.supplied + work,
        bath=LastStrain(turn.T @ strain @ turn),
    )
