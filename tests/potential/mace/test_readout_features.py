"""Atomic energies are linear in the last maps of the readouts, times the features."""

import jax
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.graphs.batching import Shape, build
from mlffjax.potential.base import Potential
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.model import MaceModel
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures.system import System

TINY = {
    "r_max": 4.0, "num_bessel": 4, "max_ell": 1, "correlation": 2, "mlp_irreps": "3x0e",
    "hidden_irreps": "4x0e + 4x1o", "radial_mlp": [5],
}  # fmt: skip
KINDS = {
    "linear and network": {},
    "network with biases, last only": {"readout": "NonLinearBias", "use_last_readout_only": True},
    "with repulsion": {"pair_repulsion": True},
}


@pytest.fixture(scope="module")
def graph():
    positions = np.array([[0.0, 0, 0], [2.3, 1.5, 2.5], [0.5, 2.3, 5.0], [2.8, 0.4, 5.7]])
    cell = np.array([[4.6, 0.2, 0], [-0.9, 3.8, 0.3], [0.4, -0.6, 7.1]])
    system = System(positions, np.array([24, 52, 51, 52], np.int32), cell, np.ones(3, bool))
    return build([system], (24, 51, 52), 4.0, shape=Shape(6, 64, 1), dtype=np.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_features_times_last_maps_are_atomic_energies(kind, graph):
    model = MaceModel((24, 51, 52), MaceConfig.model_validate(TINY | KINDS[kind]))
    potential = trees.cast(Potential(model.init(key=jax.random.key(1)), model), np.float64)
    constants = potential.params["constants"] | {"scale": np.array(1.7), "shift": np.array(0.3)}
    params = potential.params | {"constants": constants}

    @jax.jit
    def both(params):
        features, folded = model.readout_features(params, graph), model.fold(params)
        rest = 0.0
        if model.config.pair_repulsion:  # not of a readout
            rest = model._repulsion(folded, *model._edges(folded, graph))
        read = [layer.readout for layer in folded.layers if layer.readout.weights]
        offsets = sum(r.biases[-1][0] for r in read if r.biases)
        weights = jax.numpy.concatenate([r.weights[-1][:, 0] for r in read])
        known = features @ weights + constants["scale"] * (offsets + rest) + constants["shift"]
        return known, model.atomic_energies(params, graph)

    known, expected = both(params)
    # Sums of some ten terms of order one in float64.
    np.testing.assert_allclose(known[:4], expected[:4], rtol=1e-12, atol=1e-12)
    assert np.ptp(expected[:4]) > 1e-3


def test_lennard_jones_is_linear_in_epsilon():
    potential = trees.cast(lennard_jones((18,), epsilon=0.03, cutoff=5.5), np.float64)
    positions = np.array([[0.0, 0, 0], [3.7, 0.2, 0], [0.3, 3.6, 0.4]])
    system = System(positions, np.full(3, 18, np.int32), 9 * np.eye(3), np.ones(3, bool))
    graph = build([system], (18,), 5.5, dtype=np.float64)
    features = potential.model.readout_features(potential.params, graph)
    expected = potential.model.atomic_energies(potential.params, graph)
    np.testing.assert_allclose(features @ np.array([0.03, 0.03]), expected, rtol=1e-12)
