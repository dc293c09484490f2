"""Relaxation of sliding layers along their normal: each atom by itself, or the gap as a whole.

Everything is projected: a force moves only what is free. The neighbour list is wider than the
cutoff by a skin and narrowed at every step on the device; when atoms have moved farther than it
allows the relaxation stops with the status ``STALE``, and the host makes a new list and goes on.
The result is not differentiated: energies at the relaxed places have the right derivatives by the
parameters, because forces on what is free vanish there.

The method is limited-memory BFGS (Nocedal, Math. Comput. 35, 773 (1980),
doi:10.1090/S0025-5718-1980-0572855-7) with steps of bounded length that are taken back if the
energy rises: gaps are soft, and their curvature changes sign.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlffjax import trees
from mlffjax.arrays import Array, Bool, Float, Int
from mlffjax.errors import InputError
from mlffjax.graphs import skin as skins
from mlffjax.graphs.batching import SLOT_STEP, species_of
from mlffjax.graphs.graph import Graph
from mlffjax.graphs.skin import Anchor
from mlffjax.pathways.mapping import mapped
from mlffjax.pathways.slide import Slider
from mlffjax.potential import derivatives
from mlffjax.potential.base import Potential
from mlffjax.structures.system import System

Mode = Literal["rigid", "gap", "normal"]
"""``rigid``: nothing moves; ``gap``: layers as rigid bodies, apart or together; ``normal``: every
atom by itself. Motion is along the normal of the layers; intercalated atoms move likewise."""

SKIN = 2.0
"""Å; the layers may come nearer or move apart by as much before a new list is needed."""
REACH = 0.2
"""Å; longest step of an atom."""
MEMORY = 10
"""Steps that the curvature is learned from."""
STIFF = 5.0
"""eV/Å²; curvature assumed before any is known."""
SOFTER = 0.25
"""Factor to that after a step over which the force grew."""
CALMER, ROUGH = 0.9, 1e-5
"""A step is also taken if the force falls by this factor and the energy, eV, rises by no more."""
TOO_CLOSE = 0.5
"""Å; no structure has atoms so near each other, whatever the potential says."""


class Status(IntEnum):
    """How a relaxation ended."""

    CONVERGED = 0
    MAX_STEPS = 1
    STALE = 2  # the neighbour list no longer holds
    FAILED = 3  # energies or forces are not finite, or atoms are on top of each other


class Freedom(NamedTuple):
    """What may move: the projection of forces is free * (F · n) n plus that on ``together``."""

    normal: Float[Array, "3"]
    free: Float[Array, "atoms"]  # 1 for atoms that move by themselves
    together: Float[Array, "atoms"]  # heights of a collective motion; 0 for all others


class Start(NamedTuple):
    """A structure to be relaxed, or many of them along a leading axis."""

    graph: Graph  # with a list wider than the cutoff by a skin
    made: Anchor  # where the list was made


class Goal(NamedTuple):
    """When to stop."""

    tolerance: Float[Array, ""]  # eV/Å; of every free force
    steps: Int[Array, ""]  # evaluations, at most


class Limits(NamedTuple):
    """Static numbers of a relaxation: one compilation per value."""

    cutoff: float  # Å
    skin: float  # Å
    slots: int  # neighbours inside the cutoff that are made room for


class Relaxed(NamedTuple):
    """The outcome; of many structures along a leading axis."""

    positions: Float[Array, "atoms 3"]  # Å
    energy: Float[Array, ""]  # eV, interaction energy
    residual: Float[Array, ""]  # largest free force on an atom, eV/Å
    steps: Int[Array, ""]
    status: Int[Array, ""]


class _State(NamedTuple):
    """Of a minimisation by limited-memory BFGS that never goes uphill."""

    place: Array  # the lowest so far, Å
    energy: Array
    force: Array  # free force there
    trial: Array  # the place to look at next
    reach: Array  # longest step of an atom, Å
    moves: Array  # [memory, atoms, 3], the newest last
    changes: Array  # of minus the force
    inverse: Array  # 1 / (move · change); 0 where there is no pair
    stiff: Array  # curvature that steps without a memory assume, eV/Å²
    steps: Array
    status: Array


RUNNING = -1


def freedom(along: Slider, mode: Mode) -> Freedom:
    """What may move in a mode.

    Raises:
        InputError: the gap is to be relaxed, but the cell leaves the layers no room.
    """
    atoms = len(along.moving)
    free, together = np.zeros(atoms), np.zeros(atoms)
    if mode == "normal":
        free[:] = 1.0
    if mode == "gap":
        if not along.vacuum:
            raise InputError(
                "expected a slab with vacuum to relax the gap of, but here the cell keeps the "
                "layers where they are; add vacuum, or relax 'normal' to the layers at this cell"
            )
        # Both sides move by half, so that neither moves farther than it must.
        up = along.moving if along.moving[along.upper].any() else ~along.moving
        together[:] = np.where(up, 0.5, -0.5)
        together[along.intercalated], free[along.intercalated] = 0.0, 1.0
    return Freedom(*map(jnp.asarray, (along.normal, free, together)))


def goal(tolerance: float, steps: int) -> Goal:
    """When to stop, as arrays."""
    return Goal(jnp.asarray(tolerance), jnp.asarray(steps, jnp.int32))


def projected(allowed: Freedom, forces: Float[Array, "atoms 3"]) -> Float[Array, "atoms 3"]:
    """The part of the forces that moves something."""
    heights = forces @ allowed.normal
    size = (allowed.together**2).sum()
    collective = (heights * allowed.together).sum() / jnp.where(size > 0, size, 1.0)
    return (heights * allowed.free + collective * allowed.together)[:, None] * allowed.normal


def starts(
    systems: Sequence[System], elements: tuple[int, ...], cutoff: float, *, skin: float = SKIN
) -> tuple[Start, int]:
    """Lists for structures of equal atoms, stacked, and the slots they need inside the cutoff.

    Raises:
        CompatibilityError: an element is not among ``elements``.
    """
    lists = [skins.make(system, cutoff, skin) for system in systems]
    slots = max(skins.crowding(near, cutoff + skin / 2) for near in lists)
    wide = max(near.graph.neighbors.shape[1] for near in lists)
    graphs = [
        _widened(near.graph, wide)._replace(species=species_of(near.system, elements))
        for near in lists
    ]
    return (
        Start(trees.stack(graphs), trees.stack([skins.anchor(near) for near in lists])),
        -(-slots // SLOT_STEP) * SLOT_STEP,
    )


def relax(
    potential: Potential,
    start: Start,
    allowed: Freedom,
    goal: Goal,
    *,
    limits: Limits,
) -> Relaxed:
    """Relax one structure; pure, for ``jit`` and ``vmap``."""
    graph, made = start

    def look(positions: Array) -> tuple[Array, Array, Array]:
        """Energy, free forces, and the status that the place alone would give."""
        here, narrowing = skins.prune(
            graph._replace(positions=positions), limits.cutoff, limits.slots
        )
        energy, forces = derivatives.energies_and_forces(potential, here)
        force = projected(allowed, forces)
        left = skins.slack(made, positions, graph.cell[0], limits.cutoff, limits.skin)
        stale = (left < 0) | (narrowing.slots > limits.slots)
        sound = jnp.isfinite(energy[0]) & jnp.isfinite(force).all()
        sound &= narrowing.closest > TOO_CLOSE
        status = jnp.where(sound, RUNNING, Status.FAILED)
        return energy[0], force, jnp.where(stale, Status.STALE, status)

    def step(state: _State) -> _State:
        energy, force, status = look(state.trial)
        better = energy <= state.energy + _noise(energy)
        # Where a model is rougher than that, a smaller force is progress, too.
        better |= (_largest(force) < CALMER * _largest(state.force)) & (
            energy < state.energy + ROUGH
        )
        lost = status != RUNNING  # says nothing about the energy: the place before is kept
        taken = _learned(state, energy, force, accept=better & ~lost)
        residual = _largest(taken.force)
        status = jnp.where(~lost & (residual <= goal.tolerance), Status.CONVERGED, status)
        last = (status == RUNNING) & (state.steps + 1 >= goal.steps)
        status = jnp.where(last, Status.MAX_STEPS, status)
        return taken._replace(
            trial=taken.place + _direction(taken),
            steps=state.steps + 1,
            status=status.astype(jnp.int32),
        )

    number = lambda value: jnp.full((), value, graph.positions.dtype)  # noqa: E731
    history = jnp.zeros((MEMORY, *graph.positions.shape), graph.positions.dtype)
    first = _State(
        place=graph.positions,
        energy=number(jnp.inf),
        force=jnp.zeros_like(graph.positions),
        trial=graph.positions,
        reach=number(REACH),
        moves=history,
        changes=history,
        inverse=jnp.zeros(MEMORY, graph.positions.dtype),
        stiff=number(STIFF),
        steps=jnp.zeros((), jnp.int32),
        status=jnp.full((), RUNNING, jnp.int32),
    )
    end = jax.lax.while_loop(lambda state: state.status == RUNNING, step, first)
    found = jnp.isfinite(end.energy)
    residual = jnp.where(found, _largest(end.force), jnp.inf)
    return Relaxed(end.place, end.energy, residual, end.steps, end.status)


def _learned(state: _State, energy: Array, force: Array, *, accept: Array) -> _State:
    """The state after looking at its trial: taken, or rejected with a shorter reach."""
    move, change = state.trial - state.place, state.force - force
    curvature = (move * change).sum()
    known = accept & jnp.isfinite(state.energy)
    useful = known & (curvature > 1e-10 * (move**2).sum())
    # A trial that is no better, or a curvature that is not positive, makes the memory worthless.
    keep = (accept & (useful | ~known)).astype(move.dtype)
    inverse = jnp.where(useful, 1 / jnp.where(useful, curvature, 1.0), 0.0)

    def pushed(values: Array, new: Array) -> Array:
        return jnp.where(useful, jnp.concatenate([values[1:], new[None]]), values)

    length = _largest(move)
    reach = jnp.where(accept, jnp.minimum(2 * state.reach, REACH), 0.25 * length)
    return state._replace(
        place=jnp.where(accept, state.trial, state.place),
        energy=jnp.where(accept, energy, state.energy),
        force=jnp.where(accept, force, state.force),
        reach=reach,
        moves=pushed(state.moves, move),
        changes=pushed(state.changes, change),
        inverse=keep * pushed(state.inverse, inverse),
        # Where the surface is curved downwards every step along the force is too short.
        stiff=jnp.where(accept & known & ~useful, SOFTER * state.stiff, STIFF),
    )


def _direction(state: _State) -> Array:
    """The quasi-Newton step; without a memory one along the force. None is longer than reach."""

    def back(q: Array, pair: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        move, change, inverse = pair
        amount = inverse * (move * q).sum()
        return q - amount * change, amount

    def forth(z: Array, pair: tuple[Array, Array, Array, Array]) -> tuple[Array, None]:
        move, change, inverse, amount = pair
        return z + (amount - inverse * (change * z).sum()) * move, None

    pairs = (state.moves, state.changes, state.inverse)
    newest = (state.changes[-1] ** 2).sum() * state.inverse[-1]
    curvature = jnp.where(newest > 0, newest, state.stiff)
    q, amounts = jax.lax.scan(back, state.force, pairs, reverse=True)
    step, _ = jax.lax.scan(forth, q / curvature, (*pairs, amounts))
    longest = _largest(step)
    return step * jnp.minimum(1.0, state.reach / jnp.where(longest > 0, longest, 1.0))


def _largest(rows: Float[Array, "atoms 3"]) -> Float[Array, ""]:
    """Largest norm of a row."""
    return jnp.sqrt((rows**2).sum(axis=-1).max())


def _noise(energy: Array) -> Array:
    """How far an energy may rise without being higher, eV."""
    return jnp.maximum(1e-10, 16 * jnp.finfo(energy.dtype).eps * jnp.abs(energy))


def relax_all(
    potential: Potential,
    start: Start,
    allowed: Freedom,
    goal: Goal,
    *,
    limits: Limits,
) -> Relaxed:
    """Relax structures along the leading axis of ``start``; pure."""
    return mapped(lambda one: relax(potential, one, allowed, goal, limits=limits), start)


def relaxed_energies(
    potential: Potential,
    start: Start,
    allowed: Freedom,
    goal: Goal,
    *,
    limits: Limits,
) -> tuple[Float[Array, "images"], Relaxed]:
    """Energies of relaxed structures, eV, differentiable by the parameters; pure.

    The places are held fixed in the derivative, which is exact where forces on what is free vanish.
    """
    found = relax_all(jax.lax.stop_gradient(potential), start, allowed, goal, limits=limits)
    found = jax.lax.stop_gradient(found)

    def single(one: tuple[Graph, Array]) -> Array:
        here, _ = skins.prune(one[0]._replace(positions=one[1]), limits.cutoff, limits.slots)
        return derivatives.energies(potential, here)[0]

    return mapped(single, (start.graph, found.positions)), found


class Faces(NamedTuple):
    """The layers on both sides of a gap."""

    lower: Bool[Array, "atoms"]
    upper: Bool[Array, "atoms"]
    lift: Float[Array, "atoms"]  # Å along the normal that put the upper over the lower
    normal: Float[Array, "3"]


def faces(along: Slider) -> Faces:
    """The layers whose distance is reported."""
    sides = (along.lower, along.upper, along.lift, along.normal)
    return Faces(*map(jnp.asarray, sides))


def interlayer_distance(sides: Faces, positions: Float[Array, "atoms 3"]) -> Float[Array, ""]:
    """From the highest atom of the lower layer to the lowest of the upper one, Å."""
    heights = positions @ sides.normal + sides.lift
    lowest = jnp.where(sides.upper, heights, jnp.inf).min()
    return lowest - jnp.where(sides.lower, heights, -jnp.inf).max()


def _widened(graph: Graph, slots: int) -> Graph:
    """The graph with more, empty slots."""
    atoms, own = graph.neighbors.shape
    more = slots - own
    if not more:
        return graph
    atom, slot = np.divmod(np.asarray(graph.reverse), own)
    index = np.arange(atoms, dtype=np.int32)[:, None]
    empty = index * slots + np.arange(own, slots, dtype=np.int32)
    return graph._replace(
        neighbors=np.concatenate([graph.neighbors, np.repeat(index, more, axis=1)], axis=1),
        shifts=np.pad(graph.shifts, ((0, 0), (0, more), (0, 0))),
        reverse=np.concatenate([(atom * slots + slot).astype(np.int32), empty], axis=1),
        edge_mask=np.pad(graph.edge_mask, ((0, 0), (0, more))),
    )
