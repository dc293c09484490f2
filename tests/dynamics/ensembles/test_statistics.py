"""Every ensemble samples the distribution that it is named for.

Forces are analytic here, so that thousands of trajectories take a second: springs without rest
length on a lattice, in a volume that has a harmonic energy of its own. Then averages over positions
are Gaussian integrals and the distribution of the volume is known in closed form up to one
quadrature.
"""

import functools
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import registry, units
from mlffjax.config import kind_of, validate
from mlffjax.dynamics.state import (
    Conditions,
    State,
    inner_virial,
    kinetic_energy,
    volume,
)

KT = 0.05
MASSES: Any = np.array([10.0, 40.0, 10.0, 120.0, 40.0, 10.0])
ATOMS = len(MASSES)
FREEDOM = 3 * ATOMS - 3
LANES, SAMPLES = 256, 40
CELL = np.diag([3.0, 4.0, 5.0]) + 0.3 * np.tri(3, k=-1)
FIRST, SECOND = np.triu_indices(ATOMS, 1)


class Material(NamedTuple):
    """Energy B (V - V0)^2 / 2 V0 of the volume beside that of the springs."""

    modulus: Any  # eV/Å^3
    volume: Any  # Å^3
    spring: Any  # eV/Å^2


SOLID = Material(0.05, 60.0, 0.4)
GAS = Material(0.0, 60.0, 0.0)


def energy(material, positions, cell):
    bonds = positions[SECOND] - positions[FIRST]
    space = volume(cell)
    squeeze = material.modulus * (space - material.volume) ** 2 / (2 * material.volume)
    return material.spring / 2 * (bonds**2).sum() + squeeze


def forces(material, state):
    def total(positions, strain):
        grown = jnp.eye(3) + strain
        return energy(material, positions @ grown, state.cell @ grown)

    value, (gradient, virial) = jax.value_and_grad(total, (0, 1))(
        state.positions, jnp.zeros((3, 3))
    )
    return state._replace(energy=value, forces=-gradient, virial=-(virial + virial.T) / 2)


class Case(NamedTuple):
    module: ModuleType
    parameters: object
    conditions: Conditions


def case(kind, timestep, **choices):
    module = registry.resolve("dynamics.ensembles", kind)
    config = validate({"kind": kind, **choices}, module.Config, where="test")
    assert kind_of(config) == kind
    numbers = (timestep * units.FS, KT, MASSES, FREEDOM)
    conditions = Conditions(*(jnp.asarray(x, float) for x in numbers))
    return Case(module, module.parameters(config), conditions)


class Measured(NamedTuple):
    kinetic: jax.Array
    springs: jax.Array
    each: jax.Array  # twice the kinetic energy of every atom
    centre: jax.Array
    cell: jax.Array
    volume: jax.Array
    inner: jax.Array  # pressure times volume, without the centre of mass
    conserved: jax.Array


def initial(case, material, key):
    first, second, third = jax.random.split(key, 3)
    speeds = jax.random.normal(first, (ATOMS, 3)) * jnp.sqrt(KT / MASSES)[:, None]
    speeds -= MASSES @ speeds / MASSES.sum()
    spread = jnp.sqrt(KT / (ATOMS * jnp.maximum(material.spring, 0.1)))
    zero = jnp.zeros(())
    state = State(
        step=jnp.zeros((), int),
        positions=spread * jax.random.normal(second, (ATOMS, 3)),
        velocities=speeds,
        forces=jnp.zeros((ATOMS, 3)),
        cell=jnp.asarray(CELL),
        energy=zero,
        virial=jnp.zeros((3, 3)),
        bath=(),
        supplied=zero,
        key=jax.random.key_data(third),
    )
    state = forces(material, state)
    return state._replace(bath=case.module.init(case.parameters, case.conditions, state))


@functools.partial(jax.jit, static_argnums=0)
def sampled_by(module, parameters, conditions, material, keys, warm, every):
    case = Case(module, parameters, conditions)

    def step(_, state):
        state = module.move(parameters, conditions, state)
        state = module.complete(parameters, conditions, forces(material, state))
        return state._replace(step=state.step + 1)

    def measure(state):
        springs = material._replace(modulus=0.0)
        return Measured(
            kinetic_energy(state.velocities, MASSES),
            energy(springs, state.positions, state.cell),
            (MASSES[:, None] * state.velocities**2).sum(axis=1),
            MASSES @ state.positions / MASSES.sum(),
            state.cell,
            volume(state.cell),
            jnp.trace(inner_virial(state, MASSES)) / 3,
            module.conserved(parameters, conditions, state),
        )

    def sample(state, _):
        state = jax.lax.fori_loop(0, every, step, state)
        return state, measure(state)

    def lane(key):
        state = jax.lax.fori_loop(0, warm, step, initial(case, material, key))
        return jax.lax.scan(sample, state, length=SAMPLES)[1]

    return jax.vmap(lane)(keys)


def sampled(case, material, *, warm, every, seed=0):
    """What was measured, [samples, lanes, ...]; compiled once per kind and mode."""
    keys = jax.random.split(jax.random.key(seed), LANES)
    # The loops' lengths are data, so that tests share programs.
    found = sampled_by(*case, Material(*map(jnp.asarray, material)), keys, warm, every)
    return jax.tree.map(lambda leaf: np.swapaxes(np.asarray(leaf), 0, 1), found)


def agrees(values, expected, sigmas=4.5):
    """Mean over lanes, which are independent, against an exact value."""
    means = values.mean(axis=0)
    error = means.std(ddof=1) / np.sqrt(len(means))
    assert abs(means.mean() - expected) < sigmas * error, (means.mean(), expected, error)
    return error / abs(expected)


@pytest.mark.parametrize(
    ("kind", "choices"),
    [
        ("nvt_langevin", {"friction_per_fs": 0.02}),
        ("nvt_csvr", {"time_fs": 30}),
        ("nvt_nose_hoover", {"time_fs": 30}),
    ],
)
def test_thermostats_sample_the_canonical_distribution(kind, choices):
    found = sampled(case(kind, 2.0, **choices), SOLID, warm=300, every=25)
    # A wrong number of degrees of freedom would change these by a sixth.
    assert agrees(found.kinetic, FREEDOM / 2 * KT) < 0.01
    agrees((found.kinetic - FREEDOM / 2 * KT) ** 2, FREEDOM / 2 * KT**2)
    # Harmonic: as much potential as kinetic energy; errors of second order in the step are less.
    assert agrees(found.springs, FREEDOM / 2 * KT, sigmas=6) < 0.02
    if kind == "nvt_langevin":  # equipartition among different masses, without the whole's part
        for atom in range(ATOMS):
            agrees(found.each[:, :, atom], 3 * KT * (1 - MASSES[atom] / MASSES.sum()))
    # The whole stands still.
    np.testing.assert_allclose(found.centre - found.centre[:1], 0, atol=1e-10)


@pytest.mark.parametrize(
    "mode",
    [
        "xy+z",
        pytest.param("isotropic", marks=pytest.mark.slow),
        pytest.param("z", marks=pytest.mark.slow),
        pytest.param("triclinic", marks=pytest.mark.slow),
    ],
)
def test_cell_rescaling_gives_an_ideal_gas_its_volume(mode):
    pressure = KT / 40.0  # eV/Å^3
    gas = case(
        "npt_rescaling",
        4.0,
        mode=mode,
        pressure_bar=pressure / units.BAR,
        time_fs=200,
        bulk_modulus_gpa=pressure / units.GPA,  # an ideal gas's
        thermostat="langevin",
        thermostat_time_fs=40,
    )
    found = sampled(gas, GAS, warm=600, every=50)
    # exp(-P V / kT) V^N dV, a gamma distribution.
    expected = (ATOMS + 1) * KT / pressure
    # One volume too few, or too many, would change the mean by a seventh.
    assert agrees(found.volume, expected, sigmas=6) < 0.02
    agrees((found.volume - expected) ** 2, (ATOMS + 1) * (KT / pressure) ** 2, sigmas=6)


def volume_moments(pressure):
    """Mean and variance of V for SOLID: V exp(-(U(V) + P V) / kT), V from the centre of mass."""
    grid = np.linspace(5.0, 200.0, 200_001)
    squeeze = SOLID.modulus * (grid - SOLID.volume) ** 2 / (2 * SOLID.volume)
    weight = grid * np.exp(-(squeeze + pressure * (grid - SOLID.volume)) / KT)
    weight /= weight.sum()
    mean = (weight * grid).sum()
    return mean, (weight * (grid - mean) ** 2).sum()


BAROSTATS = [
    ("npt_rescaling", {"mode": "isotropic", "thermostat": "csvr"}),
    ("npt_rescaling", {"mode": "triclinic", "thermostat": "langevin"}),
    ("npt_mtk", {"mode": "isotropic"}),
    ("npt_mtk", {"mode": "xy+z"}),
]


def barostat(kind, timestep, pressure, choices):
    if kind == "npt_rescaling":
        choices = choices | {"bulk_modulus_gpa": SOLID.modulus / units.GPA}
    bar = pressure / units.BAR
    return case(kind, timestep, pressure_bar=bar, time_fs=100, thermostat_time_fs=40, **choices)


@pytest.mark.parametrize(
    ("kind", "choices"),
    [*BAROSTATS[:3], pytest.param(*BAROSTATS[3], marks=pytest.mark.slow)],
)
def test_barostats_sample_the_volume_of_a_solid(kind, choices):
    """Its variance is about V kT / B with the bulk modulus B, and known exactly."""
    pressure = 0.002
    found = sampled(barostat(kind, 2.0, pressure, choices), SOLID, warm=600, every=30)
    mean, variance = volume_moments(pressure)
    np.testing.assert_allclose(variance, mean * KT / SOLID.modulus, rtol=0.1)
    assert agrees(found.volume, mean, sigmas=6) < 0.005
    assert agrees((found.volume - mean) ** 2, variance, sigmas=6) < 0.06
    agrees((found.inner + KT) / found.volume, pressure, sigmas=6)
    # <V (P - P0)> = -kT with the pressure of all N: the work form of the virial theorem.
    agrees(found.inner - pressure * found.volume, -2 * KT, sigmas=6)


@pytest.mark.parametrize(
    ("kind", "choices"),
    [("nvt_langevin", {}), ("nvt_csvr", {}), ("nvt_nose_hoover", {"time_fs": 30}), *BAROSTATS],
)
def test_the_conserved_quantity_is_conserved_the_better_the_shorter_the_step(kind, choices):
    widths = []
    for timestep in (4.0, 2.0):
        if kind.startswith("npt"):
            chosen = barostat(kind, timestep, 0.002, choices)
        else:
            chosen = case(kind, timestep, **choices)
        # The same 480 fs with either step.
        conserved = sampled(chosen, SOLID, warm=0, every=int(12 / timestep)).conserved
        widths.append((conserved - conserved.mean(axis=0)).std())
    assert widths[1] < 0.01 * FREEDOM * KT
    ratio = widths[0] / widths[1]
    # Second order for deterministic ones. Noise adds errors of first order, ratio 2, of which 256
    # lanes give the width to a few percent.
    low = 3.5 if kind in ("nvt_nose_hoover", "npt_mtk") else 1.8
    assert low < ratio < 5.5


def test_layered_mode_lets_width_and_thickness_differ_and_keeps_the_shape():
    chosen = case(
        "npt_rescaling",
        2.0,
        mode="xy+z",
        pressure_bar=1.0,
        time_fs=50,
        bulk_modulus_gpa=1,
        thermostat="langevin",
    )
    growth = np.linalg.inv(CELL) @ sampled(chosen, GAS, warm=0, every=2).cell
    np.testing.assert_allclose(growth[..., 0, 0], growth[..., 1, 1], rtol=1e-12)
    np.testing.assert_allclose(growth * (1 - np.eye(3)), 0, atol=1e-12)
    assert np.abs(growth[..., 0, 0] - growth[..., 2, 2]).max() > 1e-4


def test_the_triclinic_mode_keeps_the_first_vector_and_the_first_plane():
    chosen = case(
        "npt_rescaling",
        2.0,
        mode="triclinic",
        pressure_bar=1.0,
        time_fs=20,
        bulk_modulus_gpa=1,
        thermostat="langevin",
    )
    cells = sampled(chosen, GAS, warm=0, every=2).cell
    assert np.abs(cells[..., 2, 0] - 0.3).max() > 1e-3  # it did shear
    first = cells[..., 0, :] / np.linalg.norm(cells[..., 0, :], axis=-1, keepdims=True)
    np.testing.assert_allclose(first, np.broadcast_to([1.0, 0, 0], first.shape), atol=1e-12)
    np.testing.assert_allclose(cells[..., 1, 2], 0, atol=1e-12)
