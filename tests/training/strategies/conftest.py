"""Ingredients for strategies: argon labelled by one method, a foundation trained with another."""

import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax.potential.card import Card
from mlffjax.structures.datasets import Dataset
from mlffjax.training.config import TrainingConfig
from mlffjax.training.ingredients import Ingredients
from mlffjax.training.reference_energies import with_constants


@pytest.fixture(scope="session")
def dataset(frames):
    """Labels with -7 eV per atom on top of the interaction."""
    raised = tuple(f._replace(energy=f.energy - 7.0 * len(f.system.numbers)) for f in frames)
    return Dataset(frames=raised, isolated={18: -7.0}, reference="code A, PBE", digest="0" * 16)


@pytest.fixture(scope="session")
def foundation(guess):
    """A wrong potential with the reference energies of another code."""
    card = Card(
        name="argon",
        elements=("Ar",),
        model={"kind": "pair"},
        reference="code B, PBE",
        functional="PBE",
    )
    return with_constants(guess, {"atomic_energies": np.array([-100.0])}), card


@pytest.fixture(scope="session")
def ingredients(dataset, foundation):
    return Ingredients(
        dataset=dataset,
        training=TrainingConfig(epochs=2, learning_rate=1e-4),
        architecture=foundation[0].model,
        foundation=foundation,
    )


@pytest.fixture
def same_reference(ingredients):
    """A foundation whose card names the reference of the data."""
    potential, card = ingredients.foundation
    return ingredients._replace(
        foundation=(potential, card.model_copy(update={"reference": "Code A,  PBE"}))
    )


@pytest.fixture
def zero():
    """The only reference energy of a potential of one element, eV."""
    return lambda potential: float(jnp.squeeze(potential.params["constants"]["atomic_energies"]))
