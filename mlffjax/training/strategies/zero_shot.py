"""The foundation as it is, with reference energies that fit the labels."""

from typing import Literal

from jax.tree_util import Partial

from mlffjax.arrays import PRNGKey, PyTree
from mlffjax.potential.base import Potential
from mlffjax.training.ingredients import Ingredients, referenced_foundation
from mlffjax.training.recipe import Recipe, standard
from mlffjax.training.reference_energies import Foundational
from mlffjax.training.strategies._section import Section


class Config(Section):
    """Choices of ``zero_shot``."""

    trains = False
    kind: Literal["zero_shot"] = "zero_shot"
    reference_energies: Foundational = "reestimated"


def example() -> Config:
    """Forces, stresses and differences at fixed composition are the foundation's."""
    return Config()


def build(config: Config, ingredients: Ingredients, *, key: PRNGKey) -> Recipe:
    """Nothing is trainable; forces and interaction energies are the foundation's.

    Raises:
        CompatibilityError: no foundation, reference methods would be mixed, or isolated atoms are
            missing.
    """
    del key  # nothing is drawn
    potential, notes = referenced_foundation(ingredients, config.kind, config.reference_energies)
    return standard({}, Partial(_as_it_is, potential), ingredients.training, notes=notes)


def _as_it_is(potential: Potential, trainable: PyTree) -> Potential:
    del trainable  # empty
    return potential
