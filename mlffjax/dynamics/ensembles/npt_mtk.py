"""Constant pressure by Martyna, Tobias and Klein's barostat with two Nose-Hoover chains.

The extended system of [1] with a symmetric matrix of cell rates n, restricted to the strains of the
mode, and the time-reversible splitting of [2]:

    dr/dt = v + r n,   dv/dt = F/m - v (n + c tr(n)),   dh/dt = h n,
    W dn/dt = V (P - P0) + c sum m v²,

with one chain on the particles and one on n. [1] has c = 1/(3N) for particles whose momenta are all
free. With the whole at rest, c = 2/(3N - 3) gives the ensemble of N particles that
``_barostat`` describes (the flow then leaves dr dv dV unchanged, one volume factor being that of
the centre of mass); c = 1/(3N - 3) would give that of N - 1.

References:
    [1] Martyna, Tobias and Klein, J. Chem. Phys. 101, 4177 (1994), doi:10.1063/1.467468.
    [2] Tuckerman et al., J. Phys. A 39, 5629 (2006), doi:10.1088/0305-4470/39/19/S18.
"""

from typing import ClassVar, Literal, NamedTuple

import jax.numpy as jnp
import pydantic

from mlffjax import units
from mlffjax.arrays import Array, Float
from mlffjax.dynamics.ensembles import _barostat
from mlffjax.dynamics.ensembles._barostat import Barostat, allowed, exponentials
from mlffjax.dynamics.ensembles._thermostats import (
    Chain,
    Coupling,
    chain_at_rest,
    chain_energy,
    chain_half_step,
    kinetic_of,
)
from mlffjax.dynamics.state import Conditions, State, accelerations, inner_virial, volume


class Config(Barostat):
    """Pressure, mode, times."""

    kind: Literal["npt_mtk"] = "npt_mtk"
    needs_heat: ClassVar[bool] = True

    time_fs: float = pydantic.Field(default=1000.0, gt=0, le=1e7)
    """Sets the inertia of the cell, fs."""
    thermostat_time_fs: float = pydantic.Field(default=100.0, gt=0, le=1e6)
    links: int = pydantic.Field(default=3, ge=1, le=10)
    """Of either chain."""

    _pressure = pydantic.field_validator("pressure_bar")(_barostat.checked_pressure)


class Parameters(NamedTuple):
    """In internal units."""

    pressure: Float[Array, ""]
    time: Float[Array, ""]
    thermostat_time: Float[Array, ""]
    strains: Float[Array, "strains 3 3"]
    links: Float[Array, "links"]  # only its length matters


class Bath(NamedTuple):
    """The cell's motion and both chains."""

    rate: Float[Array, "3 3"]  # symmetric, per internal time
    particles: Chain
    cell: Chain


def example() -> Config:
    """One bar, isotropic."""
    return Config()


def parameters(config: Config) -> Parameters:
    """In internal units."""
    return Parameters(
        pressure=_barostat.internal_pressure(config.pressure_bar),
        time=jnp.asarray(config.time_fs * units.FS),
        thermostat_time=jnp.asarray(config.thermostat_time_fs * units.FS),
        strains=_barostat.strains(config.mode),
        links=jnp.zeros(config.links),
    )


def init(parameters: Parameters, conditions: Conditions, state: State) -> Bath:
    """Cell and chains at rest."""
    del conditions, state
    links = parameters.links.shape[0]
    return Bath(jnp.zeros((3, 3)), chain_at_rest(links), chain_at_rest(links))


def move(parameters: Parameters, conditions: Conditions, state: State) -> State:
    """Chains, cell rates, velocities; then positions and cell."""
    state = _thermostats(parameters, conditions, state)
    state = _kick(conditions, _push_cell(parameters, conditions, state))
    growth, mean = exponentials(state.bath.rate * conditions.timestep)
    step = conditions.timestep * state.velocities
    return state._replace(
        positions=state.positions @ growth + step @ mean, cell=state.cell @ growth
    )


def complete(parameters: Parameters, conditions: Conditions, state: State) -> State:
    """The same in reverse order."""
    state = _push_cell(parameters, conditions, _kick(conditions, state))
    return _thermostats(parameters, conditions, state)


def conserved(parameters: Parameters, conditions: Conditions, state: State) -> Float[Array, ""]:
    """Energy of particles, cell and chains, and pressure times volume."""
    bath, (particles, cell) = state.bath, _couplings(parameters, conditions)
    return (
        kinetic_of(conditions, state.velocities)
        + state.energy
        + parameters.pressure * volume(state.cell)
        + _cell_kinetic(parameters, conditions, bath)
        + chain_energy(bath.particles, particles)
        + chain_energy(bath.cell, cell)
    )


def _couplings(parameters: Parameters, conditions: Conditions) -> tuple[Coupling, Coupling]:
    count = jnp.asarray(float(parameters.strains.shape[0]))
    return (
        Coupling(conditions.freedom, conditions.kt, parameters.thermostat_time),
        Coupling(count, conditions.kt, parameters.time),
    )


def _inertia(parameters: Parameters, conditions: Conditions) -> Float[Array, ""]:
    """W, eV times squared time; per element of n."""
    return (conditions.freedom + 3) / 3 * conditions.kt * parameters.time**2


def _cell_kinetic(parameters: Parameters, conditions: Conditions, bath: Bath) -> Float[Array, ""]:
    return _inertia(parameters, conditions) * (bath.rate**2).sum() / 2


def _thermostats(parameters: Parameters, conditions: Conditions, state: State) -> State:
    """Half a step of both chains; they do not touch each other."""
    bath, (particles, cell) = state.bath, _couplings(parameters, conditions)
    kinetic = kinetic_of(conditions, state.velocities)
    first, slowing = chain_half_step(bath.particles, particles, kinetic, conditions.timestep)
    swinging = _cell_kinetic(parameters, conditions, bath)
    second, braking = chain_half_step(bath.cell, cell, swinging, conditions.timestep)
    bath = Bath(braking * bath.rate, first, second)
    return state._replace(velocities=slowing * state.velocities, bath=bath)


def _push_cell(parameters: Parameters, conditions: Conditions, state: State) -> State:
    kinetic = kinetic_of(conditions, state.velocities)
    identity = jnp.eye(3)
    force = inner_virial(state, conditions.masses) + identity * (
        4 * kinetic / conditions.freedom - parameters.pressure * volume(state.cell)
    )
    push = allowed(parameters.strains, force) / _inertia(parameters, conditions)
    rate = state.bath.rate + conditions.timestep / 2 * push
    return state._replace(bath=state.bath._replace(rate=rate))


def _kick(conditions: Conditions, state: State) -> State:
    """Half a kick while the cell moves."""
    rate, half = state.bath.rate, conditions.timestep / 2
    drag = rate + 2 / conditions.freedom * jnp.trace(rate) * jnp.eye(3)
    slowing, mean = exponentials(-half * drag)
    kick = half * accelerations(state.forces, conditions.masses)
    return state._replace(velocities=state.velocities @ slowing + kick @ mean)
