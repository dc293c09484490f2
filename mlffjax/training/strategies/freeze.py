"""Fine-tuning of a part of the weights; the others stay exactly the foundation's.

By default the messages stay (element embedding and interactions: radial networks, linear maps,
residual connections), and what is made of them is trained: product bases with the linear maps
after them, and readouts. Freezing lower parts of MACE foundations has been found to need a
fraction of the data (frozen transfer learning, arXiv:2502.15582).
"""

from typing import Literal

import pydantic

from mlffjax import trees
from mlffjax.arrays import PRNGKey
from mlffjax.errors import CompatibilityError
from mlffjax.training.ingredients import Ingredients, referenced_foundation
from mlffjax.training.parts import matching, trained_part, weight_names
from mlffjax.training.recipe import Recipe, standard
from mlffjax.training.reference_energies import Foundational
from mlffjax.training.strategies._section import Section


class Config(Section):
    """Choices of ``freeze``."""

    needs_network = True
    kind: Literal["freeze"] = "freeze"
    frozen: tuple[str, ...] = pydantic.Field(
        default=("embedding", "layer_*/interaction/*"),
        min_length=1,
        description="names of weights that stay, with wildcards, such as 'layer_0/*'; the defaults "
        "are for kind: mace",
    )
    reference_energies: Foundational = "reestimated"
    learning_rate: float | None = pydantic.Field(
        default=None, gt=0, description="initial rate; None: that of the training section"
    )


def example() -> Config:
    """Messages stay; needs the names of a MACE."""
    return Config()


def build(config: Config, ingredients: Ingredients, *, key: PRNGKey) -> Recipe:
    """Train what no pattern names.

    Raises:
        CompatibilityError: no foundation, a pattern that names no weight, nothing left to train,
            reference methods would be mixed, or isolated atoms are missing.
    """
    del key  # nothing is drawn
    potential, notes = referenced_foundation(ingredients, config.kind, config.reference_energies)
    named = weight_names(potential, config.kind)
    frozen = matching(named, config.frozen, "strategy freeze, frozen")
    if len(frozen) == len(named):
        raise CompatibilityError(
            f"strategy freeze, frozen: {', '.join(config.frozen)} name all {len(named)} weights; "
            "leave some to train, or use the strategy zero_shot"
        )
    trained = [name for name in named if name not in frozen]
    trainable, realize = trained_part(potential, trained)
    note = (
        f"{trees.size(trainable)} of {sum(leaf.size for leaf in named.values())} weights are "
        f"trained: {', '.join(trained)}"
    )
    return standard(
        trainable,
        realize,
        ingredients.training,
        learning_rate=config.learning_rate,
        notes=(*notes, note),
    )
