import jax
import numpy as np
import pytest

from mlffjax.errors import CompatibilityError
from mlffjax.training.strategies import finetune


def start(ingredients, **choices):
    recipe = finetune.build(finetune.Config(**choices), ingredients, key=jax.random.key(0))
    return recipe, recipe.realize(recipe.trainable)


def test_training_starts_from_the_foundation(ingredients):
    recipe, potential = start(ingredients)
    foundation, _ = ingredients.foundation
    assert recipe.trainable is foundation.params["weights"]
    for name, leaf in foundation.params["weights"].items():
        np.testing.assert_array_equal(potential.params["weights"][name], leaf)


def test_reference_energies_follow_the_labels(ingredients, zero):
    """The guess is off by some meV per atom; the rest of the -7 eV is found."""
    _, potential = start(ingredients)
    assert zero(potential) == pytest.approx(-7.0, abs=0.02)
    _, potential = start(ingredients, reference_energies="isolated")
    assert zero(potential) == -7.0


def test_other_references_are_not_kept(ingredients, same_reference, zero):
    with pytest.raises(CompatibilityError, match="cannot be compared"):
        start(ingredients, reference_energies="keep")
    _, potential = start(same_reference, reference_energies="keep")
    assert zero(potential) == -100.0


def test_own_learning_rate_wins(ingredients):
    assert start(ingredients)[0].learning_rate == 1e-4
    assert start(ingredients, learning_rate=1e-2)[0].learning_rate == 1e-2


def test_foundation_is_needed(ingredients):
    with pytest.raises(CompatibilityError, match="finetune starts from a foundation"):
        start(ingredients._replace(foundation=None))
