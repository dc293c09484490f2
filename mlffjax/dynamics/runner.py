"""The host's side of a run: lists of neighbours, shapes, samples taken off the device."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlffjax.dynamics import loop, neighborhood
from mlffjax.dynamics.channels import Channel
from mlffjax.dynamics.loop import RUNNING, Buffers, Lane, Program, Task
from mlffjax.dynamics.neighborhood import Neighborhood
from mlffjax.dynamics.preparation import Setup, check_apart
from mlffjax.dynamics.state import State
from mlffjax.structures.system import System

BUFFER_BYTES = 4_000_000
"""Largest size of the buffer of one channel."""
ROWS = (4, 512)
"""Fewest and most samples of a channel per visit of the host."""
APPROACH = 0.1
"""Å by which neighbours beyond the cutoff are counted in before anything has moved."""
SLOT_STEP = 2
"""Slots are rounded up to a multiple of this. Time is proportional to slots, so there is no other
room: a more crowded atom than ever before costs one compilation."""

Take = Callable[[Channel, int, np.ndarray], None]
"""Is given a channel, the number of the first sample, and samples with all lanes."""


class Runner:
    """Lanes in motion; ``lane`` and ``near`` are what the device works on."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self.single = setup.lanes == 1 and setup.models is None
        self.rebuilds = self.growths = self.step = 0
        self.slots = 0
        self.wide = 0
        self.lane: Any = None
        self.near: Any = None
        self._program: Any = None
        self._task: Any = None
        self._channels: list[Channel] = []
        self._buffers: Any = None
        self._taken: dict[str, int] = {}

    def start(self) -> None:
        """Lists and forces at the first positions.

        Raises:
            InputError: atoms are on top of each other.
        """
        setup = self._setup
        made = [self._made(system) for system in setup.systems]
        for (near, _), system in zip(made, setup.systems, strict=True):
            check_apart(near, system.numbers, setup.config.limits.contact)
        self.slots = max(_rounded(crowd) for _, crowd in made)
        self.near = self._together([near for near, _ in made])
        states = [self._initial(index) for index in range(setup.lanes)]
        state = states[0] if self.single else jax.tree.map(lambda *x: np.stack(x), *states)
        self._set_stage(0, {})
        while True:
            self.lane = loop.start(*self._for_start(), self.near, state)
            if not self._grow():
                break

    def shapes(self, index: int) -> dict[str, tuple[int, ...]]:
        """Every channel that a stage could store, with the shape of a sample of one lane."""
        stage = self._setup.config.stages[index][1]
        state = _first(self.lane.state) if not self.single else self.lane.state
        shapes = loop.channel_shapes(state, self._setup.periodic, stage.ensemble.changes_cell)
        if index == len(self._setup.config.stages) - 1:
            shapes |= {name: self._observed(name) for name in self._setup.observers}
        return shapes

    def begin(self, index: int, channels: list[Channel]) -> None:
        """Enter a stage from complete states; the samples of step 0 wait in the buffers."""
        if index:
            self._fit()
        self.enter(index, channels, None)
        alive = np.asarray(self.lane.code) == RUNNING
        before = self.lane
        self.lane, self._buffers = loop.begin(
            self._program, self._task, self.near, self.lane, self._buffers, np.int64(index)
        )
        if not alive.all():  # a lane that was stopped stays what it was, but for its bath's shape
            bath = self.lane.state.bath
            kept = before._replace(
                state=before.state._replace(bath=bath), moved=before.moved._replace(bath=bath)
            )
            self.lane = jax.tree.map(functools.partial(_choose, alive), self.lane, kept)

    def enter(self, index: int, channels: list[Channel], after_step: int | None) -> None:
        """Prepare for a stage whose states, lists and slots are known.

        Samples up to a step have been handed over before; None: not even that of step 0.
        """
        self._channels = channels
        self._set_stage(index, {each.name: each.every for each in channels})
        self._buffers = self._empty()
        done = -1 if after_step is None else after_step
        self._taken = {each.name: done // each.every + 1 for each in channels}
        self.step = max(done, 0)

    @property
    def running(self) -> bool:
        """Whether any lane is left."""
        return bool((np.asarray(self.lane.code) == RUNNING).any())

    def advance(self, until: int, take: Take) -> None:
        """Go on to a step of the stage, or until no lane is left; hand over all samples."""
        while self.step < until and self.running:
            self.lane, self._buffers, step = loop.advance(
                self._program,
                self._task,
                self.near,
                self.lane,
                self._buffers,
                np.int64(self.step),
                np.int64(until),
            )
            self.step = int(step)
            if any(self._full().values()):
                self._drain(take)
            self._grow()
            self._renew()
        self._drain(take)

    def system(self, lane: int) -> System:
        """A lane's last good structure."""
        state = self.state(lane)
        return self._setup.systems[lane]._replace(
            positions=np.array(state.positions), cell=np.array(state.cell)
        )

    def state(self, lane: int) -> State:
        """A lane's last good state, on the host."""
        state = jax.device_get(self.lane.state)
        return state if self.single else jax.tree.map(lambda leaf: leaf[lane], state)

    def template(self, index: int) -> tuple[Lane, Neighborhood]:
        """Shapes and types of ``lane`` and ``near`` in a stage; nothing is computed.

        Before the first stage states have no bath.
        """
        setup = self._setup
        near = self._together([self._made(system)[0] for system in setup.systems])
        states = [self._initial(lane) for lane in range(setup.lanes)]
        state = states[0] if self.single else jax.tree.map(lambda *x: np.stack(x), *states)
        self._set_stage(max(index, 0), {})
        program, task = self._for_start()
        lane = jax.eval_shape(functools.partial(loop.start, program), task, near, state)
        if index >= 0:
            lane, _ = jax.eval_shape(
                functools.partial(loop.begin, self._program),
                self._task,
                near,
                lane,
                Buffers({}, {}),
                np.int64(0),
            )
        return lane, near

    def put(self, lane: Lane, near: Neighborhood) -> None:
        """Take over what a checkpoint held."""
        self.lane, self.near = jax.device_put(lane), jax.device_put(near)

    def _made(self, system: System) -> tuple[Neighborhood, int]:
        setup = self._setup
        return neighborhood.build(
            system,
            setup.species,
            float(setup.potential.cutoff),
            setup.config.skin,
            radius=float(setup.potential.cutoff) + min(APPROACH, setup.config.skin),
            slots=self.wide,
            dtype=setup.dtype,
        )

    def _together(self, made: list[Neighborhood]) -> Neighborhood:
        """Lists of all lanes with equally many slots, on the device."""
        self.wide = max(self.wide, *(near.graph.neighbors.shape[1] for near in made))
        made = [neighborhood.widened(near, self.wide) for near in made]
        if self.single:
            return jax.device_put(made[0])
        return jax.device_put(jax.tree.map(lambda *leaves: np.stack(leaves), *made))

    def _initial(self, lane: int) -> State:
        """Without forces, energy and bath."""
        setup = self._setup
        system = setup.systems[lane]
        key = jax.random.fold_in(jax.random.key(setup.config.seed), setup.replica(lane))
        zero = jnp.zeros(())
        return State(
            step=jnp.zeros((), jnp.int64),
            positions=jnp.asarray(system.positions),
            velocities=jnp.asarray(setup.velocities[lane]),
            forces=jnp.zeros(system.positions.shape),
            cell=jnp.asarray(system.cell),
            energy=zero,
            virial=jnp.zeros((3, 3)),
            bath=(),
            supplied=zero,
            key=jax.random.key_data(key),
        )

    def _set_stage(self, index: int, every: dict[str, int]) -> None:
        stage = self._setup.config.stages[index][1]
        last = index == len(self._setup.config.stages) - 1 and bool(every)
        self._program = self._setup.program(stage, self.slots, last=last)
        self._task = jax.device_put(self._setup.task(stage, every))

    def _for_start(self) -> tuple[Program, Task]:
        """Without what differs between ensembles, so that one compilation serves all."""
        return self._program._replace(ensemble=None), self._task._replace(parameters=())

    def _observed(self, name: str) -> tuple[int, ...]:
        """Shape of what an observer returns for one lane."""
        setup = self._setup
        last = len(setup.config.stages) - 1
        program = setup.program(setup.config.stages[last][1], self.slots, last=True)
        task = setup.task(setup.config.stages[last][1], {})
        shape = jax.eval_shape(
            functools.partial(loop.observed, program, name), task, self.near, self.lane.state
        ).shape
        return shape if self.single else shape[1:]

    def _empty(self) -> Buffers:
        lanes = () if self.single else (self._setup.lanes,)
        values, counts = {}, {}
        for channel in self._channels:
            size = 8 * math.prod((*lanes, *channel.shape))
            rows = int(np.clip(BUFFER_BYTES // size, *ROWS))
            values[channel.name] = jnp.zeros((rows, *lanes, *channel.shape))
            counts[channel.name] = jnp.zeros((), jnp.int32)
        return Buffers(values, counts)

    def _full(self) -> dict[str, bool]:
        counts = jax.device_get(self._buffers.counts)
        return {name: count >= len(self._buffers.values[name]) for name, count in counts.items()}

    def _drain(self, take: Take) -> None:
        """Hand over all samples and empty the buffers; values stay, as rows without meaning."""
        counts = jax.device_get(self._buffers.counts)
        for channel in self._channels:
            if count := int(counts[channel.name]):
                values = np.asarray(self._buffers.values[channel.name])[:count]
                values = values[:, None] if self.single else values
                take(channel, self._taken[channel.name], values)
                self._taken[channel.name] += count
        zeros = {name: jnp.zeros((), jnp.int32) for name in counts}
        self._buffers = self._buffers._replace(counts=zeros)

    def _grow(self) -> bool:
        """Make room if a running lane needs more slots than there are."""
        needed, codes = jax.device_get((self.lane.slots, self.lane.code))
        most = int(np.max(np.where(np.asarray(codes) == RUNNING, needed, 0)))
        if most <= self.slots:
            return False
        self.slots = _rounded(most)
        self.growths += 1
        self._program = self._program._replace(slots=self.slots)
        return True

    def _fit(self) -> None:
        """Before a new stage, which is compiled anew: as many slots as the last one called for."""
        most = int(np.max(jax.device_get(self.lane.slots)))
        self.slots = min(self.slots, _rounded(most))
        self.lane = self.lane._replace(slots=jnp.zeros_like(self.lane.slots))

    def _renew(self) -> None:
        """Make lists anew, at their next positions, for running lanes whose list is used up."""
        holds, codes = jax.device_get((self.lane.holds, self.lane.code))
        used_up = ~np.atleast_1d(holds) & (np.atleast_1d(codes) == RUNNING)
        if not used_up.any():
            return
        moved = jax.device_get(self.lane.moved)
        for lane in np.flatnonzero(used_up).tolist():
            state = moved if self.single else jax.tree.map(lambda leaf, k=lane: leaf[k], moved)
            near, _ = self._made(
                self._setup.systems[lane]._replace(
                    positions=np.array(state.positions), cell=np.array(state.cell)
                )
            )
            self._replace_list(lane, near)
            self.rebuilds += 1
        self.lane = loop.renewed(self._program, self._task, self.near, self.lane)

    def _replace_list(self, lane: int, near: Neighborhood) -> None:
        width = near.graph.neighbors.shape[1]
        if self.single:
            self.wide = max(self.wide, width)
            self.near = jax.device_put(near)
            return
        if width > self.wide:
            others = jax.device_get(self.near)
            count = self._setup.lanes
            split = [jax.tree.map(lambda leaf, k=k: leaf[k], others) for k in range(count)]
            self.near = self._together([*split[:lane], near, *split[lane + 1 :]])
            return
        self.near = _put(self.near, near, lane)


@functools.partial(jax.jit, donate_argnums=0)
def _put(lists: Neighborhood, near: Neighborhood, lane: int) -> Neighborhood:
    return jax.tree.map(lambda many, one: many.at[lane].set(one), lists, near)


def _choose(alive: np.ndarray, first: Any, second: Any) -> Any:
    return jnp.where(alive.reshape(alive.shape + (1,) * (first.ndim - 1)), first, second)


def _first(state: State) -> State:
    return jax.tree.map(lambda leaf: leaf[0], state)


def _rounded(slots: int) -> int:
    return max(-(-slots // SLOT_STEP) * SLOT_STEP, SLOT_STEP)
