"""Relaxing any number of bands or structures: the host's side of ``descent``.

Jobs wait in a queue for one of a few lanes, so memory is bounded whatever their number; a lane that
is done takes the next job. On a CPU there is one lane, on an accelerator many are advanced at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import numpy as np

from mlffjax import trees
from mlffjax.errors import ConfigError
from mlffjax.graphs.batching import species_of
from mlffjax.graphs.skin import SkinList
from mlffjax.pathways import descent, mapping
from mlffjax.pathways.descent import Knobs, Problem, Setup, State, Traces
from mlffjax.pathways.listing import Room, listed, stacked
from mlffjax.potential.base import Potential
from mlffjax.structures.geometry import radii
from mlffjax.structures.system import System

CHUNK = 200  # iterations between two looks of the host, at most
RENEW = 0.25  # lists with less than this part of their skin left are renewed along with stale ones
ROOT = 1e-9  # Å; shorter vectors are none


class Job(NamedTuple):
    """One band or structure to be relaxed with one potential."""

    places: np.ndarray  # f8 [images, atoms, 3], Å
    numbers: np.ndarray  # i [atoms]
    cell: np.ndarray  # f8 [3, 3], Å
    pbc: np.ndarray  # bool [3]
    fixed: np.ndarray  # bool [atoms]
    layers: np.ndarray  # i [atoms], -1 for atoms of no layer
    strains: np.ndarray  # f8 [3, 3, 3, 3], see ``descent.Problem``
    which: int  # index into the potentials


class Finished(NamedTuple):
    """How a job ended; arrays at the true sizes of the job."""

    state: State
    traces: Traces
    positions: np.ndarray  # f8 [images, atoms, 3], Å, of the last sound place
    cell: np.ndarray  # f8 [3, 3], Å


@dataclass
class _Lane:
    """A job at work."""

    number: int
    job: Job
    problem: Problem
    state: State
    lists: tuple[SkinList, ...] = ()
    rows: list[Traces] = field(default_factory=list)


def run(
    potentials: Sequence[Potential],
    jobs: Sequence[Job],
    setup: Setup,
    knobs: Knobs,
    *,
    batch_size: int | None = None,
    committee: Potential | None = None,
) -> list[Finished]:
    """Relax all jobs; results in their order.

    Args:
        potentials: of one model; ``Job.which`` says which one a job uses.
        jobs: any number.
        setup: static choices; its slots are found here.
        knobs: numbers, the same for all jobs.
        batch_size: how many are advanced at once; by default as the device prefers.
        committee: a stack whose disagreement is traced.

    Raises:
        ConfigError: JAX is not set to 64 bits.
        CompatibilityError: potentials of different models, or an element that is not known.
        InputError: positions that are not finite, or a degenerate cell.
    """
    if jax.dtypes.canonicalize_dtype(np.float64) != np.float64:
        raise ConfigError(
            "relaxations need JAX's 64-bit numbers, which are off; call "
            "jax.config.update('jax_enable_x64', True) before anything else or set JAX_ENABLE_X64=1"
        )
    stack = jax.device_put(trees.cast(trees.stack(list(potentials)), np.float64))
    if committee is not None:
        committee = jax.device_put(trees.cast(committee, np.float64))
    done: dict[int, Finished] = {}
    for group in mapping.alike([len(job.numbers) for job in jobs]):
        engine = _Engine(stack, committee, setup, knobs, [jobs[number] for number in group])
        found = engine.run(batch_size)
        done |= dict(zip(group, found, strict=True))
    return [done[number] for number in range(len(jobs))]


class _Engine:
    """Jobs of one shape on their way through the lanes."""

    def __init__(
        self,
        potentials: Potential,
        committee: Potential | None,
        setup: Setup,
        knobs: Knobs,
        jobs: Sequence[Job],
    ) -> None:
        self._potentials, self._committee = potentials, committee
        self._setup, self._knobs = setup, knobs
        self._jobs = jobs
        self._images = max(len(job.places) for job in jobs)
        self._atoms = max(len(job.numbers) for job in jobs)
        self._layers = max(int(job.layers.max(initial=-1)) + 1 for job in jobs)
        self._room = Room()

    def run(self, batch_size: int | None) -> list[Finished]:
        """Work until all jobs are done."""
        lanes = mapping.lanes(len(self._jobs) * self._images)
        width = batch_size or max(lanes // self._images, 1)
        width = min(width, len(self._jobs))
        waiting = list(range(len(self._jobs)))[::-1]
        done: dict[int, Finished] = {}
        at_work: list[_Lane] = []
        while waiting or at_work:
            while waiting and len(at_work) < width:
                at_work.append(self._begin(waiting.pop()))
            self._advance(at_work, width)
            for lane in at_work:
                if lane.state.status != descent.RUNNING:
                    done[lane.number] = self._end(lane)
            at_work = [lane for lane in at_work if lane.number not in done]
        return [done[number] for number in range(len(self._jobs))]

    def _begin(self, number: int) -> _Lane:
        job = self._jobs[number]
        setup = self._setup
        problem = self._problem(job)
        images, atoms = len(job.places), len(job.numbers)
        start = np.zeros((self._images, self._atoms, 3))
        start[:images, :atoms] = job.places
        start[images:] = start[images - 1]
        if setup.strained:
            identity = np.tile(np.eye(3) * problem.scale, (self._images, 1, 1))
            start = np.concatenate([start, identity], axis=1)
        state = jax.device_get(descent.init(setup, problem, jax.numpy.asarray(start)))
        return _Lane(number, job, problem, state)

    def _problem(self, job: Job) -> Problem:
        atoms, more = len(job.numbers), self._atoms - len(job.numbers)
        system = System(job.places[0], np.asarray(job.numbers, np.int32), job.cell, job.pbc)
        normal = _normal(job.cell)
        fields = {
            "species": np.pad(species_of(system, self._potentials.elements), (0, more)),
            "radii": np.pad(radii(job.numbers), (0, more), constant_values=1.0),
            "movable": np.pad(~job.fixed, (0, more)),
            "cell": np.asarray(job.cell, float),
            "count": np.int32(len(job.places)),
            "members": np.pad(job.layers, (0, more), constant_values=-1)
            == np.arange(self._layers)[:, None],
            "normal": normal,
            "lift": np.pad(_lift(job, normal), (0, more)),
            "strains": job.strains,
            "scale": np.float64(atoms),
        }
        return Problem(**fields)

    def _advance(self, at_work: Sequence[_Lane], width: int) -> None:
        """Give every lane valid lists, then let the device work on all of them."""
        for lane in at_work:
            self._renew(lane)
        for lane in at_work:
            self._room.hold(lane.lists)
        setup = self._setup.__class__(**{**self._setup.__dict__, "slots": self._room.slots})
        idle = [at_work[0]] * (width - len(at_work))
        full = [*at_work, *idle]
        states = [lane.state for lane in at_work]
        stopped = np.int32(descent.STOPPED)
        states += [lane.state._replace(status=stopped) for lane in idle]
        lists = [stacked(lane.lists, self._images, self._room) for lane in full]
        found = descent.advance(
            setup,
            self._knobs,
            self._potentials,
            self._committee,
            trees.stack([lane.problem for lane in full]),
            trees.stack(lists),
            np.array([lane.job.which for lane in full]),
            trees.stack(states),
        )
        after, traces, counts = jax.device_get(found)
        for index, lane in enumerate(at_work):
            lane.state = jax.tree.map(lambda leaf, i=index: leaf[i], after)
            count = int(counts[index])
            lane.rows.append(jax.tree.map(lambda leaf, i=index, n=count: leaf[i, :n], traces))
            self._room.grow(int(lane.state.slots))

    def _renew(self, lane: _Lane) -> None:
        """New lists for the images whose own are spent, at the place to be evaluated next."""
        images, atoms = len(lane.job.places), len(lane.job.numbers)
        left = lane.state.slack[:images]
        if lane.lists and left.min() >= 0:
            return
        positions, cells = self._configuration(lane, lane.state.trial)
        numbers = np.asarray(lane.job.numbers, np.int32)
        cutoff, skin = self._potentials.cutoff, self._setup.skin
        old = lane.lists or (None,) * images
        fresh: list[SkinList] = []
        for index, near in enumerate(old):
            if near is not None and left[index] > RENEW * skin:
                fresh.append(near)
                continue
            system = System(positions[index, :atoms], numbers, cells[index], lane.job.pbc)
            fresh.extend(listed([system], cutoff, skin, atoms=self._atoms))
        lane.lists = tuple(fresh)
        lane.state = lane.state._replace(slack=np.full_like(lane.state.slack, np.inf))

    def _configuration(
        self, lane: _Lane, place: jax.Array | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        found = descent.configuration(self._setup, lane.problem, jax.numpy.asarray(place))
        return tuple(np.asarray(part) for part in found)  # pyright: ignore[reportReturnType]

    def _end(self, lane: _Lane) -> Finished:
        images, atoms = len(lane.job.places), len(lane.job.numbers)
        positions, cells = self._configuration(lane, lane.state.good.place)
        rows = jax.tree.map(lambda *parts: np.concatenate(parts), *lane.rows)
        traces = rows._replace(energies=rows.energies[:, :images])
        good = lane.state.good
        good = good._replace(
            energies=good.energies[:images],
            forces=good.forces[:images, :atoms],
            residual=good.residual[:images],
            tangent=good.tangent[:images, :atoms],
        )
        state = lane.state._replace(good=good)
        return Finished(state, traces, positions[:images, :atoms], cells[0])


def _normal(cell: np.ndarray) -> np.ndarray:
    """Unit normal of the first two cell vectors; z if they span no plane."""
    normal = np.cross(cell[0], cell[1])
    length = np.linalg.norm(normal)
    return normal / length if length > ROOT else np.array([0.0, 0.0, 1.0])


def _lift(job: Job, normal: np.ndarray) -> np.ndarray:
    """Whole periods to be added to the heights of atoms, so that no layer is cut by the cell."""
    lift = np.zeros(len(job.numbers))
    period = abs(job.cell[2] @ normal)
    if not job.pbc[2] or period < ROOT:
        return lift
    heights = job.places[0] @ normal
    below = -np.inf
    for layer in range(int(job.layers.max(initial=-1)) + 1):
        members = np.flatnonzero(job.layers == layer)
        order = members[np.argsort(heights[members] % period)]
        places = heights[order] % period
        empty = np.diff(np.append(places, places[0] + period))
        places[: (np.argmax(empty) + 1) % len(places)] += period  # the layer begins above this
        middle = places.mean()
        places += period * np.ceil((below - middle) / period) if np.isfinite(below) else 0.0
        lift[order] = places - heights[order]
        below = places.mean()
    return lift
