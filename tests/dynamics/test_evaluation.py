"""Folded potentials say what the original ones do, in the precision asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.dynamics.evaluation import evaluate, members, prepared
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.graphs.batching import build
from mlffjax.potential.base import EnergyModel, Potential
from mlffjax.potential.derivatives import predict
from mlffjax.potential.sources import mace


@pytest.fixture(scope="module")
def small_mace(argon):
    model = mace.energy_model(mace.example(), (18, 36))
    potential = Potential(model.init(key=jax.random.key(0)), model)
    return trees.cast(potential, jnp.float64), argon[1]


def test_folding_changes_nothing(small_mace):
    potential, system = small_mace
    graph = build([system], potential.elements, potential.cutoff, dtype=np.float64)
    ready = prepared(potential, np.float64, None)
    assert isinstance(ready.model, EnergyModel)
    found, expected = jax.jit(evaluate)(ready, graph), jax.jit(predict)(potential, graph)
    volume = np.linalg.det(system.cell)
    np.testing.assert_allclose(found.energy, expected.energy[0], rtol=1e-13)
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-12)
    np.testing.assert_allclose(found.virial, -volume * expected.stress[0], rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(
        ready.model.reference_energies(ready.params),
        potential.model.reference_energies(potential.params),
    )
    assert ready.model.settings == potential.model.settings
    assert ready.model.reach == potential.model.reach
    assert "features" not in ready.model.supports
    shapes = jax.tree.map(jnp.shape, ready.params)
    fresh = jax.eval_shape(lambda: ready.model.init(key=jax.random.key(0)))
    assert jax.tree.map(lambda leaf: leaf.shape, fresh) == shapes


def test_single_precision_leaves_the_whole_at_rest(argon, rng):
    potential, system = argon
    system = system._replace(positions=system.positions + 0.1 * rng.normal(size=(32, 3)))
    graph = build([system], (18, 36), potential.cutoff, dtype=np.float32)
    found = evaluate(prepared(potential, np.float32, None), graph)
    assert found.forces.dtype == found.energy.dtype == found.virial.dtype == jnp.float64
    np.testing.assert_allclose(found.forces.sum(axis=0), 0, atol=1e-14)


def test_stacks_are_told_from_single_potentials(argon):
    potential, _ = argon
    assert members(potential) is None
    assert members(trees.stack([potential] * 3)) == 3
    with pytest.raises(InputError, match="NaN"):
        members(jax.tree.map(lambda leaf: leaf * jnp.nan, potential))
    with pytest.raises(CompatibilityError, match="nor those of a stack"):
        members(jax.tree.map(lambda leaf: leaf.reshape(1, 1, -1), potential))
