"""Choices shared by strategies that learn from generic structures beside the material's."""

import pydantic

from mlffjax.training.reference_energies import Foundational
from mlffjax.training.strategies._section import Section


class Mixing(Section):
    """Base of their ``Config``; the material's own reference energies as in ``finetune``."""

    reference_energies: Foundational = "reestimated"
    learning_rate: float | None = pydantic.Field(
        default=None, gt=0, description="initial rate; None: that of the training section"
    )
    ratio: float = pydantic.Field(
        default=1.0, ge=0, description="generic structures per structure of the material, an epoch"
    )
    weight: float = pydantic.Field(
        default=1.0, ge=0, description="of a generic structure in the loss; the material's have 1"
    )
