"""A model with fewer elements is the same function of those that stay."""

import jax
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.errors import CompatibilityError
from mlffjax.graphs.batching import build
from mlffjax.potential import pair
from mlffjax.potential.base import Potential
from mlffjax.potential.convert.elements import keep_elements
from mlffjax.potential.derivatives import predict
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.model import MaceModel
from mlffjax.structures.system import System

# Ten elements are looked up, few are a matmul: both ways are crossed here.
ELEMENTS = (3, 8, 13, 14, 22, 24, 51, 52, 79, 1)
SMALL = MaceConfig.model_validate(
    {"r_max": 4.0, "num_bessel": 4, "max_ell": 1, "correlation": 2, "mlp_irreps": "4x0e",
     "hidden_irreps": "4x0e + 4x1o", "radial_mlp": [8]}
)  # fmt: skip


def shapes(model):
    return jax.eval_shape(lambda: model.init(key=jax.random.key(0)))


@pytest.fixture(scope="module")
def whole():
    model = MaceModel(ELEMENTS, SMALL)
    rng = np.random.default_rng(3)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), shapes(model))
    params["constants"]["average_neighbors"] = np.array(9.0)
    params["constants"]["atomic_energies"] = np.linspace(-5, -1, len(ELEMENTS))
    return Potential(params, model)


@pytest.fixture
def system(rng):
    return System(
        positions=rng.uniform(0, 4, (6, 3)) + np.arange(6)[:, None],
        numbers=np.array([24, 52, 51, 52, 24, 51], np.int32),
        cell=np.diag([9.0, 8.0, 9.5]),
        pbc=np.ones(3, bool),
    )


def test_no_number_changes(whole, system):
    fewer = keep_elements(whole, (52, 24, 51))
    assert fewer.elements == (24, 51, 52)
    assert trees.size(fewer.params) < trees.size(whole.params)
    assert fewer.reference_energy(system) == whole.reference_energy(system)
    results = [
        jax.jit(predict)(potential, build([system], potential.elements, 4.0, dtype=np.float64))
        for potential in (whole, fewer)
    ]
    for name in ("energy", "forces", "stress", "atomic_energies"):
        expected, found = (np.asarray(getattr(result, name)) for result in results)
        # Two roundings per weight, of order one: 1e-14 is seen.
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * scale, err_msg=name)


def test_weights_keep_their_precision(whole):
    fewer = keep_elements(trees.cast(whole, np.float32), [8])
    assert {leaf.dtype for leaf in jax.tree.leaves(fewer.params)} == {np.dtype(np.float32)}
    same = keep_elements(whole, ELEMENTS)
    jax.tree.map(np.testing.assert_array_equal, same.params, whole.params)


def test_the_tree_is_that_of_a_model_for_these_elements(whole):
    fewer = keep_elements(whole, [24, 51])
    expected = shapes(MaceModel((24, 51), SMALL))
    jax.tree.map(lambda a, b: np.testing.assert_equal(a.shape, b.shape), fewer.params, expected)


def test_unknown_elements_are_refused(whole):
    with pytest.raises(CompatibilityError, match="does not know Fe, U; choose among Li, O"):
        keep_elements(whole, [26, 24, 92])
    with pytest.raises(CompatibilityError, match="no elements to keep"):
        keep_elements(whole, [])
    with pytest.raises(CompatibilityError, match="expected a MACE"):
        keep_elements(pair.lennard_jones((18,), epsilon=0.01, sigma=3.4, cutoff=8.0), [18])
