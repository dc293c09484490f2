"""What a strategy hands to the training loop; the loop sees nothing else of it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from mlffjax.arrays import Array, Float, PyTree
from mlffjax.errors import CompatibilityError
from mlffjax.potential.base import Potential
from mlffjax.training.batches import Sample
from mlffjax.training.config import TrainingConfig
from mlffjax.training.leash import Leash
from mlffjax.training.losses import Loss, Realize, adjustable
from mlffjax.training.optimizers import IDLE, Optimizer, decays, optimizer
from mlffjax.training.parts import layer_factors, with_others


def no_penalty(trainable: PyTree) -> Float[Array, ""]:
    """The penalty of strategies without one."""
    del trainable
    return jnp.zeros(())


def unchanged(members: Sequence[Sample]) -> Sequence[Sample]:
    """The mix of strategies that learn from the given samples alone."""
    return members


def nothing_to_add(trainable: PyTree) -> Sequence[str]:
    """The remarks of strategies that learn from the given samples alone."""
    del trainable
    return ()


class Recipe(NamedTuple):
    """Everything that distinguishes one way of training from another.

    ``realize``, ``loss`` and ``penalty`` run inside the compiled step. Write them as
    ``jax.tree_util.Partial(function, *arrays)`` of a module-level function: the arrays then travel
    as arguments instead of being compiled in, and all runs of a study share one compilation.

    Attributes:
        trainable: what the optimizer moves; an empty tree if nothing is trained.
        realize: differentiable map from ``trainable`` to a potential. It merges frozen parts, adds
            low-rank updates, picks a head: all strategies end in the same kind of tree.
        optimizer: its ``update`` takes the learning rate of the step, see ``optimizers``.
        learning_rate: initial rate.
        loss: (trainable, batch) -> number.
        penalty: trainable -> number, added to the loss of every step.
        leash: what holds ``trainable`` near where it came from, apart from the loss (L2-SP, EWC).
        mix: samples of the run -> samples trained on; adds replay, changes weights or heads.
        notes: sentences about choices a reader of the results must know.
        remarks: trainable -> more such sentences; called once, with what is kept in the end.
    """

    trainable: PyTree
    realize: Realize
    optimizer: Optimizer
    learning_rate: float
    loss: Loss
    penalty: Callable[[PyTree], Float[Array, ""]] = Partial(no_penalty)
    leash: Leash | None = None
    mix: Callable[[Sequence[Sample]], Sequence[Sample]] = unchanged
    notes: tuple[str, ...] = ()
    remarks: Callable[[PyTree], Sequence[str]] = nothing_to_add


def standard(
    trainable: PyTree,
    realize: Realize,
    training: TrainingConfig,
    *,
    learning_rate: float | None = None,
    notes: Sequence[str] = (),
) -> Recipe:
    """A recipe with the configured optimizer, learning rate and loss; replace what differs.

    Raises:
        CompatibilityError: ``layer_decay`` or ``weight_decay`` is asked for, but the names of the
            weights do not tell their layers, or there is no matrix to decay.
    """
    return Recipe(
        trainable=trainable,
        realize=realize,
        optimizer=_optimizer(trainable, realize, training),
        learning_rate=training.learning_rate if learning_rate is None else learning_rate,
        loss=adjustable(training.loss, realize),
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
    return params["weights"], Partial(with_others, frozen)


def _optimizer(trainable: PyTree, realize: Realize, training: TrainingConfig) -> Optimizer:
    leaves = jax.tree.leaves(trainable)
    if not leaves:
        return IDLE
    if training.weight_decay and not any(jax.tree.leaves(decays(trainable))):
        raise CompatibilityError(
            f"weight_decay acts on matrices, and none of the {len(leaves)} trained weights is one; "
            "choose optimizer adam"
        )
    if training.layer_decay is None:
        return optimizer(training)
    return optimizer(training, layer_factors(trainable, realize, training.layer_decay))
