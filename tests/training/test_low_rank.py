import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.graphs.batching import build
from mlffjax.potential.base import Potential
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.model import MaceModel
from mlffjax.structures.system import System
from mlffjax.training.low_rank import adapt, saves

ONE_LAYER = MaceConfig(
    r_max=4.0, num_bessel=2, max_ell=1, correlation=2, num_interactions=1, hidden_irreps="4x0e",
    radial_mlp=(2,),
)  # fmt: skip
LINEAR, SKIP = "layer_0/linear_0e", "layer_0/interaction/skip_0e"


@pytest.fixture(scope="module")
def network():
    model = MaceModel((18, 36), ONE_LAYER)
    return trees.cast(Potential(model.init(key=jax.random.key(0)), model), jnp.float64)


def adapted(network, names, rank, alpha):
    """With random instead of zero output factors."""
    made = adapt(network, names, rank=rank, alpha=alpha, key=jax.random.key(1))
    draws = iter(jax.random.split(jax.random.key(2), 10))
    trainable = jax.tree.map(
        lambda leaf: leaf + jax.random.normal(next(draws), leaf.shape), made.trainable
    )
    return made._replace(trainable=trainable)


def weight(potential, name):
    return np.asarray(trees.names(potential.params["weights"])[name])


def test_update_is_the_scaled_product_of_the_factors(network):
    """Summed element by element, for a plain matrix and for one matrix per element."""
    made = adapted(network, (LINEAR, SKIP), rank=1, alpha=3.0)
    factors = trees.names(made.trainable["low"])
    new = made.realize(made.trainable)
    for name in (LINEAR, SKIP):
        down, up = np.asarray(factors[f"{name}/down"]), np.asarray(factors[f"{name}/up"])
        old, shape = weight(network, name), weight(network, name).shape
        expected = old.copy()
        for index in itertools.product(*map(range, shape)):
            column = np.ravel_multi_index(index[1:], shape[1:])
            expected[index] += 3.0 * sum(down[index[0], k] * up[k, column] for k in range(1))
        np.testing.assert_allclose(weight(new, name), expected, rtol=1e-14)


def test_rank_of_the_change_is_that_of_the_factors(network):
    made = adapted(network, (SKIP,), rank=2, alpha=2.0)
    change = weight(made.realize(made.trainable), SKIP) - weight(network, SKIP)
    sizes = np.linalg.svd(change.reshape(4, -1), compute_uv=False)
    assert sizes[1] > 1e-3
    assert sizes[2] < 1e-13 * sizes[0]  # rounding


def test_merged_energies_are_those_of_both_branches(network):
    """With one layer, energies are linear in its last map: the branches can be added up."""
    made = adapted(network, (LINEAR,), rank=1, alpha=0.5)
    random = np.random.default_rng(0)
    system = System(
        random.uniform(0, 4, (4, 3)), np.array([18, 36, 18, 36]), 5 * np.eye(3), np.ones(3, bool)
    )
    graph = build([system], (18, 36), 4.0, dtype=np.float64)
    energies = jax.jit(lambda potential: potential.model.atomic_energies(potential.params, graph))

    def with_map(matrix):
        named = trees.names(network.params["weights"]) | {LINEAR: matrix}
        params = {**network.params, "weights": trees.from_names(named)}
        return energies(Potential(params, network.model))

    factors = made.trainable["low"]["layer_0"]["linear_0e"]
    branch = with_map(0.5 * factors["down"] @ factors["up"]) - with_map(jnp.zeros((4, 4)))
    unmerged = energies(network) + branch
    merged = energies(made.realize(made.trainable))
    assert float(jnp.abs(branch).max()) > 1e-3
    np.testing.assert_allclose(merged, unmerged, rtol=1e-12, atol=1e-14)  # float64


def test_at_first_nothing_is_changed(network):
    made = adapt(network, (LINEAR, SKIP), rank=1, alpha=7.0, key=jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, made.realize(made.trainable), network)


def test_matrices_that_would_not_shrink_are_trained_whole(network):
    names = (LINEAR, "layer_0/readout_0")
    made = adapt(network, names, rank=1, alpha=1.0, key=jax.random.key(1))
    assert (made.low, made.full) == ((LINEAR,), ("layer_0/readout_0",))
    assert set(made.frozen) == set(trees.names(network.params["weights"])) - set(names)
    assert saves((4, 4), 1)
    assert not saves((4, 4), 2)
    assert saves((4, 2, 4), 2)


def test_keys_decide_the_input_factors(network):
    first, again, other = (
        adapt(network, (LINEAR,), rank=1, alpha=1.0, key=jax.random.key(k)).trainable
        for k in (1, 1, 2)
    )
    down = [np.asarray(t["low"]["layer_0"]["linear_0e"]["down"]) for t in (first, again, other)]
    np.testing.assert_array_equal(down[0], down[1])
    assert not np.array_equal(down[0], down[2])
