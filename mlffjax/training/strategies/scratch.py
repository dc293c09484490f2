"""Random weights, trained on the given frames alone."""

from typing import Literal

from mlffjax.arrays import PRNGKey
from mlffjax.potential.base import Potential
from mlffjax.training.ingredients import Ingredients, require_architecture
from mlffjax.training.recipe import Recipe, all_weights, standard
from mlffjax.training.reference_energies import (
    FromNothing,
    average_neighbors,
    estimate,
    scale_and_shift,
    with_constants,
)
from mlffjax.training.strategies._section import Section


class Config(Section):
    """Choices of ``scratch``."""

    starts_from = "model"
    kind: Literal["scratch"] = "scratch"
    reference_energies: FromNothing = "isolated"


def example() -> Config:
    """Needs no isolated atoms."""
    return Config(reference_energies="least_squares")


def build(config: Config, ingredients: Ingredients, *, key: PRNGKey) -> Recipe:
    """Draw weights with ``key``; take reference energies, scale, shift and density from the data.

    Raises:
        CompatibilityError: no architecture, or isolated atoms are missing.
    """
    model = require_architecture(ingredients, config.kind)
    frames, isolated = ingredients.dataset.frames, ingredients.dataset.isolated
    potential = Potential(params=model.init(key=key), model=model)
    references = estimate(config.reference_energies, frames, potential, isolated=isolated)
    potential = with_constants(potential, {"atomic_energies": references.energies})
    scale, shift = scale_and_shift(frames, potential)
    potential = with_constants(
        potential,
        {
            "scale": scale,
            "shift": shift,
            "average_neighbors": average_neighbors(frames, model.cutoff),
        },
    )
    weights, realize = all_weights(potential)
    return standard(weights, realize, ingredients.training, notes=references.notes)
