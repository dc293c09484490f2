"""What a run offers to every strategy."""

from collections.abc import Mapping
from typing import NamedTuple

from mlffjax.errors import CompatibilityError
from mlffjax.potential.base import EnergyModel, Potential
from mlffjax.potential.card import Card
from mlffjax.structures.datasets import Dataset
from mlffjax.structures.paths import Path
from mlffjax.training.config import TrainingConfig
from mlffjax.training.reference_energies import (
    Mode,
    check_references,
    estimate,
    with_constants,
)


class Ingredients(NamedTuple):
    """Data and models a strategy builds its recipe from; each takes what it needs.

    Attributes:
        dataset: the training frames of the run with isolated atoms and reference method.
        training: protocol of the run.
        architecture: what is trained from nothing, if that is wanted.
        foundation: a trained potential with its card, if there is one.
        generic: structures of other materials, all of them; ``structures.generic.halves`` says
            which may be learned from.
        paths: by name, those that the strategy asks for.
    """

    dataset: Dataset
    training: TrainingConfig
    architecture: EnergyModel | None = None
    foundation: tuple[Potential, Card] | None = None
    generic: Dataset | None = None
    paths: Mapping[str, Path] = {}


def require_architecture(ingredients: Ingredients, kind: str) -> EnergyModel:
    """The architecture.

    Raises:
        CompatibilityError: there is none.
    """
    if ingredients.architecture is None:
        raise CompatibilityError(f"strategy {kind} needs an architecture to train, got none")
    return ingredients.architecture


def require_foundation(ingredients: Ingredients, kind: str) -> tuple[Potential, Card]:
    """The foundation and its card.

    Raises:
        CompatibilityError: there is none.
    """
    if ingredients.foundation is None:
        raise CompatibilityError(
            f"strategy {kind} starts from a foundation, got none; name one, for example "
            "'bundled:generalist'"
        )
    return ingredients.foundation


def referenced_foundation(
    ingredients: Ingredients, kind: str, mode: Mode
) -> tuple[Potential, tuple[str, ...]]:
    """The foundation with reference energies for the data, and notes about them.

    Raises:
        CompatibilityError: there is no foundation, its reference method differs from that of the
            data but its E0s are to be kept, or isolated atoms are missing.
    """
    potential, card = require_foundation(ingredients, kind)
    dataset, training = ingredients.dataset, ingredients.training
    check_references(card, dataset, mode)
    if mode == "keep":
        return potential, ()
    references = estimate(
        mode,
        dataset.frames,
        potential,
        isolated=dataset.isolated,
        batch=training.batch,
        buckets=training.buckets,
    )
    return with_constants(potential, {"atomic_energies": references.energies}), references.notes
