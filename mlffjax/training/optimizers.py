"""Update rule, learning-rate schedule and weight average."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mlffjax.arrays import Array, Int, PyTree
from mlffjax.training.config import ScheduleConfig, TrainingConfig
from mlffjax.training.leash import Leash, held

Optimizer = optax.GradientTransformationExtraArgs
"""``update(gradient, state, weights, rate=..., leash=...)`` gives what is added to the weights.

``leash`` is a ``leash.Leash`` or left out."""
IDLE: Optimizer = optax.with_extra_args_support(optax.identity())
"""For no weights at all."""
MEMORY = 0.999
"""Decay of the average of squared gradients."""
EPS = 1e-8
"""Added to its square root."""


def optimizer(config: TrainingConfig, factors: tuple[float, ...] | None = None) -> Optimizer:
    """Clipping by global norm, then the configured rule.

    The learning rate is an argument of ``update``, so that it can change without compiling again.
    Equal choices give the same object, so that runs share compiled steps.

    ``adamw`` decays weights apart from the gradient: w <- w - rate (Adam's update + decay w).
    ``schedule_free_adamw`` takes gradients between the last iterate and the average of all
    iterates (``evaluated``), which is what the rate of a schedule would otherwise have to bring
    about.

    Args:
        config: the protocol.
        factors: of the learning rate, one for each leaf of what is trained, in the order of
            ``jax.tree.leaves``; all one if absent.

    References:
        Adam: arXiv:1412.6980. AMSGrad: Reddi, Kale and Kumar, ICLR 2018, arXiv:1904.09237.
        AdamW: Loshchilov and Hutter, ICLR 2019, arXiv:1711.05101. Schedule-free: Defazio et al.,
        NeurIPS 2024, arXiv:2405.15682.
    """
    return _optimizer(config.optimizer, config.clip, config.weight_decay, factors)


def decays(weights: PyTree) -> PyTree:
    """Whether ``weight_decay`` acts on each leaf: on matrices, not on biases and single numbers."""
    return jax.tree.map(lambda leaf: jnp.ndim(leaf) >= 2, weights)


def evaluated(weights: PyTree, memory: optax.OptState) -> PyTree:
    """The weights to evaluate: the average of a schedule-free optimizer, otherwise those given.

    Args:
        weights: at which gradients are taken.
        memory: state of the optimizer.
    """
    nodes = jax.tree.leaves(memory, is_leaf=_is_schedule_free)
    held = [node for node in nodes if _is_schedule_free(node)]
    return optax.contrib.schedule_free_eval_params(held[0], weights) if held else weights


def rate_factor(
    schedule: ScheduleConfig, epoch: int, epochs: int, errors: Sequence[float]
) -> float:
    """What the initial learning rate is multiplied by in an epoch.

    After a warm-up the kinds behave as if training began there.

    Args:
        schedule: kind and numbers.
        epoch: the epoch to come, counted from 1.
        epochs: the largest number of epochs.
        errors: validation errors so far, the initial one first.
    """
    warmup = schedule.warmup
    if epoch <= warmup:
        return epoch / (warmup + 1)
    if schedule.kind == "cosine":
        done = (epoch - warmup - 1) / max(epochs - warmup - 1, 1)
        return schedule.floor + (1 - schedule.floor) * (1 + math.cos(math.pi * done)) / 2
    if schedule.kind == "plateau":
        best, waited, factor = math.inf, 0, 1.0
        for error in errors[warmup:]:
            waited = 0 if error < best else waited + 1
            best = min(best, error)
            if waited == schedule.patience:
                factor, waited = factor * schedule.factor, 0
        return max(factor, schedule.floor)
    return 1.0


def averaged(
    average: PyTree, weights: PyTree, step: Int[Array, ""], decay: float | Array
) -> PyTree:
    """Exponential moving average after step number ``step`` (counted from 1).

    average <- weights + d (average - weights) with d = min(decay, (1 + step) / (10 + step)), so
    that early averages do not remember the initial weights. ``decay`` 0 gives the weights
    themselves, and the average of weights that stay is these weights, to the bit.
    """
    start = (1 + step) / (10 + step)

    def mix(old: Array, new: Array) -> Array:
        d = jnp.minimum(decay, start).astype(new.dtype)
        return new + d * (old - new)

    return jax.tree.map(mix, average, weights)


@functools.cache
def _optimizer(
    kind: str, clip: float | None, decay: float, factors: tuple[float, ...] | None
) -> Optimizer:
    """Optimizers that differ in the value of ``clip`` alone have one ``update``: it is data."""
    shared = _rules(kind, clip is not None, decay, factors)
    if clip is None:
        return shared

    def init(params: PyTree) -> optax.OptState:
        state: Any = shared.init(params)
        return (jnp.full_like(state[0], clip), *state[1:])

    return shared._replace(init=init)


@functools.cache
def _rules(kind: str, clipped: bool, decay: float, factors: tuple[float, ...] | None) -> Optimizer:
    first = [_clip_by_own_norm()] if clipped else []
    rule = {
        "adam": lambda: optax.adam(1.0, b2=MEMORY, eps=EPS),
        "amsgrad": lambda: optax.amsgrad(1.0, b2=MEMORY, eps=EPS),
        "adamw": lambda: optax.adamw(1.0, b2=MEMORY, eps=EPS, weight_decay=decay, mask=decays),
        # Adam without its first moment, for which the average of the iterates stands in.
        "schedule_free_adamw": lambda: optax.chain(
            optax.scale_by_rms(MEMORY, EPS, eps_in_sqrt=False, bias_correction=True),
            optax.add_decayed_weights(decay, mask=decays),
            optax.scale(-1.0),
        ),
    }[kind]()
    moving = _on_leash(optax.chain(rule, _by_leaf(factors), _times_rate()), factors)
    return optax.chain(*first, _schedule_free(moving) if "schedule_free" in kind else moving)


def _on_leash(rule: Any, factors: tuple[float, ...] | None) -> Optimizer:
    """A rule with a second moment, and the proximal step after it if there is a leash."""

    def update(
        updates: PyTree,
        state: optax.OptState,
        params: PyTree | None = None,
        *,
        rate: float | Array,
        leash: Leash | None = None,
    ) -> tuple[PyTree, optax.OptState]:
        moves, state = rule.update(updates, state, params, rate=rate)
        if leash is not None:
            sizes, _ = scaled.update(_inverse_roots(state), scaled.init(params), rate=rate)
            moves = held(moves, params, sizes, leash)
        return moves, state

    scaled: Any = optax.chain(_by_leaf(factors), _times_rate())
    return Optimizer(rule.init, update)  # pyright: ignore[reportArgumentType]


def _inverse_roots(memory: optax.OptState) -> PyTree:
    """What a rule multiplies gradients by, apart from the rate, after a step."""
    nodes = jax.tree.leaves(memory, is_leaf=_has_second_moment)
    (node,) = (node for node in nodes if _has_second_moment(node))
    if hasattr(node, "nu_max"):  # of AMSGrad, corrected already
        second = node.nu_max
    else:
        second = optax.tree.bias_correction(node.nu, MEMORY, node.count)
    return jax.tree.map(lambda leaf: 1 / (jnp.sqrt(leaf) + EPS), second)


def _has_second_moment(node: Any) -> bool:
    return hasattr(node, "nu")


def _schedule_free(base: Optimizer) -> Optimizer:
    """optax's rule, made anew in every step with the rate of that step."""

    def init(params: PyTree) -> optax.OptState:
        return optax.contrib.schedule_free(base, 1.0).init(params)

    def update(
        updates: PyTree,
        state: Any,
        params: PyTree | None = None,
        *,
        rate: float | Array,
        leash: Leash | None = None,
    ) -> tuple[PyTree, optax.OptState]:
        rate = jnp.asarray(rate, state.max_lr.dtype)  # the weights decide the precision
        rule: Any = optax.contrib.schedule_free(base, rate)
        return rule.update(updates, state, params, rate=rate, leash=leash)

    return Optimizer(init, update)  # pyright: ignore[reportArgumentType]


def _clip_by_own_norm() -> optax.GradientTransformation:
    """``optax.clip_by_global_norm`` with the largest norm in its state."""

    def init(params: PyTree) -> optax.OptState:
        return jnp.ones((), jnp.result_type(float, *jax.tree.leaves(params)))

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None
    ) -> tuple[PyTree, optax.OptState]:
        del params
        limit = state
        norm = jnp.sqrt(sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(updates)))

        def clip(leaf: Array) -> Array:
            return jnp.where(norm < limit, leaf, leaf / norm.astype(leaf.dtype) * limit)

        return jax.tree.map(clip, updates), limit

    return optax.GradientTransformation(init, update)


def _by_leaf(factors: tuple[float, ...] | None) -> optax.GradientTransformation:
    if factors is None:
        return optax.identity()

    def scale(updates: PyTree, params: PyTree | None = None) -> PyTree:
        del params
        leaves, structure = jax.tree.flatten(updates)
        return structure.unflatten([f * leaf for f, leaf in zip(factors, leaves, strict=True)])

    return optax.stateless(scale)


def _times_rate() -> Optimizer:
    def update(
        updates: PyTree,
        state: optax.OptState,
        params: PyTree | None = None,
        *,
        rate: float | Array,
    ) -> tuple[PyTree, optax.OptState]:
        del params
        return jax.tree.map(lambda leaf: jnp.asarray(rate, leaf.dtype) * leaf, updates), state

    return Optimizer(lambda params: optax.EmptyState(), update)  # pyright: ignore[reportArgumentType]


def _is_schedule_free(node: Any) -> bool:
    return isinstance(node, optax.contrib.ScheduleFreeState)
