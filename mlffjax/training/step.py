"""One optimizer step, pure and uncompiled, so that one body serves every way of executing it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from jax.tree_util import Partial

from mlffjax.arrays import Array, Float, Int, PyTree
from mlffjax.training import spread
from mlffjax.training.batches import Batch
from mlffjax.training.leash import Leash
from mlffjax.training.losses import Loss
from mlffjax.training.optimizers import Optimizer, averaged, evaluated


class State(NamedTuple):
    """What the next step needs."""

    trainable: PyTree
    average: PyTree  # exponential moving average of ``trainable``
    optimizer: optax.OptState
    step: Int[Array, ""]  # steps done since the start
    loss: Float[Array, ""]  # sum over the steps of this epoch


def step(
    state: State,
    batch: Batch,
    *,
    loss: Loss,
    penalty: Callable[[PyTree], Float[Array, ""]],
    rate: float | Array,
    decay: float | Array,
    optimizer: Optimizer,
    leash: Leash | None = None,
) -> State:
    """One optimizer step.

    Args:
        state: from the step before.
        batch: structures to learn from.
        loss: of a recipe, see ``as_pytree``; data, so that equal shapes compile once.
        penalty: of a recipe, added to the loss.
        rate: learning rate, handed to the optimizer.
        decay: of the average, see ``optimizers.averaged``.
        optimizer: static.
        leash: of a recipe, handed to the optimizer.
    """

    def objective(trainable: PyTree) -> Float[Array, ""]:
        value = loss(trainable, batch)
        return value + spread.share(penalty(trainable)).astype(value.dtype)

    value, gradient = spread.total(jax.value_and_grad(objective)(state.trainable))
    updates, memory = optimizer.update(
        gradient, state.optimizer, state.trainable, rate=rate, leash=leash
    )
    trainable = optax.apply_updates(state.trainable, updates)
    number = state.step + 1
    average = averaged(state.average, evaluated(trainable, memory), number, decay)
    return State(trainable, average, memory, number, state.loss + value)


def as_pytree(function: Callable[..., Any]) -> Partial:
    """A function that can be an argument of a compiled one."""
    return function if isinstance(function, Partial) else Partial(function)
