import jax
import numpy as np
import pytest
from jax.tree_util import Partial

from mlffjax.errors import CompatibilityError
from mlffjax.potential.base import Potential
from mlffjax.training.config import TrainingConfig
from mlffjax.training.optimizers import IDLE
from mlffjax.training.recipe import all_weights, no_penalty, standard, unchanged


def test_realize_gives_back_the_potential(guess):
    weights, realize = all_weights(guess)
    made = realize(weights)
    assert jax.tree.structure(made) == jax.tree.structure(guess)
    for new, old in zip(jax.tree.leaves(made), jax.tree.leaves(guess), strict=True):
        np.testing.assert_array_equal(new, old)


def test_constants_are_not_trainable(guess):
    weights, realize = all_weights(guess)
    assert weights is guess.params["weights"]
    assert [
        leaf is guess.params["constants"]["atomic_energies"] for leaf in jax.tree.leaves(realize)
    ]


def test_arrays_of_a_recipe_are_arguments_of_compiled_functions(guess):
    """Leaves, not constants: potentials that differ in numbers only share a compilation."""
    recipe = standard(*all_weights(guess), TrainingConfig())
    other = standard(*all_weights(jax.tree.map(lambda leaf: 2 * leaf, guess)), TrainingConfig())
    assert jax.tree.structure((recipe.loss, recipe.penalty)) == jax.tree.structure(
        (other.loss, other.penalty)
    )
    assert hash(recipe.optimizer) == hash(other.optimizer)


def test_potential_without_weights_is_refused(guess):
    with pytest.raises(CompatibilityError, match="no weights to train"):
        all_weights(Potential(params={"constants": {}}, model=guess.model))


def test_defaults_add_nothing(guess):
    recipe = standard(*all_weights(guess), TrainingConfig(learning_rate=0.5), learning_rate=0.1)
    assert recipe.learning_rate == 0.1
    assert isinstance(recipe.penalty, Partial)
    assert float(recipe.penalty(recipe.trainable)) == float(no_penalty({})) == 0
    assert recipe.mix("samples") == unchanged("samples") == "samples"


def test_decays_that_would_act_on_nothing_are_refused(guess):
    """Both weights of Lennard-Jones are single numbers, and in no layer."""
    weights, realize = all_weights(guess)
    decayed = TrainingConfig(optimizer="adamw", weight_decay=0.1)
    with pytest.raises(
        CompatibilityError, match="weight_decay acts on matrices, and none of the 2"
    ):
        standard(weights, realize, decayed)
    with pytest.raises(CompatibilityError, match="layer_decay needs weights"):
        standard(weights, realize, TrainingConfig(layer_decay=0.5))


def test_nothing_to_train_takes_any_choice(guess):
    """So that a study may set them for all of its runs."""
    for training in (
        TrainingConfig(optimizer="adamw", weight_decay=0.1, layer_decay=0.5),
        TrainingConfig(optimizer="schedule_free_adamw", ema=None),
    ):
        recipe = standard({}, Partial(lambda potential, tree: potential, guess), training)
        assert recipe.optimizer.init({}) == IDLE.init({})
