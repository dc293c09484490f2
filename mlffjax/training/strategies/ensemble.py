"""Members of a committee: another strategy, on frames that every seed draws for itself.

The seeds of a run of any strategy make a committee. But runs that start from one foundation and
see the same frames differ in the sequence of the frames only, and then agree with each other far
better than with the truth. Here each seed draws its frames: with replacement as many as there are
(bootstrap; Efron, Ann. Statist. 7, 1 (1979), doi:10.1214/aos/1176344552), or a part of them. All
members take equally many steps, have the same validation frames and the same reference energies,
which come from all frames of the run, and end in the same tree::

    - {name: Committee, seeds: [0, 1, 2, 3], strategy: {kind: ensemble, member: {kind: finetune}}}
"""

import functools
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import jax
import numpy as np
import pydantic

from mlffjax import config as configuration
from mlffjax import registry
from mlffjax.arrays import PRNGKey
from mlffjax.training.batches import Sample
from mlffjax.training.ingredients import Ingredients
from mlffjax.training.recipe import Recipe
from mlffjax.training.strategies._section import Section

PACKAGE = "training.strategies"


class Config(Section):
    """Choices of ``ensemble``; what it starts from and needs is what its members do."""

    kind: Literal["ensemble"] = "ensemble"
    member: Annotated[Section, configuration.by_kind(PACKAGE)]
    resample: Literal["bootstrap", "subsample"] = "bootstrap"
    fraction: float = pydantic.Field(
        default=0.8, gt=0, lt=1, description="subsample: part of the frames that a member sees"
    )

    @pydantic.model_validator(mode="after")
    def _members_can_differ(self) -> "Config":
        if isinstance(self.member, Config) or not self.member.trains:
            raise ValueError(
                "expected a strategy that trains, for members that differ, got "
                f"{configuration.kind_of(self.member)}"
            )
        return self

    @property
    def starts_from(self) -> Literal["model", "foundation"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As its members."""
        return self.member.starts_from

    @property
    def generic(self) -> Literal["labels", "structures"] | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As its members."""
        return self.member.generic

    @property
    def reference_energies(self) -> Any:
        """As its members."""
        return getattr(self.member, "reference_energies", None)

    def path_names(self) -> tuple[str, ...]:
        """As its members."""
        return self.member.path_names()


def example() -> Config:
    """Naive fine-tuning on frames drawn with replacement."""
    return configuration.validate({"member": {"kind": "finetune"}}, Config, where="example")


def build(config: Config, ingredients: Ingredients, *, key: PRNGKey) -> Recipe:
    """The recipe of a member; ``key`` draws its frames, beside what the member itself draws.

    Raises:
        CompatibilityError: what the strategy of the members raises.
    """
    strategy = registry.resolve(PACKAGE, configuration.kind_of(config.member))
    own, draw = jax.random.split(key)
    recipe: Recipe = strategy.build(config.member, ingredients, key=own)
    seed = tuple(int(word) for word in np.asarray(jax.random.key_data(draw)).ravel())
    fraction = config.fraction if config.resample == "subsample" else None
    frames = len(ingredients.dataset.frames)
    note = (
        f"member of a committee: trained on {frames} draws, with replacement, from {frames} frames"
        if fraction is None
        else f"member of a committee: trained on a part of {fraction:g} of the frames"
    )
    return recipe._replace(
        mix=functools.partial(_resampled, seed=seed, fraction=fraction, mix=recipe.mix),
        notes=(*recipe.notes, note),
    )


def _resampled(
    members: Sequence[Sample],
    *,
    seed: tuple[int, ...],
    fraction: float | None,
    mix: Callable[[Sequence[Sample]], Sequence[Sample]],
) -> Sequence[Sample]:
    """Drawn samples in their old sequence, and what the strategy of the members adds to them."""
    count, random = len(members), np.random.default_rng(seed)
    if fraction is None:
        drawn = random.integers(count, size=count)
    else:
        drawn = random.permutation(count)[: max(1, round(fraction * count))]
    return mix([members[index] for index in np.sort(drawn)])
