import jax
import numpy as np
import pytest

from mlffjax.errors import CompatibilityError
from mlffjax.training.fit import fit
from mlffjax.training.history import Status
from mlffjax.training.strategies import zero_shot


def run(ingredients, **choices):
    recipe = zero_shot.build(zero_shot.Config(**choices), ingredients, key=jax.random.key(0))
    frames = ingredients.dataset.frames
    return recipe, fit(recipe, frames[:3], frames[3:], ingredients.training, seed=0)


def test_nothing_is_trained(ingredients):
    recipe, fitted = run(ingredients)
    foundation, _ = ingredients.foundation
    assert jax.tree.leaves(recipe.trainable) == []
    assert fitted.status is Status.NOT_TRAINED
    for name, leaf in foundation.params["weights"].items():
        np.testing.assert_array_equal(fitted.potential.params["weights"][name], leaf)


def test_energies_compare_with_the_labels_of_another_method(ingredients, zero):
    _, fitted = run(ingredients)
    assert zero(fitted.potential) == pytest.approx(-7.0, abs=0.02)
    assert fitted.best.validation.energy_mae < 0.02


def test_kept_reference_energies_leave_the_foundation_alone(ingredients, same_reference):
    with pytest.raises(CompatibilityError, match="cannot be compared"):
        run(ingredients, reference_energies="keep")
    recipe, _ = run(same_reference, reference_energies="keep")
    assert recipe.realize(recipe.trainable) is ingredients.foundation[0]


def test_foundation_is_needed(ingredients):
    with pytest.raises(CompatibilityError, match="zero_shot starts from a foundation"):
        run(ingredients._replace(foundation=None))
