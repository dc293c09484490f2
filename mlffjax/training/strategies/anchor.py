"""Fine-tuning on a leash: leaving the foundation's weights w* costs.

    loss + strength / 2 * sum over weights i of  F_i (w_i - w*_i)²

With equal importance, F = 1, this is L2-SP (Li, Grandvalet and Davoine, ICML 2018,
arXiv:1802.01483). With ``fisher`` it is elastic weight consolidation (Kirkpatrick et al., PNAS 114,
3521 (2017), doi:10.1073/pnas.1611835114): weights that the foundation's loss on labelled generic
structures depends on are held more firmly, others are free; F has a mean of one, so strengths of
both mean about the same.

The second term is minimised exactly in every step, after the move of the optimizer (proximal step,
see ``leash``). So training ends where the gradients of both terms cancel, strength 0 is naive
fine-tuning to the bit, and for ever larger strengths the weights that have a part in it (F > 0)
stay those of the foundation: from some strength on, to the bit. The loss in the history of a run is
the first term alone.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import pydantic

from mlffjax.arrays import PRNGKey
from mlffjax.training.fisher import fisher
from mlffjax.training.generic_data import labelled
from mlffjax.training.ingredients import Ingredients, referenced_foundation
from mlffjax.training.leash import Leash
from mlffjax.training.recipe import Recipe, all_weights, standard
from mlffjax.training.reference_energies import Foundational
from mlffjax.training.strategies._section import Section


class Config(Section):
    """Choices of ``anchor``."""

    kind: Literal["anchor"] = "anchor"
    importance: Literal["equal", "fisher"] = "equal"
    strength: float = pydantic.Field(
        default=0.1, ge=0, le=1e30, description="of the leash; try powers of ten"
    )
    reference_energies: Foundational = "reestimated"
    generic_reference_energies: Literal["keep", "isolated", "reestimated"] = pydantic.Field(
        default="reestimated", description="fisher: for the labels of the generic structures"
    )
    learning_rate: float | None = pydantic.Field(
        default=None, gt=0, description="initial rate; None: that of the training section"
    )

    @property
    def generic(self) -> Literal["labels"] | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Importances are measured on labelled generic structures."""
        return "labels" if self.importance == "fisher" else None


def example() -> Config:
    """Needs no structures of other materials."""
    return Config()


def build(config: Config, ingredients: Ingredients, *, key: PRNGKey) -> Recipe:
    """Like ``finetune``, with a proximal step after every step.

    Raises:
        CompatibilityError: no foundation, one without weights, no generic structures for
            ``fisher`` or one without labels, reference methods would be mixed, or isolated atoms
            are missing.
        TrainingError: the gradients on the generic structures are all zero or not finite.
    """
    del key  # nothing is drawn
    potential, notes = referenced_foundation(ingredients, config.kind, config.reference_energies)
    weights, realize = all_weights(potential)
    training = ingredients.training
    recipe = standard(weights, realize, training, learning_rate=config.learning_rate, notes=notes)
    if config.strength == 0:
        return recipe
    if config.importance == "equal":
        importance = jax.tree.map(lambda leaf: jnp.ones((), leaf.dtype), weights)
    else:
        data = labelled(ingredients, config.kind, config.generic_reference_energies)
        importance = fisher(data.potential, data.learn, training)
        note = (
            f"importance of weights: gradients of the foundation's loss on {len(data.learn)} "
            "generic structures"
        )
        recipe = recipe._replace(notes=(*recipe.notes, note))
    stiffness = jax.tree.map(lambda leaf: config.strength * leaf, importance)
    return recipe._replace(leash=Leash(weights, stiffness))
