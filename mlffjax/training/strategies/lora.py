"""Low-rank adaptation: small factors are trained and added to frozen matrices of the foundation.

Adapted are, by default, the linear maps of a MACE between channels of one irrep, its residual
connections and its radial networks. Matrices so small that factors would save nothing, such as
readouts, are trained whole. Everything else (element embedding, weights of the product bases) stays
the foundation's. A note of the run lists which weights are which. The updates are added up before
anything else sees the potential, so it is an ordinary one.
"""

from typing import Literal

import pydantic

from mlffjax import trees
from mlffjax.arrays import PRNGKey
from mlffjax.errors import CompatibilityError
from mlffjax.training.ingredients import Ingredients, referenced_foundation
from mlffjax.training.low_rank import Adapted, adapt
from mlffjax.training.parts import matching, weight_names
from mlffjax.training.recipe import Recipe, standard
from mlffjax.training.reference_energies import Foundational
from mlffjax.training.strategies._section import Section


class Config(Section):
    """Choices of ``lora``."""

    needs_network = True
    kind: Literal["lora"] = "lora"
    rank: int = pydantic.Field(default=8, ge=1, description="of every update")
    alpha: float = pydantic.Field(
        default=8.0, gt=0, description="updates are multiplied by alpha / rank"
    )
    adapted: tuple[str, ...] = pydantic.Field(
        default=("*/linear_*", "*/skip_*", "*/radial/layer_*", "*/readout_[0-9]*"),
        min_length=1,
        description="names of weights to adapt, with wildcards; the defaults are for kind: mace",
    )
    reference_energies: Foundational = "reestimated"
    learning_rate: float | None = pydantic.Field(
        default=None, gt=0, description="initial rate; None: that of the training section"
    )


def example() -> Config:
    """A rank that saves something in small networks too."""
    return Config(rank=1, alpha=1.0)


def build(config: Config, ingredients: Ingredients, *, key: PRNGKey) -> Recipe:
    """Draw the input factors with ``key``; the output factors are zero.

    Raises:
        CompatibilityError: no foundation, a pattern that names no weight or one that is not a
            matrix, reference methods would be mixed, or isolated atoms are missing.
    """
    potential, notes = referenced_foundation(ingredients, config.kind, config.reference_energies)
    named = weight_names(potential, config.kind)
    chosen = matching(named, config.adapted, "strategy lora, adapted")
    if flat := [name for name in chosen if named[name].ndim < 2]:
        raise CompatibilityError(
            f"strategy lora adapts matrices, but {', '.join(flat)} have less than two axes; name "
            "matrices only under 'adapted'"
        )
    made = adapt(potential, chosen, rank=config.rank, alpha=config.alpha, key=key)
    return standard(
        made.trainable,
        made.realize,
        ingredients.training,
        learning_rate=config.learning_rate,
        notes=(*notes, *_described(made, config)),
    )


def _described(made: Adapted, config: Config) -> tuple[str, ...]:
    """Which weights have which part."""
    size = trees.size(made.trainable)
    parts = {
        f"updated by matrices of rank {config.rank}": made.low,
        "trained whole": made.full,
        "frozen": made.frozen,
    }
    listed = "; ".join(f"{what}: {', '.join(names) or 'none'}" for what, names in parts.items())
    return (f"{size} numbers are trained; {listed}",)
