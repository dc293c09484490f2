"""Rigidity of the last layer: Bayesian linear regression, finite differences, invariances."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.graphs.batching import Shape, build, stacked
from mlffjax.potential import rigidity
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import energies_and_forces
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.model import MaceModel
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures.system import System

TINY = {
    "r_max": 4.0, "num_bessel": 4, "max_ell": 1, "correlation": 2, "mlp_irreps": "3x0e",
    "hidden_irreps": "4x0e + 4x1o", "radial_mlp": [5],
}  # fmt: skip


def crystal(seed, atoms=3, elements=(24, 52)):
    rng = np.random.default_rng(seed)
    places = np.array([[0.0, 0, 0], [2.3, 1.5, 2.5], [0.5, 2.3, 4.5]])[:atoms]
    cell = np.array([[4.6, 0.2, 0], [-0.9, 4.2, 0.3], [0.4, -0.6, 6.1]])
    numbers = np.array([elements[0], elements[-1], elements[-1]], np.int32)[:atoms]
    moved = places + rng.normal(scale=0.1, size=(atoms, 3))
    return System(moved, numbers, cell, np.ones(3, bool))


@pytest.fixture(scope="module")
def mace():
    model = MaceModel((24, 52), MaceConfig.model_validate(TINY))
    return trees.cast(Potential(model.init(key=jax.random.key(1)), model), np.float64)


@pytest.fixture(scope="module")
def argon():
    return trees.cast(lennard_jones((18,), cutoff=5.5), np.float64)


@pytest.fixture(scope="module")
def systems():
    return [crystal(seed, atoms) for seed, atoms in ((0, 3), (1, 2), (2, 3))]


def graphs_of(systems, groups, potential):
    made = stacked(systems, groups, potential.elements, potential.cutoff, dtype=np.float64)
    return jax.tree.map(jnp.asarray, made)


def test_features_of_forces_are_differences_of_those_of_energies(mace, systems):
    shape = Shape(5, 64, 2)
    graph = build(systems[:1], mace.elements, mace.cutoff, shape=shape, dtype=np.float64)
    features = jax.jit(rigidity.features)
    found, step = features(mace, graph), 1e-4
    for atom, axis in ((0, 0), (2, 1)):
        moved = np.zeros_like(graph.positions)
        moved[atom, axis] = step
        up, down = (
            features(mace, graph._replace(positions=graph.positions + s * moved)).energy[0]
            for s in (1, -1)
        )
        # Truncation and rounding of central differences, some 1e-8 of values of order one.
        np.testing.assert_allclose(found.forces[atom, axis], (down - up) / (2 * step), atol=1e-7)
    assert found.energy.shape == (2, 7)  # four channels of layer 1, three hidden values
    assert not np.any(found.energy[1])
    assert not np.any(found.forces[3:])


def test_lennard_jones_is_bayesian_regression(argon):
    """Two features, coefficients of which would be found from energies and forces of frames."""
    frames = [crystal(seed, elements=(18, 18)) for seed in range(4)]
    graphs = graphs_of(frames, [[0], [1], [2], [3]], argon)
    asked = jax.jit(rigidity.features)
    rows = [jax.tree.map(np.asarray, asked(argon, graph)) for graph in trees.unstack(graphs)]
    # The plain design matrix with noise 1/weight on each mean, a prior precision of `ridge`.
    energy = np.stack([row.energy[0] / 3 for row in rows])
    forces = np.concatenate([row.forces.reshape(-1, 2) for row in rows])
    design = np.concatenate([np.sqrt(2.0 / len(energy)) * energy,
                             np.sqrt(5.0 / len(forces)) * forces])  # fmt: skip
    ridge = 0.3
    posterior = np.linalg.inv(design.T @ design + ridge * np.eye(2))
    known = rigidity.fit(rigidity.covariance(argon, graphs, 2.0, 5.0), ridge=ridge)
    np.testing.assert_allclose(known.factor @ known.factor.T, posterior, rtol=1e-10)
    found = rigidity.spreads(argon, known, graphs)
    for k, row in enumerate(rows):
        variance = float(row.energy[0] @ posterior @ row.energy[0])
        assert found.energy_spread[k, 0] ** 2 == pytest.approx(variance, rel=1e-10)
        expected = np.einsum("aid,de,aie->ai", row.forces, posterior, row.forces)
        np.testing.assert_allclose(found.force_spread[k] ** 2, expected, rtol=1e-10)
        energy, forces = jax.jit(energies_and_forces)(argon, trees.unstack(graphs)[k])
        np.testing.assert_allclose(found.energy[k], energy, rtol=1e-12)
        np.testing.assert_allclose(found.forces[k], forces, rtol=1e-12, atol=1e-14)
    difference = rows[2].energy[0] - rows[0].energy[0]
    apart = np.linalg.norm(found.whitened[2, 0] - found.whitened[0, 0])
    expected = float(difference @ posterior @ difference)
    assert float(apart) ** 2 == pytest.approx(expected, rel=1e-10)


def test_batching_padding_and_rotation_do_not_matter(mace, systems):
    alone = rigidity.covariance(mace, graphs_of(systems, [[0], [1], [2]], mace))
    together = rigidity.covariance(mace, graphs_of(systems, [[0, 1], [2]], mace))
    # Sums of some hundred products of order one in float64.
    np.testing.assert_allclose(together, alone, rtol=1e-11, atol=1e-13)
    turn, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))
    turned = [s._replace(positions=s.positions @ turn, cell=s.cell @ turn) for s in systems]
    rotated = rigidity.covariance(mace, graphs_of(turned, [[0], [1], [2]], mace))
    np.testing.assert_allclose(rotated, alone, rtol=1e-9, atol=1e-11)
    known = rigidity.fit(alone)
    packed = rigidity.spreads(mace, known, graphs_of(systems, [[0, 1], [2]], mace))
    single = rigidity.spreads(mace, known, graphs_of(systems, [[0], [1], [2]], mace))
    np.testing.assert_allclose(packed.energy_spread[0], single.energy_spread[:2, 0], rtol=1e-6)
    assert packed.energy_spread[1, 1] == 0
    copies = rigidity.spreads(mace, known, graphs_of([systems[0]] * 2, [[0], [1]], mace))
    assert np.array_equal(copies.whitened[0], copies.whitened[1])


def test_the_ridge_is_raised_until_the_condition_is_bearable():
    matrix = np.diag([1.0, 1e-3, 0.0])
    known = rigidity.fit(matrix)
    assert known.condition == pytest.approx(rigidity.WORST, rel=1e-4)
    assert known.ridge == pytest.approx(1 / rigidity.WORST, rel=1e-4)
    assert rigidity.fit(matrix, ridge=0.1).ridge == 0.1
    assert rigidity.fit(np.diag([1.0, 0.5])).ridge == 0


def test_scales_are_the_rms_of_error_over_spread():
    known = rigidity.fit(np.eye(2))
    energy = np.array([0.1, -0.3]), np.array([0.2, 0.1])
    forces = np.array([1.0, 0.5, -2.0]), np.ones(3)
    found = rigidity.calibrated(known, energy, forces)
    assert found.energy_scale == pytest.approx(np.sqrt((0.25 + 9) / 2), rel=1e-12)
    assert found.force_scale == pytest.approx(np.sqrt(5.25 / 3), rel=1e-12)


def test_many_graphs_are_one_program(argon):
    frames = [crystal(seed, elements=(18, 18)) for seed in range(3)]
    traces: Any = rigidity.covariance
    before = traces._cache_size()
    for other in ([[0], [1], [2]], [[2], [0], [1]]):
        rigidity.covariance(argon, graphs_of(frames, other, argon))
    assert traces._cache_size() == before + 1


def test_bad_input(argon):
    with pytest.raises(InputError, match="finite"):
        rigidity.fit(np.full((2, 2), np.nan))
    with pytest.raises(InputError, match="zero"):
        rigidity.fit(np.zeros((2, 2)))
    with pytest.raises(InputError, match="validation split"):
        rigidity.likeliest_scale(np.zeros(0), np.zeros(0))
    with pytest.raises(InputError, match="positive"):
        rigidity.likeliest_scale(np.ones(2), np.array([1.0, 0.0]))
    with pytest.raises(InputError, match="their labels are"):
        rigidity.likeliest_scale(np.zeros(2), np.ones(2))


def test_a_model_without_readout_is_refused(argon):
    class Opaque:
        supports = frozenset({"atomic_energies"})
        settings = {"kind": "opaque"}

    with pytest.raises(CompatibilityError, match="'opaque'"):
        rigidity.require_readout(argon.replace(model=Opaque()))
