"""Fine-tuning that is held to the foundation on generic structures, which it labels itself.

No labels are needed, only geometries; those that come with the package are used by default. Labels
are the foundation's energies, forces and stresses in the precision of training, so an unchanged
foundation has no loss on them. Moved copies of the structures tell more about its energy surface.

A form of distillation: Li and Hoiem, Learning without Forgetting, arXiv:1606.09282.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pydantic

from mlffjax.arrays import PRNGKey
from mlffjax.structures.generic import halves
from mlffjax.structures.system import Frame
from mlffjax.training.generic_data import labelled_by, require_generic, with_generic
from mlffjax.training.ingredients import (
    Ingredients,
    referenced_foundation,
    require_foundation,
)
from mlffjax.training.recipe import Recipe, all_weights, standard
from mlffjax.training.strategies._mixing import Mixing


class Config(Mixing):
    """Choices of ``pseudolabel``."""

    generic = "structures"
    kind: Literal["pseudolabel"] = "pseudolabel"
    copies: int = pydantic.Field(
        default=0, ge=0, description="moved and strained copies of each generic structure"
    )
    rattle: float = pydantic.Field(
        default=0.05, ge=0, description="standard deviation of a moved coordinate, Å"
    )
    strain: float = pydantic.Field(
        default=0.02, ge=0, lt=0.3, description="standard deviation of a component of the strain"
    )

    @pydantic.model_validator(mode="after")
    def _copies_differ(self) -> "Config":
        if self.copies and not (self.rattle or self.strain):
            raise ValueError("copies without rattle and strain are the same structure again")
        return self


def example() -> Config:
    """With one moved copy of each structure."""
    return Config(copies=1)


def build(config: Config, ingredients: Ingredients, *, key: PRNGKey) -> Recipe:
    """Like ``finetune``, with generic structures labelled by the foundation in every epoch.

    Raises:
        CompatibilityError: foundation or generic structures are missing, they hold an element it
            does not know, or reference methods would be mixed.
    """
    del key  # equal structures for all seeds
    potential, notes = referenced_foundation(ingredients, config.kind, config.reference_energies)
    weights, realize = all_weights(potential)
    training = ingredients.training
    recipe = standard(weights, realize, training, learning_rate=config.learning_rate, notes=notes)
    generic = require_generic(ingredients, config.kind)
    if config.ratio == 0 or config.weight == 0:
        return recipe
    parts = halves(generic.frames)
    learn, held = ([generic.frames[i] for i in part] for part in parts)
    foundation, _ = require_foundation(ingredients, config.kind)
    data = labelled_by(foundation, [*learn, *moved(learn, config)], held, training)
    notes = (
        f"{len(data.learn)} structures labelled by the foundation could be learned from "
        f"({config.copies} moved copies of each generic structure), {len(held)} were held out",
    )
    return with_generic(
        recipe, data._replace(notes=notes), training, ratio=config.ratio, weight=config.weight
    )


def moved(frames: Sequence[Frame], config: Config) -> list[Frame]:
    """Unlabelled copies, each with a random symmetric strain and random displacements of its own.

    Equal frames give equal copies.
    """
    copies = []
    for index, frame in enumerate(frames):
        system = frame.system
        for copy in range(config.copies):
            random = np.random.default_rng([index, copy])
            strain = random.normal(scale=config.strain, size=(3, 3))
            deformation = np.eye(3) + (strain + strain.T) / 2
            noise = random.normal(scale=config.rattle, size=system.positions.shape)
            changed = system._replace(
                positions=system.positions @ deformation + noise, cell=system.cell @ deformation
            )
            copies.append(frame._replace(system=changed, energy=None, forces=None, stress=None))
    return copies
