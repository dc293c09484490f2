"""Update rule, learning-rate schedule and weight average."""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from mlffjax.arrays import Array, Int, PyTree
from mlffjax.training.config import ScheduleConfig, TrainingConfig


def optimizer(config: TrainingConfig) -> optax.GradientTransformation:
    """Clipping by global norm, then Adam or AMSGrad, at a learning rate of one.

    The loop multiplies updates by the learning rate, so that the rate can change without
    compiling again. Equal choices give the same object, so that runs share compiled steps.

    References:
        Adam: arXiv:1412.6980. AMSGrad: Reddi, Kale and Kumar, ICLR 2018, arXiv:1904.09237.
    """
    return _optimizer(config.optimizer, config.clip)


@functools.cache
def _optimizer(kind: str, clip: float | None) -> optax.GradientTransformation:
    rule = {"adam": optax.adam, "amsgrad": optax.amsgrad}[kind](1.0)
    return rule if clip is None else optax.chain(optax.clip_by_global_norm(clip), rule)


def rate_factor(
    schedule: ScheduleConfig, epoch: int, epochs: int, errors: Sequence[float]
) -> float:
    """What the initial learning rate is multiplied by in an epoch.

    Args:
        schedule: kind and numbers.
        epoch: the epoch to come, counted from 1.
        epochs: the largest number of epochs.
        errors: validation errors so far, the initial one first.
    """
    if schedule.kind == "cosine":
        done = (epoch - 1) / max(epochs - 1, 1)
        return schedule.floor + (1 - schedule.floor) * (1 + math.cos(math.pi * done)) / 2
    if schedule.kind == "plateau":
        best, waited, factor = math.inf, 0, 1.0
        for error in errors:
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

    average <- d average + (1 - d) weights with d = min(decay, (1 + step) / (10 + step)), so that
    early averages do not remember the initial weights. ``decay`` 0 gives the weights themselves.
    """
    start = (1 + step) / (10 + step)

    def mix(old: Array, new: Array) -> Array:
        d = jnp.minimum(decay, start).astype(new.dtype)
        return d * old + (1 - d) * new

    return jax.tree.map(mix, average, weights)
