"""The compiled programs of a fleet: many steps of many runs, and their predictions, in one call.

Runs lie along the leading axis of every array. A ``Crew`` lists those that are at work in blocks
of a fixed width: blocks are worked off one after the other by a loop whose length is data, the runs
of a block together by ``vmap``. So a run that has stopped costs nothing and needs no compilation.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from mlffjax import trees
from mlffjax.arrays import Array, Float, Int, PyTree
from mlffjax.potential.derivatives import energies_and_forces
from mlffjax.training.batches import Batch, gather
from mlffjax.training.leash import Leash
from mlffjax.training.optimizers import Optimizer
from mlffjax.training.pool import Draws
from mlffjax.training.step import State, step


class Crew(NamedTuple):
    """Who is at work."""

    members: Int[Array, "blocks width"]  # numbers of runs; beyond the last one for an empty lane
    blocks: Int[Array, ""]  # how many of the blocks count


class Terms(NamedTuple):
    """In what the steps of the runs differ; stacked."""

    loss: Partial
    penalty: Partial
    decay: Float[Array, "members"]  # of the weight average
    leash: Leash | None = None


def crew(active: Sequence[int], members: int, width: int) -> Crew:
    """The active ones out of so many members, ``width`` to a block."""
    lanes = np.full(-(-members // width) * width, members, np.int32)
    lanes[: len(active)] = active
    blocks = -(-len(active) // width)
    return Crew(jnp.asarray(lanes.reshape(-1, width)), jnp.asarray(blocks, jnp.int32))


@functools.partial(jax.jit, static_argnames="optimizer", donate_argnames="states")
def advance(
    states: State,
    working: Crew,
    draws: Draws,
    terms: Terms,
    rates: Float[Array, "members"],
    pool: tuple[Batch, ...],
    first: Int[Array, ""],
    last: Int[Array, ""],
    *,
    optimizer: Optimizer,
) -> State:
    """Steps ``first`` to ``last`` (excluded) of an epoch for all that are at work.

    Args:
        states: stacked; used up.
        working: who takes these steps; the others stay as they are.
        draws: of the whole epoch; a run with fewer steps than ``last`` takes those it has.
        terms: loss, penalty, decay and leash of each run.
        rates: learning rates.
        pool: rows of the buckets that ``draws`` refer to. More than one bucket needs blocks of
            width one, for the runs of a block do the same at the same time.
        first: number of the first step.
        last: number after the last step.
        optimizer: shared by all runs.
    """
    total, width = rates.shape[0], working.members.shape[1]

    def lane(bucket: Batch, state: State, rows: Array, own: Terms, rate: Array) -> State:
        new = step(
            state,
            gather(bucket, rows),
            loss=own.loss,
            penalty=own.penalty,
            rate=rate,
            decay=own.decay,
            optimizer=optimizer,
            leash=own.leash,
        )
        return jax.tree.map(lambda made, old: made.astype(old.dtype), new, state)

    def block(number: Array, states: State) -> State:
        who = working.members[number]
        state, mine, own, rate = _taken((states, draws, terms, rates), who)
        steps = jnp.minimum(jnp.where(who < total, mine.steps, 0), last)

        def one(number: Array, state: State) -> State:
            rows = mine.rows[:, number]
            branches = [_across(functools.partial(lane, bucket), width) for bucket in pool]
            new = jax.lax.switch(mine.bucket[0, number], branches, state, rows, own, rate)
            # A single lane is never here after its last step.
            return new if width == 1 else _where(number < steps, new, state)

        return _put(states, who, jax.lax.fori_loop(first, steps.max(), one, state))

    return jax.lax.fori_loop(0, working.blocks, block, states)


@jax.jit
def predictions(
    averages: PyTree,
    working: Crew,
    draws: tuple[Draws, ...],
    realize: Partial,
    pool: tuple[Batch, ...],
) -> tuple[tuple[Array, Array], ...]:
    """Energies and forces by those at work, for all structures of every bucket.

    Args:
        averages: stacked weights.
        working: who predicts; the results of the others mean nothing.
        draws: for every bucket, all its structures in order.
        realize: weights -> potential, stacked.
        pool: rows of the buckets.

    Returns:
        For every bucket energies [members, steps, batch], eV, and forces
        [members, steps, batch * atoms, 3], eV/Å.
    """
    width = working.members.shape[1]

    def block(number: Array, made: tuple[tuple[Array, Array], ...]) -> Any:
        who = working.members[number]
        average, own = _taken((averages, realize), who)
        dtype = pool[0].energy.dtype
        build = _across(lambda own, average: trees.cast(own(average), dtype), width)
        potentials = build(own, average)

        def bucket(rows: Batch, all_draws: Draws, made: tuple[Array, Array]) -> Any:
            mine = _taken(all_draws, who)

            def lane(potential: Any, rows_now: Array) -> tuple[Array, Array]:
                return energies_and_forces(potential, gather(rows, rows_now).graph)

            def one(number: Array, made: tuple[Array, Array]) -> tuple[Array, Array]:
                new = _across(lane, width)(potentials, mine.rows[:, number])
                return jax.tree.map(
                    lambda old, part: old.at[who, number].set(part, mode="drop"), made, new
                )

            return jax.lax.fori_loop(0, mine.steps.max(), one, made)

        return tuple(map(bucket, pool, draws, made))

    empty = tuple(map(_room, pool, draws))
    return jax.lax.fori_loop(0, working.blocks, block, empty)


def _room(rows: Batch, draws: Draws) -> tuple[Array, Array]:
    """Zeros for the predictions of a bucket."""
    members, steps, batch = draws.rows.shape
    atoms, dtype = rows.graph.positions.shape[1], rows.energy.dtype
    return (
        jnp.zeros((members, steps, batch), dtype),
        jnp.zeros((members, steps, batch * atoms, 3), dtype),
    )


def _across(function: Callable[..., Any], width: int) -> Callable[..., Any]:
    """Over the lanes of a block. A single one is computed without the axis, which is quicker."""
    if width > 1:
        return jax.vmap(function)

    def alone(*trees_: PyTree) -> Any:
        outcome = function(*jax.tree.map(lambda leaf: leaf[0], trees_))
        return jax.tree.map(lambda leaf: leaf[None], outcome)

    return alone


def _taken(tree: PyTree, who: Int[Array, "width"]) -> Any:
    """Rows of the leading axis; empty lanes get some row, which nobody reads."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf).at[who].get(mode="clip"), tree)


def _put(tree: State, who: Int[Array, "width"], rows: State) -> State:
    """Rows back where they came from; those of empty lanes go nowhere."""
    return jax.tree.map(lambda leaf, row: leaf.at[who].set(row, mode="drop"), tree, rows)


def _where(keep: Array, new: State, old: State) -> State:
    def choose(first: Array, second: Array) -> Array:
        return jnp.where(keep.reshape(-1, *(1,) * (first.ndim - 1)), first, second)

    return jax.tree.map(choose, new, old)
