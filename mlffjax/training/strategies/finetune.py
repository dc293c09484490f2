"""Naive fine-tuning: the foundation's weights, all of them, trained on the given frames."""

from typing import Literal

import pydantic

from mlffjax.arrays import PRNGKey
from mlffjax.training.ingredients import Ingredients, referenced_foundation
from mlffjax.training.recipe import Recipe, all_weights, standard
from mlffjax.training.reference_energies import Foundational
from mlffjax.training.strategies._section import Section


class Config(Section):
    """Choices of ``finetune``."""

    kind: Literal["finetune"] = "finetune"
    reference_energies: Foundational = "reestimated"
    learning_rate: float | None = pydantic.Field(
        default=None, gt=0, description="initial rate; None: that of the training section"
    )


def example() -> Config:
    """The paper's protocol: same rate as from scratch."""
    return Config()


def build(config: Config, ingredients: Ingredients, *, key: PRNGKey) -> Recipe:
    """Start from the foundation; scale and shift stay, reference energies follow the labels.

    Raises:
        CompatibilityError: no foundation, one without weights, reference methods would be mixed,
            or isolated atoms are missing.
    """
    del key  # nothing is drawn
    potential, notes = referenced_foundation(ingredients, config.kind, config.reference_energies)
    weights, realize = all_weights(potential)
    return standard(
        weights, realize, ingredients.training, learning_rate=config.learning_rate, notes=notes
    )
