"""Every ensemble samples the distribution that it is named for.

Forces are analytic here, so that thousands of trajectories take a second: springs without rest
length on a lattice, in a volume that has a harmonic energy of its own. Then averages over positions
are Gaussian integrals and the distribution of the volume is known in closed form up to one
quadrature.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import registry, units
from mlffjax.config import kind_of, validate
from mlffjax.dynamics.ensembles import _barostat
from mlffjax.dynamics.state import (
    Conditions,
    State,
    inner_virial,
    kinetic_energy,
    volume,
)

KT = 0.05
MASSES = np.array([10.0, 40.0, 10.0, 120.0, 40.0, 10.0])
ATOMS = len(MASSES)
FREEDOM = 3 * ATOMS - 3
SPRING = 0.4  # eV/Å^2
FIRST, SECOND = np.triu_indices(ATOMS, 1)


class Material(NamedTuple):
    """Energy B (V - V0)^2 / 2 V0 of the volume beside that of the springs."""

    modulus: float  # eV/Å^3
    volume: float  # Å^3
    spring: float  # eV/Å^2


SOLID = Material(0.05, 60.0, SPRING)
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
    module: object
    parameters: object
    conditions: Conditions


def case(kind, timestep, **choices):
    module = registry.resolve("dynamics.ensembles", kind)
    config = validate({"kind": kind, **choices}, module.Config, where="test")
    assert kind_of(config) == kind
    numbers = (timestep * units.FS, KT, MASSES, FREEDOM)
    conditions = Conditions(*(jnp.asarray(x, float) for x in numbers))
    return Case(module, module.parameters(config), conditions)


def initial(case, material, key):
    first, second, third = jax.random.split(key, 3)
    speeds = jax.random.normal(first, (ATOMS, 3)) * jnp.sqrt(KT / MASSES)[:, None]
    speeds -= MASSES @ speeds / MASSES.sum()
    spread = np.sqrt(KT / (ATOMS * max(material.spring, 0.1)))
    zero = jnp.zeros(())
    state = State(
        step=jnp.zeros((), int),
        positions=spread * jax.random.normal(second, (ATOMS, 3)),
        velocities=speeds,
        forces=jnp.zeros((ATOMS, 3)),
        cell=jnp.diag(jnp.array([3.0, 4.0, 5.0])) + 0.3 * jnp.tri(3, k=-1),
        energy=zero,
        virial=jnp.zeros((3, 3)),
        bath=(),
        supplied=zero,
        key=jax.random.key_data(third),
    )
    state = forces(material, state)
    return state._replace(bath=case.module.init(case.parameters, case.conditions, state))


def sampled(case, material, *, lanes, warm, samples, every, measure, seed=0):
    """What ``measure`` says of states; [samples, lanes, ...]."""

    def step(state, _):
        state = case.module.move(case.parameters, case.conditions, state)
        state = case.module.complete(case.parameters, case.conditions, forces(material, state))
        return state._replace(step=state.step + 1), None

    def lane(key):
        state = initial(case, material, key)
        state, _ = jax.lax.scan(step, state, length=warm)

        def sample(state, _):
            state, _ = jax.lax.scan(step, state, length=every)
            return state, measure(state)

        return jax.lax.scan(sample, state, length=samples)[1]

    keys = jax.random.split(jax.random.key(seed), lanes)
    return jax.tree.map(
        lambda leaf: np.swapaxes(np.asarray(leaf), 0, 1), jax.jit(jax.vmap(lane))(keys)
    )


def agrees(values, expected, sigmas=4.5):
    """Mean over lanes, which are independent, against an exact value."""
    means = values.mean(axis=0)
    error = means.std(ddof=1) / np.sqrt(len(means))
    assert abs(means.mean() - expected) < sigmas * error, (means.mean(), expected, error)
    # A test that could not tell a wrong count of degrees of freedom would be none.
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
    def measure(state):
        centre = MASSES @ state.positions / MASSES.sum()
        return (
            kinetic_energy(state.velocities, MASSES),
            energy(SOLID._replace(modulus=0.0), state.positions, state.cell),
            (MASSES[:, None] * state.velocities**2).sum(axis=1),
            centre,
        )

    kinetic, potential, each, centre = sampled(
        case(kind, 2.0, **choices), SOLID, lanes=256, warm=300, samples=40, every=25,
        measure=measure,
    )
    assert agrees(kinetic, FREEDOM / 2 * KT) < 0.01
    agrees((kinetic - FREEDOM / 2 * KT) ** 2, FREEDOM / 2 * KT**2)
    # Harmonic: as much potential as kinetic energy, BAOAB's and Verlet's errors being O(dt^2).
    potential_error = agrees(potential, FREEDOM / 2 * KT, sigmas=6)
    assert potential_error < 0.02
    if kind == "nvt_langevin":  # equipartition among different masses, without the whole's part
        for atom in range(ATOMS):
            agrees(each[:, :, atom], 3 * KT * (1 - MASSES[atom] / MASSES.sum()))
    np.testing.assert_allclose(centre, centre[:1] * np.ones_like(centre), atol=1e-10)


@pytest.mark.parametrize(
    "mode",
    [
        "isotropic",
        "xy+z",
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
        bulk_modulus_gpa=(ATOMS + 1) * KT / (40.0 * (ATOMS + 1)) / units.GPA,
        thermostat="langevin",
        thermostat_time_fs=40,
    )
    space = sampled(
        gas, GAS, lanes=256, warm=600, samples=30, every=50, measure=lambda s: volume(s.cell)
    )
    # exp(-P V / kT) V^N dV, a gamma distribution.
    expected = (ATOMS + 1) * KT / pressure
    # One volume too few, or too many, would change the mean by a seventh.
    assert agrees(space, expected, sigmas=6) < 0.02
    agrees((space - expected) ** 2, (ATOMS + 1) * (KT / pressure) ** 2, sigmas=6)


def volume_moments(pressure):
    """Mean and variance of V for SOLID: V exp(-(U(V) + P V) / kT), V from the centre of mass."""
    grid = np.linspace(5.0, 200.0, 200_001)
    squeeze = SOLID.modulus * (grid - SOLID.volume) ** 2 / (2 * SOLID.volume)
    weight = grid * np.exp(-(squeeze + pressure * (grid - SOLID.volume)) / KT)
    weight /= weight.sum()
    mean = (weight * grid).sum()
    return mean, (weight * (grid - mean) ** 2).sum()


@pytest.mark.parametrize(
    ("kind", "mode", "choices"),
    [
        ("npt_rescaling", "isotropic", {"thermostat": "csvr", "thermostat_time_fs": 40}),
        ("npt_rescaling", "triclinic", {"thermostat": "langevin", "thermostat_time_fs": 40}),
        ("npt_mtk", "isotropic", {"thermostat_time_fs": 40}),
        ("npt_mtk", "xy+z", {"thermostat_time_fs": 40}),
    ],
)
def test_barostats_sample_the_volume_of_a_solid(kind, mode, choices):
    pressure = 0.002
    if kind == "npt_rescaling":
        choices = choices | {"bulk_modulus_gpa": SOLID.modulus / units.GPA}
    solid = case(
        kind, 2.0, mode=mode, pressure_bar=pressure / units.BAR, time_fs=100, **choices
    )

    def measure(state):
        inner = jnp.trace(inner_virial(state, MASSES)) / 3
        return volume(state.cell), (inner + KT) / volume(state.cell), inner

    space, pressures, inner = sampled(
        solid, SOLID, lanes=256, warm=600, samples=40, every=30, measure=measure
    )
    mean, variance = volume_moments(pressure)
    assert agrees(space, mean, sigmas=6) < 0.005
    assert agrees((space - mean) ** 2, variance, sigmas=6) < 0.05
    agrees(pressures, pressure, sigmas=6)
    # <V (P - P0)> = -kT with the pressure of all N: the work form of the virial theorem.
    agrees(inner - pressure * space, -2 * KT, sigmas=6)


@pytest.mark.parametrize(
    ("kind", "choices"),
    [
        ("nvt_langevin", {}),
        ("nvt_csvr", {}),
        ("nvt_nose_hoover", {"time_fs": 30}),
        ("npt_rescaling", {"mode": "triclinic", "bulk_modulus_gpa": 8, "pressure_bar": 3000}),
        ("npt_mtk", {"mode": "isotropic", "time_fs": 200, "pressure_bar": 3000}),
        ("npt_mtk", {"mode": "triclinic", "time_fs": 200, "pressure_bar": 3000}),
    ],
)
def test_the_conserved_quantity_is_conserved_the_better_the_shorter_the_step(kind, choices):
    widths = []
    for timestep in (4.0, 2.0):
        chosen = case(kind, timestep, **choices)
        conserved = sampled(
            chosen,
            SOLID,
            lanes=16,
            warm=0,
            samples=int(200 / timestep),
            every=4,
            measure=lambda s, c=chosen: c.module.conserved(c.parameters, c.conditions, s),
        )
        widths.append((conserved - conserved.mean(axis=0)).std())
    assert widths[1] < 0.01 * FREEDOM * KT
    ratio = widths[0] / widths[1]
    # Second order for deterministic ones; noise adds errors of its own, one order lower.
    low = 3.5 if kind in ("nvt_nose_hoover", "npt_mtk") else 2.0
    assert low < ratio < 5.5


def test_layered_mode_lets_width_and_thickness_differ_and_keeps_the_shape():
    chosen = case(
        "npt_rescaling", 2.0, mode="xy+z", pressure_bar=1.0, time_fs=50, bulk_modulus_gpa=1,
        thermostat="langevin",
    )
    cells = sampled(
        chosen, GAS, lanes=4, warm=0, samples=5, every=20, measure=lambda s: s.cell
    )
    start = np.diag([3.0, 4.0, 5.0]) + 0.3 * np.tri(3, k=-1)
    growth = np.linalg.inv(start) @ cells
    np.testing.assert_allclose(growth[..., 0, 0], growth[..., 1, 1], rtol=1e-12)
    np.testing.assert_allclose(growth * (1 - np.eye(3)), 0, atol=1e-12)
    assert np.abs(growth[..., 0, 0] - growth[..., 2, 2]).max() > 1e-4


def test_the_triclinic_mode_keeps_the_first_vector_and_the_first_plane():
    chosen = case(
        "npt_rescaling", 2.0, mode="triclinic", pressure_bar=1.0, time_fs=20, bulk_modulus_gpa=1,
        thermostat="langevin",
    )
    cells = sampled(chosen, GAS, lanes=3, warm=0, samples=5, every=20, measure=lambda s: s.cell)
    assert np.abs(cells[..., 2, 0] - 0.3).max() > 1e-3  # it did shear
    first = cells[..., 0, :] / np.linalg.norm(cells[..., 0, :], axis=-1, keepdims=True)
    np.testing.assert_allclose(first, [[[1, 0, 0]] * 3] * 5, atol=1e-12)
    np.testing.assert_allclose(cells[..., 1, 2], 0, atol=1e-12)


def test_strains_are_orthonormal_and_exponentials_exact(rng):
    for mode, count in (("isotropic", 1), ("xy+z", 2), ("z", 1), ("triclinic", 6)):
        basis = _barostat.strains(mode)
        overlap = np.einsum("iab,jab->ij", basis, basis)
        np.testing.assert_allclose(overlap, np.eye(count), atol=1e-15)
    matrix = rng.normal(size=(3, 3)) * 0.05
    matrix = matrix + matrix.T
    values, vectors = np.linalg.eigh(matrix)
    exact, mean = _barostat.exponentials(jnp.asarray(matrix))
    np.testing.assert_allclose(exact, (vectors * np.exp(values)) @ vectors.T, atol=1e-15)
    ratio = np.expm1(values) / values
    np.testing.assert_allclose(mean, (vectors * ratio) @ vectors.T, atol=1e-14)
