"""The part of a run that stays on the device: many steps, samples and checks per call.

Lanes (replicas, models) advance in lock step along a leading axis; a single lane has no such axis.
``advance`` returns when the asked-for step is reached, a buffer of samples is full, a lane's list
of neighbours would not hold at its next positions, more slots for neighbours are needed, or no lane
is left. The last three never touch a trajectory: positions are looked at before they are used, and
a step that needs more slots is not taken. A lane that fails keeps its last good state.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlffjax.arrays import Array, Bool, Float, Int, PyTree
from mlffjax.dynamics import neighborhood as lists
from mlffjax.dynamics.evaluation import evaluate
from mlffjax.dynamics.neighborhood import Neighborhood
from mlffjax.dynamics.state import Conditions, State, kinetic_energy, pressure_tensor, temperature
from mlffjax.graphs.graph import Graph
from mlffjax.potential.base import Potential

STATUSES = ("running", "not finite", "too close", "too hot", "energy lost")
RUNNING, NOT_FINITE, TOO_CLOSE, TOO_HOT, ENERGY_LOST = range(5)

ROUNDING = 1e-9
"""Å by which a fresh list may seem too short; models are silent so close to the cutoff."""

Function = Callable[[Potential, Graph, State, Array], Array]


class Program(NamedTuple):
    """What a compiled program depends on besides shapes; hashable."""

    ensemble: Any  # its module; None where only forces are computed
    cutoff: float  # Å
    slots: int  # for neighbours inside the cutoff
    stacked: bool  # whether every lane has a potential of its own
    lanes: int | None  # None: one lane without a leading axis
    vectorised: bool  # all lanes at once rather than in turn
    observers: tuple[tuple[str, Function], ...]


class Bounds(NamedTuple):
    """When a lane is stopped; plain numbers."""

    temperature: Float[Array, ""]  # K
    contact: Float[Array, ""]  # of the sum of covalent radii
    energy: Float[Array, ""]  # change of the conserved quantity, eV per atom


class Task(NamedTuple):
    """Data that a stage does not change."""

    potential: Potential
    parameters: PyTree  # of the ensemble
    conditions: Conditions
    radii: Float[Array, "atoms"]  # covalent, Å
    skin: Float[Array, ""]  # Å
    bounds: Bounds
    every: dict[str, Int[Array, ""]]  # interval of each channel, steps


class Lane(NamedTuple):
    """One trajectory: its last complete state, and positions of the next one."""

    state: State
    moved: State  # after ``move``: forces are still those of ``state``
    holds: Bool[Array, ""]  # whether the list does at the moved positions
    slots: Int[Array, ""]  # most that were needed in this stage, or are for the next positions
    reference: Float[Array, ""]  # conserved quantity when the stage began, eV
    code: Int[Array, ""]  # index into STATUSES
    atom: Int[Array, ""]  # that made the lane stop; -1 if none did


class Buffers(NamedTuple):
    """Samples since the last visit of the host; rows beyond ``counts`` mean nothing."""

    values: dict[str, Float[Array, "rows *sample"]]
    counts: dict[str, Int[Array, ""]]


@functools.partial(jax.jit, static_argnums=0)
def start(program: Program, task: Task, near: Neighborhood, state: State) -> Lane:
    """Forces at the first positions; lists must hold there. Not yet the start of a stage.

    Depends on no ensemble.
    """

    def one(potential: Potential, near: Neighborhood, state: State) -> Lane:
        complete, code, atom, needed = _evaluated(program, task, potential, near, state)
        zero = jnp.zeros(())
        return Lane(complete, complete, jnp.array(True), needed, zero, code, atom)

    return _mapped(one, program, task, near, state)


@functools.partial(jax.jit, static_argnums=0)
def begin(
    program: Program, task: Task, near: Neighborhood, lane: Lane, buffers: Buffers, stage: Array
) -> tuple[Lane, Buffers]:
    """Start a stage from complete states, and take the samples of step 0."""

    def one(near: Neighborhood, lane: Lane) -> Lane:
        key = jax.random.fold_in(jax.random.wrap_key_data(lane.state.key), stage)
        state = lane.state._replace(
            step=jnp.zeros_like(lane.state.step),
            supplied=jnp.zeros_like(lane.state.supplied),
            key=jax.random.key_data(key),
        )
        bath = program.ensemble.init(task.parameters, task.conditions, state)
        state = state._replace(bath=bath)
        moved, holds = _next(program, task, near, state)
        reference = program.ensemble.conserved(task.parameters, task.conditions, state)
        return lane._replace(state=state, moved=moved, holds=holds, reference=reference)

    lane = _lanewise(one, program)(near, lane)
    return lane, _sampled(program, task, near, lane.state, buffers, jnp.zeros((), int), True)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=(3, 4))
def advance(
    program: Program,
    task: Task,
    near: Neighborhood,
    lane: Lane,
    buffers: Buffers,
    step: Array,
    until: Array,
) -> tuple[Lane, Buffers, Array]:
    """Go from one step (of all running lanes) as far as possible, at most to another.

    Returns:
        Lanes, buffers and the step reached.
    """

    def goes_on(carry: tuple[Lane, Buffers, Array]) -> Array:
        lane, buffers, step = carry
        running = lane.code == RUNNING
        ready = (lane.holds & (lane.slots <= program.slots)) | ~running
        room = [count < buffers.values[name].shape[0] for name, count in buffers.counts.items()]
        return (step < until) & running.any() & ready.all() & jnp.array(room).all()

    def body(carry: tuple[Lane, Buffers, Array]) -> tuple[Lane, Buffers, Array]:
        lane, buffers, step = carry
        after = _mapped(functools.partial(_stepped, program, task), program, task, near, lane)
        running = lane.code == RUNNING
        blocked = (running & (after.slots > program.slots)).any()
        good = running & ~blocked & (after.code == RUNNING)
        kept = lane._replace(
            slots=jnp.maximum(lane.slots, after.slots),
            code=jnp.where(running & ~blocked, after.code, lane.code),
            atom=jnp.where(running & ~blocked, after.atom, lane.atom),
        )
        lane = _selected(good, after._replace(slots=kept.slots), kept)
        step = jnp.where(blocked, step, step + 1)
        buffers = _sampled(program, task, near, lane.state, buffers, step, ~blocked)
        return lane, buffers, step

    return jax.lax.while_loop(goes_on, body, (lane, buffers, step))


@functools.partial(jax.jit, static_argnums=0)
def renewed(program: Program, task: Task, near: Neighborhood, lane: Lane) -> Lane:
    """Lanes after their lists were made anew at their moved positions."""

    def one(near: Neighborhood, lane: Lane) -> Lane:
        holds = _holds(program, task, near, lane.moved)
        return lane._replace(holds=holds)

    return _lanewise(one, program)(near, lane)


def channel_shapes(state: State, periodic: bool, changes_cell: bool) -> dict[str, tuple[int, ...]]:
    """Built-in channels and the shape of their samples, for one lane."""
    shapes = dict.fromkeys(("potential_energy", "kinetic_energy", "temperature", "conserved"), ())
    shapes |= {"pressure": (3, 3)} if periodic else {}
    shapes |= {"cell": (3, 3)} if changes_cell else {}
    return shapes | {"positions": state.positions.shape, "velocities": state.positions.shape}


def _stepped(
    program: Program, task: Task, potential: Potential, near: Neighborhood, lane: Lane
) -> Lane:
    """The next complete state and a look at the positions after it."""
    state, code, atom, needed = _evaluated(program, task, potential, near, lane.moved)
    ensemble = program.ensemble
    state = ensemble.complete(task.parameters, task.conditions, state)
    state = state._replace(step=state.step + 1)
    conserved = ensemble.conserved(task.parameters, task.conditions, state)
    code, atom = _judged(task, state, code, atom, conserved - lane.reference)
    moved, holds = _next(program, task, near, state)
    return Lane(state, moved, holds, needed, lane.reference, code, atom)


def _evaluated(
    program: Program, task: Task, potential: Potential, near: Neighborhood, state: State
) -> tuple[State, Array, Array, Array]:
    """Forces put into a state, what is wrong with them, and the slots that are needed."""
    graph, narrowing = lists.narrowed(
        near, state.positions, state.cell, program.cutoff, program.slots
    )
    found = evaluate(potential, graph)
    state = state._replace(energy=found.energy, forces=found.forces, virial=found.virial)
    finite = jnp.isfinite(found.forces).all(axis=1)
    sound = finite.all() & jnp.isfinite(found.energy) & jnp.isfinite(found.virial).all()
    contact = lists.closest(graph, task.radii, program.cutoff)
    touching = contact.ratio < task.bounds.contact
    code = jnp.where(touching, TOO_CLOSE, jnp.where(sound, RUNNING, NOT_FINITE))
    culprit = jnp.where(finite.all(), -1, jnp.argmin(finite))
    atom = jnp.where(touching, contact.atom, culprit)
    return state, code, atom, narrowing.slots


def _judged(
    task: Task, state: State, code: Array, atom: Array, change: Array
) -> tuple[Array, Array]:
    """Status after a step; what was wrong with the forces comes first."""
    masses = task.conditions.masses
    heat = temperature(kinetic_energy(state.velocities, masses), task.conditions.freedom)
    hottest = jnp.argmax(masses * (state.velocities**2).sum(axis=1))
    lost = jnp.abs(change) > task.bounds.energy * masses.shape[0]
    hot = heat > task.bounds.temperature
    sound = jnp.isfinite(heat) & jnp.isfinite(change)
    found = jnp.where(hot, TOO_HOT, jnp.where(lost, ENERGY_LOST, RUNNING))
    found = jnp.where(sound, found, NOT_FINITE)
    culprit = jnp.where(found == TOO_HOT, hottest, -1)
    return jnp.where(code == RUNNING, found, code), jnp.where(code == RUNNING, culprit, atom)


def _next(program: Program, task: Task, near: Neighborhood, state: State) -> tuple[State, Array]:
    moved = program.ensemble.move(task.parameters, task.conditions, state)
    return moved, _holds(program, task, near, moved)


def _holds(program: Program, task: Task, near: Neighborhood, moved: State) -> Array:
    left = lists.slack(near, moved.positions, moved.cell, program.cutoff, task.skin)
    # Positions that are not finite need no list: the step will be found out.
    return (left >= -ROUNDING) | ~jnp.isfinite(left)


def _sampled(
    program: Program,
    task: Task,
    near: Neighborhood,
    state: State,
    buffers: Buffers,
    step: Array,
    taken: Array | bool,
) -> Buffers:
    """Buffers with the samples of a step, of those channels whose turn it is."""
    due = {name: (step % task.every[name] == 0) & taken for name in buffers.values}
    values = _observed(program, task, near, state, due)
    measure = functools.partial(_measured, program, task, tuple(buffers.values))
    measured = _lanewise(measure, program)(state)
    # Rows are written at every step and kept by moving on: no branch, and no copy of a buffer.
    write = jax.lax.dynamic_update_index_in_dim
    return Buffers(
        {
            name: write(rows, (values | measured)[name].astype(rows.dtype), buffers.counts[name], 0)
            for name, rows in buffers.values.items()
        },
        {name: count + due[name] for name, count in buffers.counts.items()},
    )


def _measured(
    program: Program, task: Task, names: tuple[str, ...], state: State
) -> dict[str, Array]:
    """Built-in channels of one lane."""
    masses = task.conditions.masses
    kinetic = kinetic_energy(state.velocities, masses)
    every = {
        "potential_energy": lambda: state.energy,
        "kinetic_energy": lambda: kinetic,
        "temperature": lambda: temperature(kinetic, task.conditions.freedom),
        "conserved": lambda: program.ensemble.conserved(task.parameters, task.conditions, state),
        "pressure": lambda: pressure_tensor(state, masses),
        "cell": lambda: state.cell,
        "positions": lambda: state.positions,
        "velocities": lambda: state.velocities,
    }
    return {name: every[name]() for name in names if name in every}


def observed(
    program: Program, name: str, task: Task, near: Neighborhood, state: State
) -> Float[Array, "..."]:
    """What an observer says about the present states of all lanes."""
    function = dict(program.observers)[name]

    def one(potential: Potential, near: Neighborhood, state: State) -> Array:
        graph, _ = lists.narrowed(near, state.positions, state.cell, program.cutoff, program.slots)
        dtype = graph.positions.dtype
        rounded = state._replace(velocities=state.velocities.astype(dtype))
        return function(potential, graph, rounded, task.conditions.masses.astype(dtype))

    return _mapped(one, program, task, near, state)


def _observed(
    program: Program, task: Task, near: Neighborhood, state: State, due: dict[str, Array]
) -> dict[str, Array]:
    """What observers say if it is their turn, zero otherwise; they may be as dear as forces."""
    values = {}
    for name, _ in program.observers:
        ask = functools.partial(observed, program, name)
        shape = jax.eval_shape(ask, task, near, state)

        def nothing(*_: PyTree, shape: jax.ShapeDtypeStruct = shape) -> Array:
            return jnp.zeros(shape.shape, shape.dtype)

        values[name] = jax.lax.cond(due[name], ask, nothing, task, near, state)
    return values


def _mapped(function: Callable[..., Any], program: Program, task: Task, *trees: PyTree) -> Any:
    """``function(potential, *trees)`` for one lane or all."""
    if program.stacked:
        return _lanewise(function, program)(task.potential, *trees)
    return _lanewise(functools.partial(function, task.potential), program)(*trees)


def _lanewise(function: Callable[..., Any], program: Program) -> Callable[..., Any]:
    if program.lanes is None:
        return function
    if program.vectorised:
        return jax.vmap(function)
    return lambda *trees: jax.lax.map(lambda each: function(*each), trees)


def _selected(good: Array, one: Lane, other: Lane) -> Lane:
    def select(first: Array, second: Array) -> Array:
        return jnp.where(good.reshape(good.shape + (1,) * (first.ndim - good.ndim)), first, second)

    return jax.tree.map(select, one, other)
