"""The one training loop: every strategy goes through it."""

import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial

from mlffjax import trees
from mlffjax.arrays import Array, Float, Int, PyTree
from mlffjax.errors import TrainingError
from mlffjax.graphs.batching import Shape
from mlffjax.potential.base import Potential
from mlffjax.structures.system import Frame
from mlffjax.training import metrics
from mlffjax.training.batches import (
    Batch,
    Bucket,
    Sample,
    collect,
    gather,
    plan,
    samples,
    shuffled,
)
from mlffjax.training.config import TrainingConfig
from mlffjax.training.history import Epoch, Fitted, Progress, Status, explain
from mlffjax.training.losses import Loss
from mlffjax.training.optimizers import averaged, rate_factor
from mlffjax.training.recipe import Recipe

HOPELESS = 100.0
"""A validation force MAE so many times the initial one and the mean force counts as divergence."""
PEEK = 25
"""Steps between two looks at the device; the steps in between are queued without waiting."""


class State(NamedTuple):
    """What the next step needs."""

    trainable: PyTree
    average: PyTree  # exponential moving average of ``trainable``
    optimizer: optax.OptState
    step: Int[Array, ""]  # steps done since the start
    loss: Float[Array, ""]  # sum over the steps of this epoch


class _Run(NamedTuple):
    """What stays as it is from the first epoch to the last."""

    recipe: Recipe
    config: TrainingConfig
    train: tuple[Bucket, ...]
    validation: tuple[Bucket, ...]
    labels: Sequence[Sample]  # of validation
    seed: int
    observe: Callable[[Progress], None]
    start: float  # of the monotonic clock, s


class _Course(NamedTuple):
    """What an epoch changes."""

    state: State
    history: tuple[Epoch, ...]
    best: Epoch
    best_average: PyTree


def fit(
    recipe: Recipe,
    train: Sequence[Frame],
    validation: Sequence[Frame],
    config: TrainingConfig,
    *,
    seed: int,
    observe: Callable[[Progress], None] = lambda progress: None,
    shapes: Sequence[Shape] | None = None,
) -> Fitted:
    """Train a recipe and keep the parameters with the lowest validation force MAE.

    After every epoch the averaged weights are scored on the validation frames. The run ends after
    ``config.epochs``, after ``config.patience`` epochs without improvement, when
    ``config.max_seconds`` have passed, or when it diverges (a loss or error that is not finite, or
    a force MAE ``HOPELESS`` times the initial one and the mean force). The status tells, and the
    best potential met, possibly the initial one, is returned in any case, unless ``config.keep``
    asks for the last one. On CPUs, equal seeds give equal bits unless ``max_seconds`` ends the run.

    Args:
        recipe: what a strategy has built.
        train: frames to learn from; each needs forces, energies and stresses may lack.
        validation: frames that decide when to stop and what to keep.
        config: the protocol.
        seed: decides the sequence and the company of the frames in every epoch.
        observe: called every ``PEEK`` steps and after every epoch.
        shapes: array shapes that hold all frames (``batches.plan``); planned from the given frames
            by default. Runs with equal shapes and models share compiled steps.

    Raises:
        TrainingError: there are no frames to train or validate on, a frame has no forces, or
            double precision is asked for but switched off in JAX.
        CompatibilityError: a frame holds an element the potential does not know.
        CapacityError: a frame does not fit into ``shapes``.
    """
    start = time.monotonic()
    _check(train, validation, config)
    run = _prepare(recipe, train, validation, config, shapes)
    run = run._replace(seed=seed, observe=observe, start=start)
    course = _begin(run)
    status = _reason_to_stop(run, course)
    while status is None:
        course = _epoch(run, course)
        _report(run, course, _steps(run))
        status = _reason_to_stop(run, course)
    if config.keep == "last" and status is not Status.DIVERGED:
        course = course._replace(best=course.history[-1], best_average=course.state.average)
    return Fitted(
        potential=_best_potential(recipe, course),
        history=course.history,
        status=status,
        best=course.best,
        explanation=explain(status, course.history[-1], course.best, config),
        notes=recipe.notes,
    )


def _check(train: Sequence[Frame], validation: Sequence[Frame], config: TrainingConfig) -> None:
    if not train or not validation:
        raise TrainingError(
            f"expected frames to train on and frames to validate on, got {len(train)} and "
            f"{len(validation)}; change the split or add data"
        )
    if config.precision == "float64" and not jax.config.read("jax_enable_x64"):
        raise TrainingError(
            "expected JAX with 64-bit numbers for precision float64, but they are switched off; "
            "set JAX_ENABLE_X64=1 or train in float32"
        )


def _prepare(
    recipe: Recipe,
    train: Sequence[Frame],
    validation: Sequence[Frame],
    config: TrainingConfig,
    shapes: Sequence[Shape] | None,
) -> _Run:
    """Build neighbour lists and put all data on the device, once."""
    potential = recipe.realize(recipe.trainable)
    learned = recipe.mix(samples(train, potential))
    labels = samples(validation, potential)
    if shapes is None:
        systems = [sample.system for sample in (*learned, *labels)]
        shapes = plan(systems, potential.cutoff, most=config.buckets)
    place = functools.partial(
        collect,
        elements=potential.elements,
        cutoff=potential.cutoff,
        shapes=shapes,
        dtype=config.precision,
    )
    return _Run(recipe, config, place(learned), place(labels), labels, 0, lambda _: None, 0.0)


def _begin(run: _Run) -> _Course:
    """The course before the first epoch, with the initial potential scored."""
    trainable = trees.cast(run.recipe.trainable, run.config.precision)
    state = State(
        trainable=trainable,
        average=trainable,
        optimizer=run.recipe.optimizer.init(trainable),
        step=jnp.zeros((), jnp.int32),
        loss=jnp.zeros((), run.config.precision),
    )
    initial = Epoch(0, None, _validate(run, trainable), None, _seconds(run))
    return _Course(state, (initial,), initial, trainable)


def _epoch(run: _Run, course: _Course) -> _Course:
    """One pass over the data and the score after it."""
    config, number = run.config, len(course.history)
    errors = [epoch.validation.forces_mae for epoch in course.history]
    factor = rate_factor(config.schedule, number, config.epochs, errors)
    rate = run.recipe.learning_rate * factor
    state, loss = _pass(run, course, rate)
    scores = _validate(run, state.average)
    epoch = Epoch(number, loss, scores, rate, _seconds(run))
    return _keep_best(course._replace(state=state, history=(*course.history, epoch)))


def _pass(run: _Run, course: _Course, rate: float) -> tuple[State, float]:
    """Steps over all training data, cut short if time is up or the loss lost; their mean loss."""
    recipe, config, number = run.recipe, run.config, len(course.history)
    draws = shuffled(run.train, config.batch, seed=run.seed, epoch=number)
    state = course.state._replace(loss=jnp.zeros((), config.precision))
    done = 0
    for done, draw in enumerate(draws, start=1):
        state = _advance(
            state,
            gather(run.train[draw.bucket].rows, draw.rows),
            loss=_as_pytree(recipe.loss),
            penalty=_as_pytree(recipe.penalty),
            rate=rate,
            decay=config.ema or 0.0,
            optimizer=recipe.optimizer,
        )
        if done % PEEK == 0 and done < len(draws):
            _report(run, course, done)
            if not math.isfinite(float(state.loss)) or _out_of_time(run):
                break
    return state, float(state.loss) / done


def _keep_best(course: _Course) -> _Course:
    last = course.history[-1]
    if last.validation.forces_mae < course.best.validation.forces_mae:
        return course._replace(best=last, best_average=course.state.average)
    return course


def _reason_to_stop(run: _Run, course: _Course) -> Status | None:
    first, last = course.history[0], course.history[-1]
    error, loss = last.validation.forces_mae, last.train_loss or 0.0
    typical = np.concatenate([np.abs(sample.forces).ravel() for sample in run.labels]).mean()
    hopeless = HOPELESS * max(first.validation.forces_mae, float(typical))
    if not math.isfinite(error + loss) or error > hopeless > 0:
        return Status.DIVERGED
    if not jax.tree.leaves(run.recipe.trainable):
        return Status.NOT_TRAINED
    if last.number - course.best.number >= run.config.patience:
        return Status.EARLY_STOPPED
    if last.number >= run.config.epochs:
        return Status.MAX_EPOCHS
    return Status.OUT_OF_TIME if _out_of_time(run) else None


def _validate(run: _Run, trainable: PyTree) -> metrics.Scores:
    potential = trees.cast(run.recipe.realize(trainable), run.config.precision)
    predictions = metrics.predict(potential, run.validation, batch=run.config.batch)
    return metrics.score(predictions, run.labels)


def _best_potential(recipe: Recipe, course: _Course) -> Potential:
    """The best potential, with leaves of the types the recipe started from."""
    if course.best.number == 0:
        return recipe.realize(recipe.trainable)  # exactly as given
    return recipe.realize(
        jax.tree.map(lambda new, old: new.astype(old.dtype), course.best_average, recipe.trainable)
    )


def _report(run: _Run, course: _Course, step: int) -> None:
    """Tell the observer; the running epoch is the last one if its steps are all done."""
    latest, steps = course.history[-1], _steps(run)
    epoch = latest.number if step == steps else latest.number + 1
    run.observe(Progress(epoch, run.config.epochs, step, steps, latest, course.best, _seconds(run)))


def _steps(run: _Run) -> int:
    return sum(-(-len(bucket.index) // run.config.batch) for bucket in run.train)


def _seconds(run: _Run) -> float:
    return time.monotonic() - run.start


def _out_of_time(run: _Run) -> bool:
    limit = run.config.max_seconds
    return limit is not None and _seconds(run) >= limit


@functools.partial(jax.jit, static_argnames="optimizer")
def _advance(
    state: State,
    batch: Batch,
    *,
    loss: Loss,
    penalty: Callable[[PyTree], Float[Array, ""]],
    rate: float,
    decay: float,
    optimizer: optax.GradientTransformation,
) -> State:
    """One optimizer step. Everything but the optimizer is data, so equal shapes compile once."""

    def objective(trainable: PyTree) -> Float[Array, ""]:
        value = loss(trainable, batch)
        return value + penalty(trainable).astype(value.dtype)

    value, gradient = jax.value_and_grad(objective)(state.trainable)
    updates, memory = optimizer.update(gradient, state.optimizer, state.trainable)
    updates = jax.tree.map(lambda update: rate * update, updates)
    trainable = optax.apply_updates(state.trainable, updates)
    step = state.step + 1
    average = averaged(state.average, trainable, step, decay)
    return State(trainable, average, memory, step, state.loss + value)


def _as_pytree(function: Callable[..., Any]) -> Partial:
    """A function that can be an argument of a compiled one."""
    return function if isinstance(function, Partial) else Partial(function)
