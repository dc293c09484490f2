"""What a run of molecular dynamics is at one moment, and what is measured from it.

Units are Å, eV, u; so time is in Å sqrt(u/eV), 10.18 fs, and velocities in its inverse times Å.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mlffjax import units
from mlffjax.arrays import Array, Float, Int, PRNGKey, PyTree


class State(NamedTuple):
    """One structure in motion; everything a continued run depends on besides the neighbour list."""

    step: Int[Array, ""]  # since the stage began
    positions: Float[Array, "atoms 3"]  # Å, never wrapped
    velocities: Float[Array, "atoms 3"]
    forces: Float[Array, "atoms 3"]  # eV/Å, at the positions
    cell: Float[Array, "3 3"]  # Å, rows are lattice vectors
    energy: Float[Array, ""]  # eV, interaction energy without reference energies
    virial: Float[Array, "3 3"]  # -dU/dstrain, eV; zero without a volume
    bath: PyTree  # variables of thermostat and barostat
    supplied: Float[Array, ""]  # energy that stochastic baths have put in since the stage began, eV
    key: Int[Array, "2"]  # data of a random key; with ``step`` it gives the noise of a step


class Conditions(NamedTuple):
    """What all ensembles are told."""

    timestep: Float[Array, ""]
    kt: Float[Array, ""]  # target temperature times Boltzmann's constant, eV
    masses: Float[Array, "atoms"]  # u
    freedom: Float[Array, ""]  # degrees of freedom that hold kinetic energy


def kinetic_energy(
    velocities: Float[Array, "atoms 3"], masses: Float[Array, "atoms"]
) -> Float[Array, ""]:
    """eV."""
    return (masses[:, None] * velocities**2).sum() / 2


def temperature(kinetic: Float[Array, ""], freedom: Float[Array, ""]) -> Float[Array, ""]:
    """2 K / (freedom kB), K."""
    return 2 * kinetic / (freedom * units.KB)


def volume(cell: Float[Array, "3 3"]) -> Float[Array, ""]:
    """Å³."""
    return jnp.abs(jnp.linalg.det(cell))


def inner_virial(state: State, masses: Float[Array, "atoms"]) -> Float[Array, "3 3"]:
    """Pressure tensor times volume, eV: sum m v v - dU/dstrain."""
    return (masses[:, None] * state.velocities).T @ state.velocities + state.virial


def pressure_tensor(state: State, masses: Float[Array, "atoms"]) -> Float[Array, "3 3"]:
    """eV/Å³; minus ASE's stress, plus the kinetic part. Meaningless in a cell with open sides.

    The kinetic part counts the motion relative to the centre of mass: for the pressure of N free
    atoms add kT / volume.
    """
    return inner_virial(state, masses) / volume(state.cell)


def accelerations(
    forces: Float[Array, "atoms 3"], masses: Float[Array, "atoms"]
) -> Float[Array, "atoms 3"]:
    """Å per squared unit of time."""
    return forces / masses[:, None]


def at_rest_as_a_whole(
    velocities: Float[Array, "atoms 3"], masses: Float[Array, "atoms"]
) -> Float[Array, "atoms 3"]:
    """Velocities relative to that of the centre of mass."""
    return velocities - (masses[:, None] * velocities).sum(axis=0) / masses.sum()


def noise_key(state: State) -> PRNGKey:
    """The key of the step that begins at a state; independent of how a run is cut into pieces."""
    return jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
