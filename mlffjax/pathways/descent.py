"""The relaxation itself: one compiled loop that evaluates, watches and moves a band or structure.

A *lane* is one band (or one structure) with one potential. ``advance`` takes lanes through many
iterations and stops each of them for itself: when it is converged or has failed, when the atoms
have moved so far that its neighbour lists may miss an edge (before such a list is used), or when a
list needs more slots than there are. The host then makes new lists or more room and calls again
with the same state; nothing is lost or repeated.

A structure is a band of one image without springs. With ``Setup.strained`` three more rows are
relaxed: positions are u D and cell vectors h0 D, where the rows hold D times ``Problem.scale``.
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlffjax.arrays import Array, Bool, Float, Int, PyTree
from mlffjax.graphs.graph import Graph
from mlffjax.graphs.skin import Anchor, slack
from mlffjax.pathways import monitor, neb, optimizers
from mlffjax.pathways.evaluation import Found, Subject, each, examined, folded
from mlffjax.potential.base import Potential

RUNNING, CONVERGED, OUT_OF_STEPS, STOPPED = range(4)


@dataclass(frozen=True)
class Setup:
    """What a compiled program depends on besides shapes."""

    optimizer: optimizers.Kind
    slots: int  # neighbours of an atom there is room for
    chunk: int  # iterations between two looks of the host
    skin: float  # Å
    elastic: bool  # a band with springs, not a structure
    strained: bool = False  # the cell relaxes too


class Knobs(NamedTuple):
    """Choices that may change without a new compilation."""

    fmax: Float[Array, ""]  # eV/Å
    max_steps: Int[Array, ""]
    reach: Float[Array, ""]  # longest step, Å
    softest: Float[Array, ""]  # springs, eV/Å^2
    stiffest: Float[Array, ""]
    climb: Bool[Array, ""]
    climb_below: Float[Array, ""]  # eV/Å
    limits: monitor.Limits


class Problem(NamedTuple):
    """One band or structure, without the state of its relaxation."""

    species: Int[Array, "atoms"]
    radii: Float[Array, "atoms"]  # covalent, Å
    movable: Bool[Array, "atoms"]  # False for fixed and padded atoms
    cell: Float[Array, "3 3"]  # Å
    count: Int[Array, ""]  # images; those beyond are padding
    members: Bool[Array, "layers atoms"]
    normal: Float[Array, "3"]  # of the layers
    lift: Float[Array, "atoms"]  # whole periods that bring atoms of a layer together, Å
    strains: Float[Array, "3 3 3 3"]  # projects a symmetric matrix on the strains allowed
    scale: Float[Array, ""]  # how many Å a unit of strain counts as


class Lists(NamedTuple):
    """Neighbour lists of the images, wider than the cutoff."""

    graph: Graph  # leading axis of images; positions, species and cell are not read
    anchor: Anchor  # leading axis of images


class Snapshot(NamedTuple):
    """The last place that was evaluated and found sound."""

    place: Float[Array, "images rows 3"]
    energies: Float[Array, "images"]  # eV, interaction energies
    forces: Float[Array, "images atoms 3"]  # of the potential, eV/Å, also on fixed atoms
    residual: Float[Array, "images"]  # eV/Å
    top: Int[Array, ""]
    tangent: Float[Array, "images atoms 3"]


class State(NamedTuple):
    """What the next iteration needs."""

    trial: Float[Array, "images rows 3"]  # where to evaluate next
    optimizer: PyTree
    climbing: Bool[Array, ""]
    status: Int[Array, ""]
    steps: Int[Array, ""]  # evaluations so far
    recent: Float[Array, "recent"]
    reference: Float[Array, ""]  # energy of the start, eV
    first_gaps: Float[Array, "images gaps"]
    good: Snapshot
    finding: monitor.Finding
    slack: Float[Array, "images"]  # Å left before a list may miss an edge; infinite for new lists
    slots: Int[Array, ""]  # room that the last evaluation would have needed


class Traces(NamedTuple):
    """One row per iteration."""

    residual: Float[Array, "iterations"]  # largest force on an atom of the band, eV/Å
    energies: Float[Array, "iterations images"]  # eV
    top: Int[Array, "iterations"]  # the highest image between the ends
    closest: Float[Array, "iterations"]  # smallest distance in any image, Å
    ratio: Float[Array, "iterations"]  # smallest distance over the sum of covalent radii
    gap: Float[Array, "iterations"]  # the gap between layers that changed most, Å; NaN without
    disagreement: Float[Array, "iterations"]  # of a committee's forces, eV/Å; NaN without


class _Step(NamedTuple):
    """What an evaluation means for the relaxation."""

    snapshot: Snapshot
    force: Float[Array, "images rows 3"]  # along which to move
    climbing: Bool[Array, ""]


@functools.partial(jax.jit, static_argnames="setup")
def init(setup: Setup, problem: Problem, start: Float[Array, "images rows 3"]) -> State:
    """The state of a lane before its first iteration."""
    images, atoms = start.shape[0], problem.species.shape[0]
    number = functools.partial(jnp.asarray, dtype=start.dtype)
    zero = jnp.zeros((), jnp.int32)
    nothing = jnp.zeros((images, atoms, 3), start.dtype)
    blank = jnp.full(images, jnp.nan, start.dtype)
    gaps = max(problem.members.shape[0] - 1, 0)
    return State(
        trial=start,
        optimizer=optimizers.init(setup.optimizer, start),
        climbing=jnp.zeros((), bool),
        status=zero,
        steps=zero,
        recent=jnp.zeros(monitor.RECENT, start.dtype),
        reference=number(0.0),
        first_gaps=jnp.zeros((images, gaps), start.dtype),
        good=Snapshot(start, blank, nothing, blank, zero, nothing),
        finding=monitor.Finding(zero, zero, zero),
        slack=jnp.full(images, jnp.inf, start.dtype),
        slots=zero,
    )


@functools.partial(jax.jit, static_argnames="setup")
def advance(
    setup: Setup,
    knobs: Knobs,
    potentials: Potential,
    committee: Potential | None,
    problems: Problem,
    lists: Lists,
    which: Int[Array, "lanes"],
    states: State,
) -> tuple[State, Traces, Int[Array, "lanes"]]:
    """Take lanes (leading axis) through at most ``setup.chunk`` iterations each.

    Args:
        setup: static choices.
        knobs: numbers, the same for all lanes.
        potentials: a stack; ``which`` says the potential of each lane.
        committee: a stack whose disagreement is traced, or None.
        problems: by lane.
        lists: by lane, valid for ``states``.
        which: index into ``potentials`` by lane.
        states: by lane.

    Returns:
        States, traces of which so many rows as the last result says are filled, by lane.
    """

    def lane(problem: Problem, near: Lists, index: Array, state: State) -> Any:
        potential = jax.tree.map(lambda leaf: leaf[index], potentials)
        return _lane(setup, knobs, potential, committee, problem, near, state)

    if which.shape[0] > 1:
        return jax.vmap(lane)(problems, lists, which, states)
    single = jax.tree.map(lambda leaf: leaf[0], (problems, lists, which, states))
    return jax.tree.map(lambda leaf: leaf[None], lane(*single))


@functools.partial(jax.jit, static_argnames="setup")
def configuration(
    setup: Setup, problem: Problem, place: Float[Array, "images rows 3"]
) -> tuple[Float[Array, "images atoms 3"], Float[Array, "images 3 3"]]:
    """Positions and cell of every image, Å."""
    if not setup.strained:
        return place, jnp.broadcast_to(problem.cell, (place.shape[0], 3, 3))
    atoms = problem.species.shape[0]
    deformation = place[:, atoms:] / problem.scale
    return place[:, :atoms] @ deformation, problem.cell @ deformation


def _lane(
    setup: Setup,
    knobs: Knobs,
    potential: Potential,
    committee: Potential | None,
    problem: Problem,
    lists: Lists,
    state: State,
) -> tuple[State, Traces, Array]:
    subject = Subject(
        folded(potential),
        None if committee is None else jax.vmap(folded)(committee),
        problem.species,
        problem.radii,
    )
    examine = functools.partial(
        examined, potential.model, subject, slots=setup.slots, by_cell=setup.strained
    )

    def goes_on(carry: tuple[State, Traces, Array]) -> Array:
        state, _, done = carry
        fits = state.slots <= setup.slots
        return (state.status == RUNNING) & (done < setup.chunk) & fits & (state.slack.min() >= 0)

    def iterate(carry: tuple[State, Traces, Array]) -> tuple[State, Traces, Array]:
        state, traces, done = carry
        active = _active(setup, problem, state)
        positions, cells = configuration(setup, problem, state.trial)
        found = each(examine, active, (lists.graph, positions, cells))
        moved, row = _digest(setup, knobs, problem, state, active, found)
        left = _slack(setup, problem, lists, moved.trial, potential.cutoff)
        moved = moved._replace(slack=left)
        written = jax.tree.map(
            lambda rows, new: rows.at[done].set(new.astype(rows.dtype)), traces, row
        )
        needed = found.slots.max().astype(state.slots.dtype)
        fits = needed <= setup.slots  # otherwise edges were lost: forget what was found
        state, traces, done = jax.tree.map(
            lambda new, old: jnp.where(fits, new.astype(old.dtype), old),
            (moved, written, done + 1),
            (state, traces, done),
        )
        return state._replace(slots=needed), traces, done

    state = state._replace(slots=jnp.zeros_like(state.slots))
    begin = (state, _blank(setup.chunk, state.trial), jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(goes_on, iterate, begin)


def _blank(rows: int, trial: Array) -> Traces:
    room = jnp.full(rows, jnp.nan, trial.dtype)
    energies = jnp.full((rows, trial.shape[0]), jnp.nan, trial.dtype)
    return Traces(room, energies, jnp.zeros(rows, jnp.int32), room, room, room, room)


def _active(setup: Setup, problem: Problem, state: State) -> Bool[Array, "images"]:
    """The images to evaluate: ends of a band stay where they are and are evaluated once."""
    index = jnp.arange(state.trial.shape[0])
    inner = (index > 0) & (index < problem.count - 1) if setup.elastic else index >= 0
    return inner | ((state.steps == 0) & (index < problem.count))


def _slack(
    setup: Setup, problem: Problem, lists: Lists, place: Array, cutoff: float
) -> Float[Array, "images"]:
    """What is left of the skin of each list at a place, Å."""
    positions, cells = configuration(setup, problem, place)
    of_one = functools.partial(slack, cutoff=cutoff, skin=setup.skin)
    return jax.vmap(of_one)(lists.anchor, positions, cells)


def _digest(
    setup: Setup, knobs: Knobs, problem: Problem, state: State, active: Array, found: Found
) -> tuple[State, Traces]:
    """The state after an evaluation, and its row of the traces."""
    move = (_banded if setup.elastic else _alone)(setup, knobs, problem, state, active, found)
    new, start = move.snapshot, state.steps == 0
    worst = new.residual.max()
    reference = jnp.where(start, new.energies[0], state.reference)
    positions, _ = configuration(setup, problem, state.trial)
    first_gaps, change, gap = _gaps(problem, state, positions)
    finding = monitor.check(
        knobs.limits, energies=new.energies, forces=new.forces, residual=new.residual,
        contacts=found.contact, gap_change=change, active=active,
        recent=jnp.where(start, worst, state.recent), reference=reference,
    )  # fmt: skip
    sound = finding.code == monitor.FINE
    memory, trial = _moved(setup, knobs, state, move)
    status = _status(knobs, state, move, sound & jnp.isfinite(trial).all())
    return State(
        trial=jnp.where(status == RUNNING, trial, state.trial),
        optimizer=memory,
        climbing=move.climbing,
        status=status,
        steps=state.steps + 1,
        recent=jnp.where(start, worst, jnp.append(state.recent[1:], worst)),
        reference=reference,
        first_gaps=first_gaps,
        good=jax.tree.map(lambda a, b: jnp.where(sound, a, b), new, state.good),
        finding=finding,
        slack=state.slack,
        slots=state.slots,
    ), Traces(
        worst, new.energies, new.top, *_smallest(found.contact, active), gap,
        jnp.where(active, found.disagreement, -jnp.inf).max(),
    )  # fmt: skip


def _moved(setup: Setup, knobs: Knobs, state: State, move: _Step) -> tuple[PyTree, Array]:
    """The memory of the optimiser and the next place."""
    fresh = optimizers.init(setup.optimizer, state.trial)
    turned = move.climbing & ~state.climbing  # another force field: what was learnt is void
    memory = jax.tree.map(lambda a, b: jnp.where(turned, a, b), fresh, state.optimizer)
    return optimizers.step(setup.optimizer, memory, state.trial, move.force, knobs.reach)


def _status(knobs: Knobs, state: State, move: _Step, sound: Array) -> Int[Array, ""]:
    worst = move.snapshot.residual.max()
    done = (worst < knobs.fmax) & (move.climbing | ~knobs.climb)
    status = jnp.where(state.steps + 1 >= knobs.max_steps, OUT_OF_STEPS, RUNNING)
    status = jnp.where(done, CONVERGED, status)
    return jnp.where(sound, status, STOPPED).astype(jnp.int32)


def _banded(
    setup: Setup, knobs: Knobs, problem: Problem, state: State, active: Array, found: Found
) -> _Step:
    """Elastic band: projections, springs, climbing image."""
    index = jnp.arange(active.shape[0])
    energies = jnp.where(active, found.energy, state.good.energies)
    energies = jnp.where(index < problem.count, energies, energies[problem.count - 1])
    forces = jnp.where(active[:, None, None], found.forces, state.good.forces)
    free = jnp.where(problem.movable[:, None], forces, 0.0)
    stiffness = neb.springs(energies, softest=knobs.softest, stiffest=knobs.stiffest)
    pull = functools.partial(
        neb.pull, state.trial, energies, free, stiffness=stiffness, count=problem.count
    )
    before = pull(climbing=state.climbing)
    ready = before.residual.max() < knobs.climb_below
    climbing = state.climbing | (knobs.climb & ready)
    now = pull(climbing=climbing)
    snapshot = Snapshot(state.trial, energies, forces, now.residual, now.top, now.tangent)
    return _Step(snapshot, now.force, climbing)


def _alone(
    setup: Setup, knobs: Knobs, problem: Problem, state: State, active: Array, found: Found
) -> _Step:
    """Structures: forces, and the derivative by the deformation if the cell relaxes."""
    del active
    force = jnp.where(problem.movable[:, None], found.forces, 0.0)
    if setup.strained:
        atoms = problem.species.shape[0]
        deformation = state.trial[:, atoms:] / problem.scale
        undeformed = state.trial[:, :atoms]
        slope = problem.cell.T @ found.virial - undeformed.mT @ found.forces
        slope = jnp.einsum("abcd,icd->iab", problem.strains, (slope + slope.mT) / 2)
        force = jnp.concatenate([force @ deformation.mT, -slope / problem.scale], axis=1)
    residual = jnp.sqrt((force**2).sum(axis=-1)).max(axis=-1)
    snapshot = Snapshot(
        state.trial, found.energy, found.forces, residual, jnp.zeros((), jnp.int32),
        jnp.zeros_like(found.forces),
    )  # fmt: skip
    return _Step(snapshot, force, ~knobs.climb)


def _gaps(problem: Problem, state: State, positions: Array) -> tuple[Array, Array, Array]:
    """Gaps between layers at the start, their largest change in each image, one to be traced."""
    if problem.members.shape[0] < 2:
        images = positions.shape[0]
        nothing = jnp.full((), jnp.nan, positions.dtype)
        return state.first_gaps, jnp.zeros(images, positions.dtype), nothing
    now = monitor.gaps(positions, problem.members, problem.normal, problem.lift)
    # Layers that a padded problem does not have give infinite gaps.
    real = jnp.isfinite(now)
    first = jnp.where(state.steps == 0, now, state.first_gaps)
    change = jnp.where(real, jnp.abs(now - first), 0.0)
    return first, change.max(axis=1), now.reshape(-1)[jnp.argmax(change)]


def _smallest(contact: monitor.Contact, active: Array) -> tuple[Array, Array]:
    return tuple(
        jnp.where(active, values, jnp.inf).min() for values in (contact.distance, contact.ratio)
    )  # pyright: ignore[reportReturnType]
