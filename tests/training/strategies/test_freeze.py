import jax
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.errors import CompatibilityError
from mlffjax.training.fit import fit
from mlffjax.training.strategies import freeze


def start(ingredients, **choices):
    return freeze.build(freeze.Config(**choices), ingredients, key=jax.random.key(0))


def test_frozen_weights_keep_every_bit_and_the_others_move(network, ingredients_of_network):
    """Weight decay and the average of weights included."""
    ingredients = ingredients_of_network
    training = ingredients.training.model_copy(
        update={"optimizer": "adamw", "weight_decay": 0.1, "keep": "last"}
    )
    recipe = start(ingredients._replace(training=training))
    frames = ingredients.dataset.frames
    fitted = fit(recipe, frames[:3], frames[3:5], training, seed=0)
    before, after = (trees.names(p.params["weights"]) for p in (network, fitted.potential))
    assert before.keys() == after.keys()
    for name, leaf in before.items():
        frozen = name == "embedding" or "/interaction/" in name
        assert (np.asarray(leaf).tobytes() == np.asarray(after[name]).tobytes()) is frozen, name


def test_only_the_named_weights_are_left_out(ingredients):
    recipe = start(ingredients, frozen=["sig*"])
    assert list(recipe.trainable) == ["epsilon"]
    assert any("1 of 2 weights are trained: epsilon" in note for note in recipe.notes)


def test_unknown_names_are_refused_with_those_there_are(ingredients):
    with pytest.raises(CompatibilityError, match=r"'layer_0/\*'; there are epsilon, sigma"):
        start(ingredients, frozen=["sigma", "layer_0/*"])
    # The defaults are names of a MACE.
    with pytest.raises(CompatibilityError, match=r"strategy freeze, frozen.*'embedding'"):
        start(ingredients)


def test_something_must_be_left_to_train(ingredients):
    with pytest.raises(CompatibilityError, match="all 2 weights"):
        start(ingredients, frozen=["*"])


def test_reference_energies_follow_the_labels_or_are_given(ingredients, zero):
    def potential(**choices):
        recipe = start(ingredients, frozen=["sigma"], **choices)
        return recipe.realize(recipe.trainable)

    assert zero(potential()) == pytest.approx(-7.0, abs=0.02)
    assert zero(potential(reference_energies={"Ar": -6.5})) == -6.5
