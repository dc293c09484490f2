"""Fine-tuning on a leash: leaving the foundation's weights w* costs.

    penalty = strength / 2 * sum over weights i of  F_i (w_i - w*_i)²

With equal importance, F = 1, this is L2-SP (Li, Grandvalet and Davoine, ICML 2018,
arXiv:1802.01483). With ``fisher`` it is elastic weight consolidation (Kirkpatrick et al., PNAS 114,
3521 (2017), doi:10.1073/pnas.1611835114): weights that the foundation's loss on labelled generic
structures depends on are held more firmly, others are free; F has a mean of one, so strengths of
both mean about the same.

Strength 0 is naive fine-tuning to the bit, ever larger ones end at the foundation: where loss and
penalty balance, w - w* falls as 1 / strength. Adam's steps do not grow with the gradient, though.
However large the penalty, weights hover within less than a learning rate of the foundation until
the rate itself falls (measured: 0.2 of it after 80 steps).

The bundled generalist on 12 bundled frames, 8 epochs at a rate of 1e-3, one seed; force MAE on
frames of the material and on held-out generic structures, meV/Å:

    ==================  ========  =======
    strategy            material  generic
    ==================  ========  =======
    foundation               147       84
    finetune                 123      122
    equal, 0.1               127      109
    fisher, 0.1              123      106
    ==================  ========  =======
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import pydantic
from jax.tree_util import Partial

from mlffjax.arrays import Array, Float, PRNGKey, PyTree
from mlffjax.training.fisher import fisher
from mlffjax.training.generic_data import labelled
from mlffjax.training.ingredients import Ingredients, referenced_foundation
from mlffjax.training.recipe import Recipe, all_weights, standard
from mlffjax.training.reference_energies import Foundational
from mlffjax.training.strategies._section import Section


class Config(Section):
    """Choices of ``anchor``."""

    kind: Literal["anchor"] = "anchor"
    importance: Literal["equal", "fisher"] = "equal"
    strength: float = pydantic.Field(
        default=0.1, ge=0, description="of the penalty; try powers of ten"
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
    """Like ``finetune``, with the penalty in every step.

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
    importance = jax.tree.map(lambda leaf: jnp.ones((), leaf.dtype), weights)
    if config.importance == "fisher":
        data = labelled(ingredients, config.kind, config.generic_reference_energies)
        importance = fisher(data.potential, data.learn, training)
        notes += (
            f"importance of weights: gradients of the foundation's loss on {len(data.learn)} "
            "generic structures",
        )
    recipe = standard(weights, realize, training, learning_rate=config.learning_rate, notes=notes)
    return recipe._replace(
        penalty=Partial(leash, jnp.asarray(config.strength), weights, importance)
    )


def leash(
    strength: Float[Array, ""], origin: PyTree, importance: PyTree, trainable: PyTree
) -> Float[Array, ""]:
    """The penalty; ``importance`` holds a number for every weight or for every leaf."""

    def term(weight: Array, start: Array, factor: Array) -> Float[Array, ""]:
        away = weight - start.astype(weight.dtype)
        return (factor.astype(weight.dtype) * away**2).sum()

    terms = jax.tree.leaves(jax.tree.map(term, trainable, origin, importance))
    total: Array = functools.reduce(jnp.add, terms)
    return strength.astype(total.dtype) / 2 * total
