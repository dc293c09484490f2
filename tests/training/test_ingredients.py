import numpy as np
import pytest

from mlffjax.errors import CompatibilityError
from mlffjax.potential.card import Card
from mlffjax.structures.datasets import Dataset
from mlffjax.training.config import TrainingConfig
from mlffjax.training.ingredients import (
    Ingredients,
    referenced_foundation,
    require_architecture,
)


@pytest.fixture
def ingredients(frames, guess):
    card = Card(name="x", elements=("Ar",), model={}, reference="there", functional="PBE")
    dataset = Dataset(frames, {18: -4.0}, "here", "0" * 16)
    return Ingredients(dataset, TrainingConfig(), foundation=(guess, card))


def test_foundation_gets_the_reference_energies_of_the_data(ingredients, guess):
    potential, notes = referenced_foundation(ingredients, "finetune", "isolated")
    assert notes == ()
    assert potential.params["constants"]["atomic_energies"].tolist() == [-4.0]
    for name, weight in guess.params["weights"].items():
        np.testing.assert_array_equal(potential.params["weights"][name], weight)


def test_references_are_checked(ingredients):
    with pytest.raises(CompatibilityError, match=r"'there'.*'here'"):
        referenced_foundation(ingredients, "finetune", "keep")


def test_what_is_missing_is_named(ingredients):
    with pytest.raises(CompatibilityError, match="lora starts from a foundation"):
        referenced_foundation(ingredients._replace(foundation=None), "lora", "isolated")
    with pytest.raises(CompatibilityError, match="scratch needs an architecture"):
        require_architecture(ingredients, "scratch")
