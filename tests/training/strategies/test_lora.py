import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mlffjax import trees
from mlffjax.errors import CompatibilityError
from mlffjax.graphs.batching import build
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.model import MaceModel
from mlffjax.training.fit import fit
from mlffjax.training.parts import matching
from mlffjax.training.strategies import freeze, lora


def start(ingredients, **choices):
    choices = {"rank": 1, "alpha": 1.0, **choices}
    return lora.build(lora.Config(**choices), ingredients, key=jax.random.key(0))


@pytest.fixture(scope="module")
def trained(ingredients_of_network):
    ingredients = ingredients_of_network
    frames = ingredients.dataset.frames
    training = ingredients.training.model_copy(update={"keep": "last", "learning_rate": 0.01})
    recipe = start(ingredients._replace(training=training))
    return recipe, fit(recipe, frames[:3], frames[3:5], training, seed=0).potential


def test_notes_say_which_weights_have_which_part(trained, network):
    recipe, potential = trained
    (note,) = [note for note in recipe.notes if "numbers are trained" in note]
    low, full, frozen = (part.partition(": ")[2].split(", ") for part in note.split("; ")[1:])
    named = trees.names(network.params["weights"])
    assert sorted([*low, *full, *frozen]) == sorted(named)
    assert "layer_0/linear_1o" in low
    assert "layer_0/readout_0" in full
    assert "embedding" in frozen
    after = trees.names(potential.params["weights"])
    for name, leaf in named.items():
        moved = np.asarray(leaf).tobytes() != np.asarray(after[name]).tobytes()
        assert moved is (name not in frozen), name
    size = int(note.split()[0])
    assert size == trees.size(recipe.trainable) < trees.size(network.params["weights"])


def test_trained_updates_have_the_rank(trained, network):
    before, after = (
        np.asarray(trees.names(p.params["weights"])["layer_1/interaction/linear_1o"], float)
        for p in (network, trained[1])
    )
    sizes = np.linalg.svd(after - before, compute_uv=False)
    assert sizes[0] > 1e-3
    assert sizes[1] < 1e-4 * sizes[0]  # the sum is stored in single precision


def test_trained_potential_turns_with_the_structure(trained, ingredients_of_network, predicted):
    """Energy stays, forces turn, stress turns twice: in a skewed cell, float64."""
    potential = trees.cast(trained[1], jnp.float64)
    system = ingredients_of_network.dataset.frames[0].system
    system = system._replace(cell=system.cell + 0.3 * np.tri(3, k=-1))
    turn = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    turned = system._replace(positions=system.positions @ turn.T, cell=system.cell @ turn.T)
    first, second = (
        predicted(potential, build([s], (18,), potential.cutoff, dtype=np.float64))
        for s in (system, turned)
    )
    assert float(jnp.abs(first.forces).max()) > 1e-5
    np.testing.assert_allclose(second.energy, first.energy, rtol=1e-12)
    np.testing.assert_allclose(second.forces, first.forces @ turn.T, atol=1e-12)
    np.testing.assert_allclose(second.stress, turn @ first.stress @ turn.T, atol=1e-12)


def test_unknown_names_and_plain_numbers_are_refused(ingredients):
    with pytest.raises(CompatibilityError, match=r"strategy lora, adapted.*epsilon, sigma"):
        start(ingredients)
    with pytest.raises(CompatibilityError, match="adapts matrices, but sigma"):
        start(ingredients, adapted=["sigma"])


def test_ranks_beyond_what_helps_train_everything_whole(ingredients_of_network):
    recipe = start(ingredients_of_network, rank=50)
    assert recipe.trainable["low"] == {}
    assert recipe.trainable["full"]["layer_0"]["linear_0e"].shape == (3, 3)


def test_layers_are_found_in_the_factors(ingredients_of_network):
    """The same layer-wise rates as for the weights that the factors update."""
    training = ingredients_of_network.training.model_copy(update={"layer_decay": 0.5, "clip": None})
    recipe = start(ingredients_of_network._replace(training=training))
    ones = jax.tree.map(jnp.ones_like, recipe.trainable)
    memory = recipe.optimizer.init(recipe.trainable)
    updates, _ = recipe.optimizer.update(ones, memory, recipe.trainable, rate=1.0)
    lengths = {name: -float(leaf.ravel()[0]) for name, leaf in trees.names(updates).items()}
    assert lengths["low/layer_1/linear_0e/down"] == pytest.approx(0.5, rel=1e-4)
    assert lengths["low/layer_0/interaction/radial/layer_1/up"] == pytest.approx(0.25, rel=1e-4)
    assert lengths["full/layer_0/readout_0"] == pytest.approx(1.0, rel=1e-4)


def test_defaults_fit_every_kind_of_mace(ingredients_of_network):
    """Biases of other readouts are no matrices, and are left alone."""
    config = MaceConfig(
        r_max=4.0, num_bessel=2, max_ell=1, correlation=1, hidden_irreps="2x0e", radial_mlp=(2,),
        interaction="RealAgnosticResidualNonLinear", readout="NonLinearBias",
    )  # fmt: skip
    model = MaceModel((18,), config)
    shapes = jax.eval_shape(lambda: model.init(key=jax.random.key(0)))
    chosen = matching(trees.names(shapes["weights"]), lora.Config().adapted, "adapted")
    assert all(len(trees.names(shapes["weights"])[name].shape) >= 2 for name in chosen)
    assert {"layer_1/readout_0", "layer_0/interaction/radial/layer_0"} <= set(chosen)
    matching(trees.names(shapes["weights"]), freeze.Config().frozen, "frozen")
