"""Many runs of one architecture, trained together in one compiled program.

Seeds, learning rates, loss weights, penalties and choices of frames are data. Runs that differ in
nothing else are stacked and step together, each with its own batches, rate, best weights and end:
the decisions are those of ``course``, so that a run ends as it would alone (``fit``), to rounding.

How a stack is worked off depends on the device (``width``). CPU seconds of one step of 8 runs, 4
cells of 21 atoms each, float32, one core, least of several::

                              48x0e + 48x1o   8x0e + 8x1o
    separate compiled steps       0.406          0.047
    vmap over the runs            0.358          0.052
    loop over runs in one program 0.288          0.040

On a CPU the loop is best: a program that goes on reuses its memory, a new call asks the system for
it. Separate runs of one process share their compilation as well, so a fleet pays where steps
outweigh that (``scripts/benchmarks/sweep.py``). An accelerator takes many runs at a time.
"""

import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlffjax import trees
from mlffjax.arrays import PyTree
from mlffjax.graphs.batching import Shape
from mlffjax.training import course as decisions
from mlffjax.training import pool as pools
from mlffjax.training.batches import Bucket, Sample, collect, plan, samples
from mlffjax.training.checkpoints import Identity, Snapshot, identity
from mlffjax.training.course import Course
from mlffjax.training.crew import Terms, advance, crew, predictions
from mlffjax.training.fit import PEEK
from mlffjax.training.history import Epoch, Fitted, Progress, Status
from mlffjax.training.members import (
    Member,
    realize,
    require_one_program,
    require_room,
    stacked_on_host,
    terms,
)
from mlffjax.training.metrics import Predictions, Scores, score
from mlffjax.training.shards import Layout
from mlffjax.training.step import State

LANES = 32
"""Runs that step at the same time on an accelerator; memory grows in proportion."""


class _Fleet(NamedTuple):
    """What stays as it is from the first epoch to the last."""

    members: tuple[Member, ...]
    train: tuple[Bucket, ...]
    views: tuple[pools.View, ...]  # of ``train``
    validation: tuple[Bucket, ...]
    in_order: tuple[pools.Draws, ...]  # all of ``validation``, for every bucket; stacked
    places: tuple[pools.View, ...]  # of ``validation``
    labels: tuple[Sequence[Sample], ...]  # of validation
    typical: tuple[float, ...]  # force components of ``labels``, eV/Å
    terms: Terms
    realize: Any  # stacked
    identities: tuple[Identity, ...]  # for their checkpoints
    width: int
    start: float  # of the monotonic clock, s


class _Place(NamedTuple):
    """How far the runs are."""

    states: State  # stacked
    courses: tuple[Course, ...]
    done: tuple[int, ...]  # steps of the epoch that runs; not zero in continued runs only
    active: tuple[int, ...]  # those that have not ended
    width: int  # of the blocks they step in


def fit_many(
    members: Sequence[Member],
    *,
    shapes: Sequence[Shape] | None = None,
    width: int | None = None,
    finished: Callable[[int, Fitted], None] = lambda number, fitted: None,
) -> tuple[Fitted, ...]:
    """Train runs together; each ends as ``fit.fit`` would end it, to rounding.

    A run that ends, for whatever reason, leaves the program and costs nothing from then on. Times
    in histories are those of the whole fleet. A member with a ``checkpoint`` goes on where it was
    kept, in whatever company, and keeps its state as ``fit.fit`` does.

    Args:
        members: runs that share a program, see ``members.groups``.
        shapes: array shapes that hold all frames; planned from the given frames by default.
        width: runs that step at the same time; by default one on CPUs and up to ``LANES`` on
            accelerators. With more than one, all structures are padded to a single shape.
        finished: told number and outcome of every run as soon as it has ended.

    Raises:
        CompatibilityError: the members do not share a program.
        TrainingError: as ``fit.fit``, or a member asks for something only ``fit.fit`` can do.
    """
    start = time.monotonic()
    require_one_program(members)
    if width is None:
        width = 1 if jax.default_backend() == "cpu" else min(len(members), LANES)
    fleet = _prepare(members, shapes, width)._replace(start=start)
    place = _begin(fleet)
    outcomes: dict[int, Fitted] = {}
    while True:
        place = _let_go(fleet, place, outcomes, finished)
        if not place.active:
            return tuple(outcomes[number] for number in range(len(members)))
        _keep(fleet, place, place.active)
        place = _epoch(fleet, place)


def _prepare(members: Sequence[Member], shapes: Sequence[Shape] | None, width: int) -> _Fleet:
    """Build neighbour lists and put all data on the device, each structure once."""
    potentials = [m.recipe.realize(m.recipe.trainable) for m in members]
    pairs = list(zip(members, potentials, strict=True))
    learned = [m.recipe.mix(samples(m.train, potential)) for m, potential in pairs]
    labels = [samples(m.validation, potential) for m, potential in pairs]
    first, config = potentials[0], members[0].config
    if shapes is None:
        systems = {id(s.system): s.system for run in (*learned, *labels) for s in run}
        shapes = plan(list(systems.values()), first.cutoff, most=config.buckets)
    require_room(
        [*learned, *labels],
        Layout(first.elements, first.cutoff, tuple(shapes), config.precision),
        config,
    )
    place, alike = (
        functools.partial(
            collect,
            elements=first.elements,
            cutoff=first.cutoff,
            shapes=layout,
            dtype=config.precision,
        )
        for layout in (
            shapes,
            [Shape(max(s.atoms for s in shapes), max(s.slots for s in shapes), 1)],
        )
    )
    if width == 1:
        train, views = pools.pooled(learned, place, same=pools.labels_and_structure)
        validation, places = pools.pooled(labels, place, same=pools.structure)
    else:
        train, views = pools.pooled(learned, place, same=pools.labels_and_structure, into_one=alike)
        validation, places = pools.pooled(labels, alike, same=pools.structure)
    ordered = [pools.everything(validation, view, config.batch) for view in places]
    return _Fleet(
        members=tuple(members),
        train=train,
        views=views,
        validation=validation,
        in_order=tuple(
            pools.joined(own, max(int(draws.steps) for draws in own))
            for own in zip(*ordered, strict=True)
        ),
        places=places,
        labels=tuple(labels),
        typical=tuple(map(decisions.typical_force, labels)),
        terms=stacked_on_host([terms(member) for member in members]),
        realize=stacked_on_host([realize(member) for member in members]),
        identities=tuple(
            {}
            if m.checkpoint is None
            else identity(m.recipe, own, held, m.config, seed=m.seed, shapes=shapes)
            for m, own, held in zip(members, learned, labels, strict=True)
        ),
        width=width,
        start=0.0,
    )


def _begin(fleet: _Fleet) -> _Place:
    """Each run where it was kept, or before its first epoch with the initial potential scored."""
    states = [_initial(member) for member in fleet.members]
    kept = [
        m.checkpoint and m.checkpoint.restore(state, known)
        for m, state, known in zip(fleet.members, states, fleet.identities, strict=True)
    ]
    stacked = stacked_on_host(
        [state if old is None else old.state for state, old in zip(states, kept, strict=True)]
    )
    new = [number for number, old in enumerate(kept) if old is None]
    scores = _validate(fleet, stacked, new, fleet.width) if new else {}
    courses = tuple(
        decisions.begin(state.trainable, scores[number], _seconds(fleet, number))
        if old is None
        else old.course
        for number, (state, old) in enumerate(zip(states, kept, strict=True))
    )
    done = tuple(0 if old is None else old.done for old in kept)
    return _Place(stacked, courses, done, tuple(range(len(states))), fleet.width)


def _initial(member: Member) -> State:
    trainable = trees.cast(member.recipe.trainable, member.config.precision)
    memory = member.recipe.optimizer.init(trainable)
    loss = jnp.zeros((), member.config.precision)
    return State(trainable, trainable, memory, jnp.zeros((), jnp.int32), loss)


def _let_go(
    fleet: _Fleet,
    place: _Place,
    outcomes: dict[int, Fitted],
    finished: Callable[[int, Fitted], None],
) -> _Place:
    """Note the runs that have ended; narrow the blocks if half of their lanes would be empty."""
    for number in place.active:
        status = _reason_to_stop(fleet, place, number)
        if status is not None:
            member = fleet.members[number]
            average = _pick(place.states.average, number)
            outcomes[number] = decisions.outcome(
                place.courses[number],
                member.recipe,
                member.config,
                status=status,
                average=average,
            )
            finished(number, outcomes[number])
    active = tuple(number for number in place.active if number not in outcomes)
    # Another width is another compilation, worth it where half of the work would be for nothing.
    width = max(len(active), 1) if len(active) <= place.width // 2 else place.width
    return place._replace(active=active, width=width)


def _reason_to_stop(fleet: _Fleet, place: _Place, number: int) -> Status | None:
    member = fleet.members[number]
    return decisions.reason_to_stop(
        place.courses[number],
        member.recipe,
        member.config,
        typical=fleet.typical[number],
        out_of_time=False,
    )


def _epoch(fleet: _Fleet, place: _Place) -> _Place:
    """One pass of every active run over its data, and the scores after it."""
    rates = {
        number: decisions.rate(place.courses[number], member.recipe, member.config)
        for number, member in enumerate(fleet.members)
        if number in place.active
    }
    states, losses = _pass(fleet, place, rates)
    scores = _validate(fleet, states, place.active, place.width)
    courses = list(place.courses)
    for number in place.active:
        course = courses[number]
        epoch = Epoch(
            len(course.history),
            losses[number],
            scores[number],
            rates[number],
            _seconds(fleet, number),
        )
        courses[number] = decisions.extended(course, epoch, _pick(states.average, number))
    done = (0,) * len(fleet.members)
    place = place._replace(states=states, courses=tuple(courses), done=done)
    for number in place.active:
        _report(fleet, place, number, _steps(fleet, number))
    return place


def _pass(fleet: _Fleet, place: _Place, rates: dict[int, float]) -> tuple[State, dict[int, float]]:
    """Steps over all training data, for each run cut short if its loss is lost; mean losses."""
    count, precision = len(fleet.members), fleet.members[0].config.precision
    # Members may differ in where the optimizer starts, never in how it goes on.
    optimizer = fleet.members[0].recipe.optimizer._replace(init=_no_start)
    draws = _draws(fleet, place)
    begun = np.array(place.done) > 0
    states = place.states._replace(loss=jnp.where(begun, place.states.loss, 0))
    going, first, done = place.active, 0, list(place.done)
    while going:
        states = advance(
            states,
            crew(going, count, place.width),
            draws,
            fleet.terms,
            np.array([rates.get(number, 0.0) for number in range(count)], precision),
            tuple(bucket.rows for bucket in fleet.train),
            np.int32(first),
            np.int32(first + PEEK),
            optimizer=optimizer,
        )
        losses = np.asarray(states.loss)  # waits
        first += PEEK
        for number in going:
            done[number] = place.done[number] + min(first, int(draws.steps[number]))
        here = place._replace(states=states, done=tuple(done))
        going = tuple(n for n in going if done[n] < _steps(fleet, n))
        for number in going:
            _report(fleet, place, number, done[number])
        going = tuple(n for n in going if math.isfinite(losses[n]))
        _keep(fleet, here, going)
    return states, {number: float(states.loss[number]) / done[number] for number in place.active}


def _draws(fleet: _Fleet, place: _Place) -> pools.Draws:
    """The batches that are left of the coming epoch of every run."""
    made = [
        pools.epoch(
            fleet.train,
            view,
            member.config.batch,
            seed=member.seed,
            number=len(course.history),
            skip=done,
        )
        for member, view, course, done in zip(
            fleet.members, fleet.views, place.courses, place.done, strict=True
        )
    ]
    return pools.joined(made, max(_steps(fleet, number) for number in range(len(made))))


def _keep(fleet: _Fleet, place: _Place, going: Sequence[int]) -> None:
    """Keep the states of runs that go on, each if it is time."""
    for number in going:
        member = fleet.members[number]
        keeper = member.checkpoint
        if keeper is not None and keeper.due(member.config.checkpoint_seconds):
            state, course = _pick(place.states, number), place.courses[number]
            seconds = _seconds(fleet, number)
            keeper.keep(
                Snapshot(state, course, place.done[number], seconds), fleet.identities[number]
            )


def _validate(fleet: _Fleet, states: State, active: Sequence[int], width: int) -> dict[int, Scores]:
    """Scores of the averaged weights of the active runs on their validation frames."""
    made = predictions(
        states.average,
        crew(active, len(fleet.members), width),
        fleet.in_order,
        fleet.realize,
        tuple(bucket.rows for bucket in fleet.validation),
    )
    host = jax.device_get(made)
    return {number: score(_sorted(fleet, host, number), fleet.labels[number]) for number in active}


def _sorted(
    fleet: _Fleet, made: Sequence[tuple[np.ndarray, np.ndarray]], number: int
) -> Predictions:
    """Predictions of one run in the order of its samples, without padding."""
    labels, place = fleet.labels[number], fleet.places[number]
    energies, forces = np.zeros(len(labels)), [np.zeros((0, 3))] * len(labels)
    for bucket, index in zip(place.numbers, place.index, strict=True):
        energy, force = (leaf[number] for leaf in made[bucket])
        atoms = fleet.validation[bucket].rows.graph.positions.shape[1]
        energies[index] = energy.reshape(-1)[: len(index)]
        force = force.reshape(-1, atoms, 3)
        for row, position in enumerate(index):
            size = len(labels[position].forces)  # real atoms come first
            forces[position] = force[row, :size].astype(np.float64)
    return Predictions(energies, tuple(forces))


def _no_start(weights: PyTree) -> Any:
    raise NotImplementedError  # states are there already


@jax.jit
def _pick(tree: PyTree, number: int) -> Any:
    """One run out of a stack."""
    return jax.tree.map(lambda leaf: leaf[number], tree)


def _report(fleet: _Fleet, place: _Place, number: int, done: int) -> None:
    """Tell the observer of a run; the epoch that runs is the last one if all its steps are done."""
    member, course, steps = fleet.members[number], place.courses[number], _steps(fleet, number)
    latest, epochs = course.history[-1], member.config.epochs
    epoch = latest.number if done == steps else latest.number + 1
    member.observe(
        Progress(epoch, epochs, done, steps, latest, course.best, _seconds(fleet, number))
    )


def _steps(fleet: _Fleet, number: int) -> int:
    return pools.count_steps(fleet.views[number], fleet.members[number].config.batch)


def _seconds(fleet: _Fleet, number: int) -> float:
    """Since the start of the fleet, and before if the run is continued."""
    keeper = fleet.members[number].checkpoint
    return (0.0 if keeper is None else keeper.spent) + time.monotonic() - fleet.start
