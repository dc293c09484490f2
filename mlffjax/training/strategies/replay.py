"""Fine-tuning on mixed batches: the material's frames and generic ones with labels of their own.

Generic structures of the half that may be learned from (``structures.generic``) are shuffled once,
in the same way for all seeds, and the first of them join every epoch: ``ratio`` for each frame of
the material, several times if there are too few. Their labels may come from another reference
method, whose reference energies (E0) are taken off; differences between the methods beyond that
are learned as if they were physics, which ``multihead`` avoids.
"""

from typing import Literal

from mlffjax.arrays import PRNGKey
from mlffjax.training.generic_data import labelled, with_generic
from mlffjax.training.ingredients import Ingredients, referenced_foundation
from mlffjax.training.recipe import Recipe, all_weights, standard
from mlffjax.training.reference_energies import Foundational
from mlffjax.training.strategies._mixing import Mixing


class Config(Mixing):
    """Choices of ``replay``."""

    generic = "labels"
    kind: Literal["replay"] = "replay"
    generic_reference_energies: Foundational = "reestimated"


def example() -> Config:
    """One generic structure for each of the material."""
    return Config()


def build(config: Config, ingredients: Ingredients, *, key: PRNGKey) -> Recipe:
    """Like ``finetune``, with generic structures in every epoch; none with weight or ratio 0.

    Raises:
        CompatibilityError: foundation, generic structures or their labels are missing, or reference
            methods would be mixed.
    """
    del key  # nothing is drawn
    potential, notes = referenced_foundation(ingredients, config.kind, config.reference_energies)
    data = labelled(ingredients, config.kind, config.generic_reference_energies)
    weights, realize = all_weights(potential)
    training = ingredients.training
    recipe = standard(weights, realize, training, learning_rate=config.learning_rate, notes=notes)
    return with_generic(recipe, data, training, ratio=config.ratio, weight=config.weight)
