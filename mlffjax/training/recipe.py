"""What a strategy hands to the training loop; the loop sees nothing else of it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import optax
from jax.tree_util import Partial

from mlffjax.arrays import Array, Float, PyTree
from mlffjax.errors import CompatibilityError
from mlffjax.potential.base import Potential
from mlffjax.training.batches import Sample
from mlffjax.training.config import TrainingConfig
from mlffjax.training.losses import Loss, Realize, supervised
from mlffjax.training.optimizers import optimizer


def no_penalty(trainable: PyTree) -> Float[Array, ""]:
    """The penalty of strategies without one."""
    del trainable
    return jnp.zeros(())


def unchanged(members: Sequence[Sample]) -> Sequence[Sample]:
    """The mix of strategies that learn from the given samples alone."""
    return members


class Recipe(NamedTuple):
    """Everything that distinguishes one way of training from another.

    ``realize``, ``loss`` and ``penalty`` run inside the compiled step. Write them as
    ``jax.tree_util.Partial(function, *arrays)`` of a module-level function: the arrays then travel
    as arguments instead of being compiled in, and all runs of a study share one compilation.

    Attributes:
        trainable: what the optimizer moves; an empty tree if nothing is trained.
        realize: differentiable map from ``trainable`` to a potential. It merges frozen parts, adds
            low-rank updates, picks a head: all strategies end in the same kind of tree.
        optimizer: at learning rate one; the loop multiplies its updates by the rate.
        learning_rate: initial rate.
        loss: (trainable, batch) -> number.
        penalty: trainable -> number, added to the loss of every step (L2-SP, EWC).
        mix: samples of the run -> samples trained on; adds replay, changes weights or heads.
        notes: sentences about choices a reader of the results must know.
    """

    trainable: PyTree
    realize: Realize
    optimizer: optax.GradientTransformation
    learning_rate: float
    loss: Loss
    penalty: Callable[[PyTree], Float[Array, ""]] = Partial(no_penalty)
    mix: Callable[[Sequence[Sample]], Sequence[Sample]] = unchanged
    notes: tuple[str, ...] = ()


def standard(
    trainable: PyTree,
    realize: Realize,
    training: TrainingConfig,
    *,
    learning_rate: float | None = None,
    notes: Sequence[str] = (),
) -> Recipe:
    """A recipe with the configured optimizer, learning rate and loss; replace what differs."""
    return Recipe(
        trainable=trainable,
        realize=realize,
        optimizer=optimizer(training),
        learning_rate=training.learning_rate if learning_rate is None else learning_rate,
        loss=Partial(supervised(training.loss), realize),  # pyright: ignore[reportArgumentType]
        notes=tuple(notes),
    )


def all_weights(potential: Potential) -> tuple[PyTree, Realize]:
    """Every weight of a potential as ``trainable``, and its ``realize``; constants stay.

    Raises:
        CompatibilityError: the potential has no weights.
    """
    params = potential.params
    if not isinstance(params, dict) or "weights" not in params:
        raise CompatibilityError(
            f"a {type(potential.model).__name__} has no weights to train; it can be used as it is "
            "(strategy zero_shot)"
        )
    frozen = dataclasses.replace(
        potential, params={k: v for k, v in params.items() if k != "weights"}
    )
    return params["weights"], Partial(_with_weights, frozen)


def _with_weights(frozen: Potential, weights: PyTree) -> Potential:
    return dataclasses.replace(frozen, params={**frozen.params, "weights": weights})
