"""The one training loop: every strategy goes through it."""

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mlffjax import trees
from mlffjax.arrays import PyTree
from mlffjax.errors import TrainingError
from mlffjax.graphs.batching import Shape
from mlffjax.structures.system import Frame
from mlffjax.training import course as decisions
from mlffjax.training import devices, metrics
from mlffjax.training.batches import Sample, plan, samples
from mlffjax.training.checkpoints import Keeper, Snapshot, identity, packed, unpacked
from mlffjax.training.config import TrainingConfig
from mlffjax.training.course import Course
from mlffjax.training.feed import Feed
from mlffjax.training.history import Epoch, Fitted, Progress, Status
from mlffjax.training.recipe import Recipe
from mlffjax.training.shards import Layout
from mlffjax.training.step import State, as_pytree, step
from mlffjax.training.storage import open_feeds

PEEK = 25
"""Steps between two looks at the device; the steps in between are queued without waiting."""


class _Run(NamedTuple):
    """What stays as it is from the first epoch to the last."""

    recipe: Recipe
    config: TrainingConfig
    train: Feed
    validation: Feed
    labels: Sequence[Sample]  # of validation
    typical: float  # size of a force component of ``labels``, eV/Å
    seed: int
    observe: Callable[[Progress], None] = lambda progress: None
    start: float = 0.0  # of the monotonic clock, s
    mesh: Mesh | None = None  # of the devices that share a batch; None for one
    keeper: Keeper | None = None
    identity: Mapping[str, Any] = {}  # of the run, for its keeper


class _Place(NamedTuple):
    """How far a run is."""

    state: State  # on all devices that share a batch
    course: Course  # on one
    done: int = 0  # steps of the epoch that runs


def fit(
    recipe: Recipe,
    train: Sequence[Frame],
    validation: Sequence[Frame],
    config: TrainingConfig,
    *,
    seed: int,
    observe: Callable[[Progress], None] = lambda progress: None,
    shapes: Sequence[Shape] | None = None,
    checkpoint: Keeper | None = None,
    directory: Path | None = None,
) -> Fitted:
    """Train a recipe and keep the parameters with the lowest validation force MAE.

    After every epoch the averaged weights are scored on the validation frames. The run ends after
    ``config.epochs``, after ``config.patience`` epochs without improvement, when
    ``config.max_seconds`` have passed, or when it diverges (``course.reason_to_stop``). The status
    tells, and the best potential met, possibly the initial one, is returned in any case, unless
    ``config.keep`` asks for the last one. On CPUs, equal seeds give equal bits unless
    ``max_seconds`` ends the run.

    Args:
        recipe: what a strategy has built.
        train: frames to learn from; each needs forces, energies and stresses may lack.
        validation: frames that decide when to stop and what to keep.
        config: the protocol.
        seed: decides the sequence and the company of the frames in every epoch.
        observe: called every ``PEEK`` steps and after every epoch.
        shapes: array shapes that hold all frames (``batches.plan``); planned from the given frames
            by default. Runs with equal shapes and models share compiled steps.
        checkpoint: keeps the state of the run every ``config.checkpoint_seconds``; if it holds one
            already, the run goes on from there, on the same CPU to the same bits. Clear it when
            the outcome is safe.
        directory: for structures that are kept on disk (``storage.open_feeds``).

    Raises:
        TrainingError: there are no frames to train or validate on, a frame has no forces, double
            precision is asked for but switched off in JAX, the devices cannot share a batch, or
            the disk is full or cannot be written.
        CompatibilityError: ``checkpoint`` holds a run of other settings or data, or a frame holds
            an element the potential does not know.
        CapacityError: a frame does not fit into ``shapes``.
        Unanimous: one of several processes met one of these errors before the first step.
    """
    start = time.monotonic()
    given = recipe, train, validation, config, shapes, checkpoint, seed, directory
    run = devices.unanimous(functools.partial(_prepare, *given))
    run = run._replace(observe=observe, start=start)
    place = _begin(run)
    status = _reason_to_stop(run, place)
    while status is None:
        place = _epoch(run, place)
        _report(run, place, _steps(run))
        status = _reason_to_stop(run, place)
        if status is None:
            _keep(run, place)
    average = devices.local(place.state.average, run.mesh)
    return decisions.outcome(place.course, run.recipe, config, status=status, average=average)


def check(train: Sequence[Frame], validation: Sequence[Frame], config: TrainingConfig) -> None:
    """Refuse what cannot be trained.

    Raises:
        TrainingError: there are no frames, or JAX lacks the precision asked for.
    """
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
    keeper: Keeper | None,
    seed: int,
    directory: Path | None,
) -> _Run:
    """Check, build neighbour lists, once, and put them on the device or on disk."""
    check(train, validation, config)
    mesh = devices.mesh_for(config)
    potential = recipe.realize(recipe.trainable)
    learned = recipe.mix(samples(train, potential))
    labels = samples(validation, potential)
    if shapes is None:
        systems = [sample.system for sample in (*learned, *labels)]
        shapes = plan(systems, potential.cutoff, most=config.buckets)
    layout = Layout(potential.elements, potential.cutoff, tuple(shapes), config.precision)
    (feed, scored), notes = open_feeds((learned, labels), layout, config, directory)
    typical = decisions.typical_force(labels)
    return _Run(
        recipe=recipe._replace(notes=(*recipe.notes, *notes)),
        config=config,
        train=feed,
        validation=scored,
        labels=labels,
        typical=typical,
        seed=seed,
        mesh=mesh,
        keeper=keeper,
        identity={}
        if keeper is None
        else identity(recipe, learned, labels, config, seed=seed, shapes=shapes),
    )


def _begin(run: _Run) -> _Place:
    """The place that was kept, or the one before the first epoch with the potential scored."""
    trainable = trees.cast(run.recipe.trainable, run.config.precision)
    state = State(
        trainable=trainable,
        average=trainable,
        optimizer=run.recipe.optimizer.init(trainable),
        step=jnp.zeros((), jnp.int32),
        loss=jnp.zeros((), run.config.precision),
    )
    kept = _restored(run, state)
    if kept is not None:
        return _Place(devices.replicated(kept.state, run.mesh), kept.course, kept.done)
    course = decisions.begin(trainable, _validate(run, trainable), _seconds(run))
    return _Place(devices.replicated(state, run.mesh), course)


def _restored(run: _Run, state: State) -> Snapshot | None:
    """What the keeper holds, if anything; ``state`` shows shapes and types."""
    keeper = run.keeper
    if keeper is None:
        return None
    kept = devices.unanimous(
        lambda: keeper.restore(state, run.identity) if devices.is_first() else None
    )
    if jax.process_count() == 1:
        return kept
    content = devices.sent(b"" if kept is None else packed(kept, run.identity))
    if not content:
        return None
    return unpacked(content, state, run.identity, keeper.directory)


def _keep(run: _Run, place: _Place) -> None:
    """Keep the state of the run if it is time."""
    keeper = run.keeper
    if keeper is None or not devices.is_first() or not keeper.due(run.config.checkpoint_seconds):
        return
    state = devices.local(place.state, run.mesh)
    keeper.keep(Snapshot(state, place.course, place.done, _seconds(run)), run.identity)


def _epoch(run: _Run, place: _Place) -> _Place:
    """One pass over the data and the score after it."""
    rate = decisions.rate(place.course, run.recipe, run.config)
    state, loss = _pass(run, place, rate)
    average = devices.local(state.average, run.mesh)
    scores = _validate(run, average)
    epoch = Epoch(len(place.course.history), loss, scores, rate, _seconds(run))
    return _Place(state, decisions.extended(place.course, epoch, average))


def _pass(run: _Run, place: _Place, rate: float) -> tuple[State, float]:
    """Steps over all training data, cut short if time is up or the loss lost; their mean loss."""
    recipe, config, number = run.recipe, run.config, len(place.course.history)
    state, done = place.state, place.done
    if done == 0:
        state = state._replace(loss=jnp.zeros_like(state.loss))
    steps = run.train.steps(config.batch)
    batches = run.train.epoch(config.batch, seed=run.seed, number=number, skip=done)
    advance = _advance if run.mesh is None else functools.partial(devices.advance, mesh=run.mesh)
    loss, penalty, leash = devices.replicated(
        (as_pytree(recipe.loss), as_pytree(recipe.penalty), recipe.leash), run.mesh
    )
    for batch in batches:
        done += 1
        state = advance(
            state,
            batch if run.mesh is None else devices.distributed(batch, run.mesh),
            loss=loss,
            penalty=penalty,
            rate=rate,
            decay=config.ema or 0.0,
            optimizer=recipe.optimizer,
            leash=leash,
        )
        if done % PEEK == 0 and done < steps:
            _report(run, place, done)
            if not math.isfinite(float(state.loss)) or _out_of_time(run):
                break
            _keep(run, place._replace(state=state, done=done))
    return state, float(state.loss) / done


def _reason_to_stop(run: _Run, place: _Place) -> Status | None:
    return decisions.reason_to_stop(
        place.course,
        run.recipe,
        run.config,
        typical=run.typical,
        out_of_time=_out_of_time(run),
    )


def _validate(run: _Run, trainable: PyTree) -> metrics.Scores:
    potential = trees.cast(run.recipe.realize(trainable), run.config.precision)
    predictions = metrics.predict(potential, run.validation, batch=run.config.batch)
    # Decisions hang on scores, so all processes must see the same ones to the last bit.
    return devices.agreed(metrics.score(predictions, run.labels))


def _report(run: _Run, place: _Place, done: int) -> None:
    """Tell the observer; the running epoch is the last one if all its steps are ``done``."""
    course, steps = place.course, _steps(run)
    latest = course.history[-1]
    epoch = latest.number if done == steps else latest.number + 1
    run.observe(Progress(epoch, run.config.epochs, done, steps, latest, course.best, _seconds(run)))


def _steps(run: _Run) -> int:
    return run.train.steps(run.config.batch)


def _seconds(run: _Run) -> float:
    before = 0.0 if run.keeper is None else run.keeper.spent
    return before + time.monotonic() - run.start


def _out_of_time(run: _Run) -> bool:
    limit = run.config.max_seconds
    return limit is not None and bool(devices.agreed(np.array(_seconds(run) >= limit)))


_advance = jax.jit(step, static_argnames="optimizer")
"""Everything but the optimizer is data, so equal shapes compile once."""
