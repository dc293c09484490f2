import jax
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.errors import CompatibilityError
from mlffjax.potential.base import Potential
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.model import MaceModel
from mlffjax.training.parts import layer_factors, matching, trained_part, weight_names
from mlffjax.training.recipe import all_weights

TINY = MaceConfig(
    r_max=4.0, num_bessel=2, max_ell=1, correlation=1, hidden_irreps="2x0e + 2x1o", radial_mlp=(2,)
)


@pytest.fixture(scope="module")
def network():
    model = MaceModel((18, 36), TINY)
    return Potential(model.init(key=jax.random.key(0)), model)


def test_patterns_go_across_branches_and_keep_the_order_of_the_names(network):
    named = weight_names(network, "this")
    found = matching(named, ["*/readout_*", "layer_0/interaction/*"], "entry")
    assert found == tuple(
        name for name in named if "readout" in name or name.startswith("layer_0/interaction/")
    )
    assert matching(named, ["embedding"], "entry") == ("embedding",)


def test_pattern_without_match_is_refused_with_the_names(network):
    with pytest.raises(CompatibilityError, match=r"entry: no weight.*'layer_7/\*'.*layer_1/reado"):
        matching(weight_names(network, "this"), ["embedding", "layer_7/*"], "entry")


def test_potential_without_weights_is_refused(network):
    with pytest.raises(CompatibilityError, match="strategy this trains weights"):
        weight_names(Potential({"constants": {}}, network.model), "this")


def test_trained_part_realizes_the_whole(network):
    trainable, realize = trained_part(network, {"embedding", "layer_1/readout_0"})
    assert list(trees.names(trainable)) == ["embedding", "layer_1/readout_0"]
    made = realize(jax.tree.map(lambda leaf: leaf + 1, trainable))
    for name, leaf in trees.names(network.params).items():
        moved = 1.0 if name in ("weights/embedding", "weights/layer_1/readout_0") else 0.0
        np.testing.assert_array_equal(trees.names(made.params)[name], leaf + np.float32(moved))


def test_factors_fall_from_the_readouts_to_the_embedding(network):
    weights, realize = all_weights(network)
    factors = dict(zip(trees.names(weights), layer_factors(weights, realize, 0.5), strict=True))
    assert factors["layer_0/readout_0"] == factors["layer_1/readout_1"] == 1.0
    assert factors["layer_1/linear_0e"] == factors["layer_1/interaction/radial/layer_0"] == 0.5
    assert factors["layer_0/linear_1o"] == factors["layer_0/interaction/radial/layer_1"] == 0.25
    assert factors["embedding"] == 0.125
    assert len(set(factors.values())) == 4


def test_depth_is_that_in_the_whole_network(network):
    """Whatever part is trained, under whatever branch."""
    trainable, realize = trained_part(network, {"embedding", "layer_0/linear_0e"})
    assert layer_factors(trainable, realize, 0.5) == (0.125, 0.25)
    inside = {"low": trainable}
    assert layer_factors(inside, lambda tree: realize(tree["low"]), 0.5) == (0.125, 0.25)


def test_weights_without_layers_are_refused_by_name(guess):
    with pytest.raises(CompatibilityError, match=r"layer_decay needs weights.*got 'epsilon'"):
        layer_factors(*all_weights(guess), 0.5)
    assert layer_factors({}, lambda tree: guess, 0.5) == ()
