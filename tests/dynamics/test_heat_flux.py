"""The flux against its definition, the unfolded form, finite differences, and identities.

Relative errors of 1e-12 are rounding: sums of some thousand terms in float64, seen 1e-14.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.dynamics.flux_forms import edge_flux, pairwise_flux
from mlffjax.dynamics.heat_flux import (
    Flux,
    heat_flux,
    mean_energies,
    observe,
    species_currents,
)
from mlffjax.dynamics.heat_flux_unfolded import unfolded_potential_flux
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.graphs.batching import Shape, build
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import energies_and_forces, predict
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.model import MaceModel
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures.system import System

ELEMENTS = (18, 36)
ROUNDING = 1e-12


def mace(interactions=2):
    config = MaceConfig(
        r_max=3.5, num_bessel=3, max_ell=1,
        hidden_irreps="2x0e + 2x1o" if interactions == 2 else "2x0e", radial_mlp=(4,),
        num_interactions=interactions, correlation=2,
    )  # fmt: skip
    model = MaceModel(ELEMENTS, config)
    params = model.init(key=jax.random.key(1))
    params["constants"]["scale"] = jnp.float32(100.0)  # potential and kinetic energy of one size
    return trees.cast(Potential(params, model), np.float64)


def thin_crystal():
    """Skewed, 3.1 to 6.2 Å between faces, thinner than any reach; one atom outside the cell."""
    cell = np.array([[3.6, 0.3, 0.0], [-1.0, 3.4, 0.4], [0.5, -0.7, 6.5]])
    fractions = np.array([[0, 0, 0], [2.5, 0.45, 0.3], [0.05, 0.4, 0.55], [0.6, 0.1, -0.2]])
    positions = fractions @ cell + np.random.default_rng(0).normal(size=(4, 3)) * 0.1
    return System(positions, np.array([18, 36, 18, 36], np.int32), cell, np.ones(3, bool))


def cluster(atoms=6):
    rng = np.random.default_rng(2)
    positions = np.array([[i, j, k] for i in range(2) for j in range(2) for k in range(2)]) * 2.4
    positions = positions[:atoms] + rng.normal(size=(atoms, 3)) * 0.15
    numbers = np.array([18, 36] * 4, np.int32)[:atoms]
    return System(positions, numbers, np.zeros((3, 3)), np.zeros(3, bool))


def graph_of(potential, system, **shape):
    sizes = Shape(**shape) if shape else None
    graph = build([system], ELEMENTS, potential.cutoff, shape=sizes, dtype=np.float64)
    return jax.tree.map(jnp.asarray, graph)


def velocities_of(system, seed=3):
    return jnp.asarray(np.random.default_rng(seed).normal(size=system.positions.shape))


def masses_of(system):
    return jnp.asarray(np.where(np.asarray(system.numbers) == 18, 39.948, 83.798))


def distance(found, expected):
    return float(jnp.linalg.norm(found - expected) / jnp.linalg.norm(expected))


compiled = jax.jit(heat_flux)


@pytest.mark.parametrize("interactions", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_equal_to_the_unfolded_form_in_a_cell_thinner_than_the_reach(interactions):
    potential, system = mace(interactions), thin_crystal()
    velocities = velocities_of(system)
    graph = graph_of(potential, system)
    found = compiled(potential, graph, velocities, masses_of(system)).potential
    unfolded = unfolded_potential_flux(potential, system, velocities)
    assert float(jnp.linalg.norm(unfolded)) > 1.0
    assert distance(found, unfolded) < ROUNDING


def test_slabs_too():
    potential = mace()
    system = thin_crystal()._replace(pbc=np.array([True, False, True]))
    velocities = velocities_of(system)
    found = compiled(potential, graph_of(potential, system), velocities, masses_of(system))
    unfolded = unfolded_potential_flux(potential, system, velocities)
    assert distance(found.potential, unfolded) < ROUNDING


def test_the_flux_of_a_cluster_is_the_rate_of_its_energy_moment():
    """d/dt of sum_i r_i e_i along the motion, with the model's own forces."""
    potential, system = mace(), cluster()
    graph, masses = graph_of(potential, system), masses_of(system)
    velocities = velocities_of(system) * 0.3

    def moment(positions, velocities):
        moved = graph._replace(positions=positions)
        potential_part = potential.model.atomic_energies(potential.params, moved)
        return (potential_part + masses * (velocities**2).sum(1) / 2) @ positions

    _, forces = jax.jit(energies_and_forces)(potential, graph)
    place, motion = (graph.positions, velocities), (velocities, forces / masses[:, None])
    _, rate = jax.jit(lambda *both: jax.jvp(moment, *both))(place, motion)
    found = compiled(potential, graph, velocities, masses)
    assert distance(found.total, rate) < ROUNDING
    # The identity can tell a wrong flux: the other forms fail it.
    wrong = jax.jit(edge_flux)(potential, graph, velocities) + found.convective
    assert distance(wrong, rate) > 1e-4


def test_rows_of_the_jacobian_by_finite_differences():
    """sum_i (r_i - r_j) dU_i/dr_j from central differences, h = 1e-4 Å.

    Their error is h² times a third derivative, about 1e-8 relative.
    """
    potential, system = mace(), cluster()
    graph, velocities = graph_of(potential, system), velocities_of(system)
    energies = jax.jit(
        lambda x: potential.model.atomic_energies(potential.params, graph._replace(positions=x))
    )
    step, flux = 1e-4, np.zeros(3)
    for atom, axis in np.ndindex(6, 3):
        moved = jnp.zeros((6, 3)).at[atom, axis].set(step)
        row = energies(graph.positions + moved) - energies(graph.positions - moved)
        row = row / (2 * step) * velocities[atom, axis]
        flux += np.asarray(row @ (graph.positions - graph.positions[atom]))
    found = compiled(potential, graph, velocities, masses_of(system)).potential
    assert distance(found, flux) < 1e-6


def test_reversing_velocities_reverses_the_potential_part():
    potential, system = mace(), thin_crystal()
    graph, masses, velocities = (
        graph_of(potential, system),
        masses_of(system),
        velocities_of(system),
    )
    forth = compiled(potential, graph, velocities, masses)
    back = compiled(potential, graph, -velocities, masses)
    np.testing.assert_array_equal(back.potential, -forth.potential)
    np.testing.assert_array_equal(back.convective, -forth.convective)


@pytest.mark.parametrize("interactions", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_rigid_motion_carries_the_virial(interactions):
    """v_j = u: J_pot = -W^T u with the virial W = volume x stress, which pins sign and unit."""
    potential, system = mace(interactions), thin_crystal()
    graph = graph_of(potential, system)
    drift = jnp.array([0.3, -0.7, 0.2])
    velocities = jnp.broadcast_to(drift, graph.positions.shape)
    found = compiled(potential, graph, velocities, masses_of(system)).potential
    virial = jax.jit(predict)(potential, graph).stress[0] * abs(np.linalg.det(system.cell))
    assert distance(found, -virial @ drift) < ROUNDING


def test_all_forms_agree_for_a_pair_potential():
    potential, system = lennard_jones(ELEMENTS, sigma=2.4, cutoff=7.0), thin_crystal()
    graph, velocities = graph_of(potential, system), velocities_of(system)
    exact = compiled(potential, graph, velocities, masses_of(system)).potential
    for other in (
        unfolded_potential_flux(potential, system, velocities),
        jax.jit(edge_flux)(potential, graph, velocities),
        jax.jit(pairwise_flux)(potential, graph, velocities),
    ):
        assert distance(other, exact) < ROUNDING


def test_a_pair_of_atoms_by_hand():
    """Two atoms on x: U_1 = U_2 = u(r)/2, so J_x = (x_1 - x_2) u'/2 (x direction) (v_1 + v_2)."""
    potential = lennard_jones(ELEMENTS, cutoff=9.0)
    positions = np.array([[0.0, 0, 0], [3.6, 0, 0]])
    system = System(positions, np.array([18, 18], np.int32), np.zeros((3, 3)), np.zeros(3, bool))
    velocities = jnp.array([[0.2, 1.0, 0.0], [-0.5, 0.0, 2.0]])
    masses = jnp.array([40.0, 40.0])
    flux = heat_flux(potential, graph_of(potential, system), velocities, masses)
    power = (3.40 / 3.6) ** 6
    slope = 4 * 0.0104 * (-12 * power**2 + 6 * power) / 3.6
    expected = (0.0 - 3.6) * slope / 2 * (-0.5) + (3.6 - 0.0) * (-slope) / 2 * 0.2
    np.testing.assert_allclose(flux.potential, [expected, 0, 0], rtol=1e-12)
    each = 4 * 0.0104 * (power**2 - power) / 2
    energies = np.array([each + 20 * 1.04, each + 20 * 4.25])
    np.testing.assert_allclose(flux.convective, energies @ np.asarray(velocities), rtol=1e-12)


def test_the_zero_of_energy_moves_the_convective_part_by_particle_currents():
    potential, system = mace(), thin_crystal()
    graph, masses, velocities = (
        graph_of(potential, system),
        masses_of(system),
        velocities_of(system),
    )
    zero = jnp.array([-3.0, 100.0])
    plain = compiled(potential, graph, velocities, masses)
    moved = compiled(potential, graph, velocities, masses, mean_energies=zero)
    currents = species_currents(velocities, graph, 2)
    np.testing.assert_array_equal(moved.potential, plain.potential)
    np.testing.assert_allclose(moved.convective, plain.convective - zero @ currents, atol=1e-11)
    kinds = np.asarray(system.numbers) == 36
    np.testing.assert_allclose(currents[1], np.asarray(velocities)[kinds].sum(axis=0), atol=1e-14)


def test_mean_energies_are_those_of_the_elements():
    potential, system = mace(), thin_crystal()
    graph = graph_of(potential, system, atoms=6, slots=64, graphs=1)
    atomic = jax.jit(potential.model.atomic_energies)(potential.params, graph)
    atomic = np.asarray(atomic)[:4]
    found = jax.jit(mean_energies)(potential, graph)
    np.testing.assert_allclose(found, [atomic[::2].mean(), atomic[1::2].mean()], rtol=1e-12)
    alone = graph._replace(species=jnp.zeros_like(graph.species))
    assert jax.jit(mean_energies)(potential, alone)[1] == 0


def test_padding_changes_nothing():
    potential, system = mace(), thin_crystal()
    velocities, masses = velocities_of(system), masses_of(system)
    plain = compiled(potential, graph_of(potential, system), velocities, masses)
    wide = graph_of(potential, system, atoms=7, slots=72, graphs=1)
    wild = jnp.full((7, 3), 1e3).at[:4].set(velocities)
    padded = compiled(potential, wide, wild, jnp.full(7, 5.0).at[:4].set(masses))
    for found, expected in zip(padded, plain, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


def test_a_supercell_has_that_many_times_the_flux():
    potential, system = mace(), thin_crystal()
    velocities, masses = velocities_of(system), masses_of(system)
    cell = np.array(system.cell)
    cell[0] *= 2
    twice = System(
        np.concatenate([system.positions, system.positions + system.cell[0]]),
        np.tile(system.numbers, 2), cell, system.pbc,
    )  # fmt: skip
    single = compiled(potential, graph_of(potential, system), velocities, masses)
    double = compiled(
        potential, graph_of(potential, twice), jnp.tile(velocities, (2, 1)), jnp.tile(masses, 2)
    )
    for found, expected in zip(double, single, strict=True):
        np.testing.assert_allclose(found, 2 * expected, rtol=1e-11)


def test_frames_and_models_are_mapped_in_one_compilation():
    potential, system = mace(), thin_crystal()
    graph, masses = graph_of(potential, system), masses_of(system)
    frames = jnp.stack([velocities_of(system, seed) for seed in range(3)])
    weaker = jax.tree.map(lambda x: 0.9 * x, potential.params)
    models = trees.stack([potential, dataclasses.replace(potential, params=weaker)])
    traces = 0

    def counted(potential, velocities):
        nonlocal traces
        traces += 1
        return heat_flux(potential, graph, velocities, masses)

    mapped = jax.jit(jax.vmap(jax.vmap(counted, (None, 0)), (0, None)))
    found = mapped(models, frames)
    mapped(models, 2 * frames)
    assert traces == 1
    assert isinstance(found, Flux)
    assert found.potential.shape == (2, 3, 3)
    for model, frame in np.ndindex(2, 3):
        alone = compiled(
            jax.tree.map(lambda x, m=model: x[m], models), graph, frames[frame], masses
        )
        np.testing.assert_allclose(found.potential[model, frame], alone.potential, rtol=1e-10)


class Moving(NamedTuple):
    velocities: jax.Array


def test_the_observer_records_both_parts_and_the_currents_without_drift():
    potential, system = mace(), thin_crystal()
    graph = graph_of(potential, system, atoms=6, slots=64, graphs=1)
    velocities = jnp.full((6, 3), 7.0).at[:4].set(velocities_of(system))
    masses = jnp.ones(6).at[:4].set(masses_of(system))
    record = jax.jit(observe)
    rows = record(potential, graph, Moving(velocities), masses)
    assert rows.shape == (4, 3)
    rest = velocities[:4] - masses[:4] @ velocities[:4] / masses[:4].sum()
    plain = compiled(potential, graph_of(potential, system), rest, masses[:4])
    np.testing.assert_allclose(rows[0], plain.potential, rtol=1e-10)
    np.testing.assert_allclose(rows[1], plain.convective, rtol=1e-10)
    np.testing.assert_allclose(rows[2] * 39.948 + rows[3] * 83.798, 0, atol=1e-12)
    again = record(potential, graph, Moving(velocities + 3.0), masses)
    np.testing.assert_allclose(again, rows, atol=1e-10)


def test_single_precision_forces_take_velocities_of_double_precision():
    potential, system = mace(), thin_crystal()
    graph, velocities, masses = (
        graph_of(potential, system),
        velocities_of(system),
        masses_of(system),
    )
    exact = compiled(potential, graph, velocities, masses)
    narrow = trees.cast(potential, np.float32), trees.cast(graph, np.float32)
    found = compiled(*narrow, velocities, masses)
    assert found.potential.dtype == np.float32
    # float32 rounding of sums over edges, seen 1e-6.
    np.testing.assert_allclose(found.potential, exact.potential, rtol=1e-4)


class Deaf:
    """A model that states no heat flux."""

    def __init__(self, model):
        self.model = model
        self.supports = frozenset({"atomic_energies"})

    def __getattr__(self, name):
        return getattr(self.model, name)


def test_models_without_heat_flux_are_refused_by_name():
    system = thin_crystal()
    potential = lennard_jones(ELEMENTS, cutoff=6.0)
    graph, velocities = graph_of(potential, system), velocities_of(system)
    deaf = dataclasses.replace(potential, model=Deaf(potential.model))
    for refused in (
        lambda: heat_flux(deaf, graph, velocities, masses_of(system)),
        lambda: edge_flux(deaf, graph, velocities),
        lambda: unfolded_potential_flux(deaf, system, velocities),
    ):
        with pytest.raises(CompatibilityError, match=r"'lennard_jones' .*not 'heat_flux'"):
            refused()


def test_graphs_and_velocities_that_do_not_fit_are_refused():
    system = thin_crystal()
    potential = lennard_jones(ELEMENTS, cutoff=6.0)
    graph, velocities, masses = (
        graph_of(potential, system),
        velocities_of(system),
        masses_of(system),
    )
    with pytest.raises(InputError, match="velocities of shape"):
        heat_flux(potential, graph, velocities[:2], masses)
    many = build([system, system], ELEMENTS, potential.cutoff, dtype=float)
    with pytest.raises(InputError, match="one structure"):
        heat_flux(potential, many, jnp.tile(velocities, (2, 1)), jnp.tile(masses, 2))
