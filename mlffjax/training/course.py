"""The decisions of a run: its rate, what is kept, when and why it ends.

They are pure functions of settings and scores, on the host, so that runs trained alone, together
or on many devices are judged alike.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from mlffjax.arrays import PyTree
from mlffjax.training.batches import Sample
from mlffjax.training.config import TrainingConfig
from mlffjax.training.history import Epoch, Fitted, Status, explain
from mlffjax.training.metrics import Scores
from mlffjax.training.optimizers import rate_factor
from mlffjax.training.recipe import Recipe

HOPELESS = 100.0
"""A validation force MAE so many times the initial one and the mean force counts as divergence."""


class Course(NamedTuple):
    """What an epoch changes besides the state of the optimizer."""

    history: tuple[Epoch, ...]  # the first is the potential before training
    best: Epoch
    best_average: PyTree  # averaged weights after the best epoch


def begin(trainable: PyTree, scores: Scores, seconds: float) -> Course:
    """The course before the first epoch.

    Args:
        trainable: initial weights in the precision of training.
        scores: of the initial potential on the validation frames.
        seconds: since the start.
    """
    initial = Epoch(0, None, scores, None, seconds)
    return Course((initial,), initial, trainable)


def rate(course: Course, recipe: Recipe, config: TrainingConfig) -> float:
    """The learning rate of the epoch to come."""
    errors = [epoch.validation.forces_mae for epoch in course.history]
    factor = rate_factor(config.schedule, len(course.history), config.epochs, errors)
    return recipe.learning_rate * factor


def extended(course: Course, epoch: Epoch, average: PyTree) -> Course:
    """The course after one more epoch; it becomes the best one by a lower force MAE."""
    course = course._replace(history=(*course.history, epoch))
    if epoch.validation.forces_mae < course.best.validation.forces_mae:
        return course._replace(best=epoch, best_average=average)
    return course


def typical_force(labels: Sequence[Sample]) -> float:
    """Mean size of the force components of the validation frames, eV/Å."""
    return float(np.concatenate([np.abs(sample.forces).ravel() for sample in labels]).mean())


def reason_to_stop(
    course: Course, recipe: Recipe, config: TrainingConfig, *, typical: float, out_of_time: bool
) -> Status | None:
    """Why no further epoch is to follow, or None.

    Args:
        course: up to now.
        recipe: of the run.
        config: of the run.
        typical: ``typical_force`` of the validation frames, eV/Å.
        out_of_time: whether ``config.max_seconds`` have passed.
    """
    first, last = course.history[0], course.history[-1]
    error, loss = last.validation.forces_mae, last.train_loss or 0.0
    hopeless = HOPELESS * max(first.validation.forces_mae, typical)
    if not math.isfinite(error + loss) or error > hopeless > 0:
        return Status.DIVERGED
    if not jax.tree.leaves(recipe.trainable):
        return Status.NOT_TRAINED
    if last.number - course.best.number >= config.patience:
        return Status.EARLY_STOPPED
    if last.number >= config.epochs:
        return Status.MAX_EPOCHS
    return Status.OUT_OF_TIME if out_of_time else None


def outcome(
    course: Course, recipe: Recipe, config: TrainingConfig, *, status: Status, average: PyTree
) -> Fitted:
    """What a run leaves behind.

    Args:
        course: of the whole run.
        recipe: of the run.
        config: of the run.
        status: why it ended.
        average: averaged weights at the end, which ``config.keep`` may ask for.
    """
    if config.keep == "last" and status is not Status.DIVERGED:
        course = course._replace(best=course.history[-1], best_average=average)
    kept = _kept(course, recipe)
    return Fitted(
        potential=recipe.realize(kept),
        history=course.history,
        status=status,
        best=course.best,
        explanation=explain(status, course.history[-1], course.best, config),
        notes=(*recipe.notes, *recipe.remarks(kept)),
    )


def _kept(course: Course, recipe: Recipe) -> PyTree:
    """The best trainable, with leaves of the types the recipe started from."""
    if course.best.number == 0:
        return recipe.trainable  # exactly as given
    return jax.tree.map(
        lambda new, old: new.astype(old.dtype), course.best_average, recipe.trainable
    )
