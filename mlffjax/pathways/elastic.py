"""Relaxed barriers: elastic bands brought to minimum-energy paths, many at a time.

``relax_bands`` relaxes the ends, then the band, diagnoses what fails and tries once more, gentler,
before it gives a potential up. A number is called a barrier only if the band is converged.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlffjax.errors import InputError
from mlffjax.pathways import interpolate, monitor, optimizers, relax
from mlffjax.pathways.bands import Band
from mlffjax.pathways.descent import Setup
from mlffjax.pathways.driver import CHUNK, Finished, Job, run
from mlffjax.pathways.outcome import Attempt, Outcome, converged_outcome, failed_outcome
from mlffjax.pathways.settings import (
    Elastic,
    Relaxation,
    knobs_of_bands,
    knobs_of_structures,
)
from mlffjax.potential.base import Potential

COLLAPSED = 0.2  # ends whose distance shrinks below this part of what it was are one minimum
GENTLER = 0.25  # by this factor are steps shortened in the second try
RETRIED = ("exploded", "detached")


class _Rung(NamedTuple):
    """One way to try."""

    name: str
    idpp: bool
    max_step: float
    relaxes_ends: bool
    optimizer: optimizers.Kind


class _Case(NamedTuple):
    """One band with one potential."""

    band: Band
    which: int


class _Ends(NamedTuple):
    """The ends of a case after their relaxation, or why there are none."""

    first: np.ndarray
    last: np.ndarray
    status: str
    reason: str
    code: int
    iterations: int


def relax_bands(
    potentials: Sequence[Potential],
    bands: Sequence[Band],
    settings: Elastic | None = None,
    *,
    committee: Potential | None = None,
    batch_size: int | None = None,
) -> list[list[Outcome]]:
    """Relax every band with every potential.

    Args:
        potentials: of one model.
        bands: of any sizes.
        settings: see ``Elastic``.
        committee: a stack of potentials of the same model; the spread of their forces along the
            relaxation is traced.
        batch_size: bands advanced at once; by default one on a CPU, many on an accelerator.

    Returns:
        For every band, one outcome for every potential.

    Raises:
        InputError: ``grow_to`` is below the number of images of a band, or positions that cannot
            be used.
        CompatibilityError: an element that is not known, or potentials of different models.
        ConfigError: JAX is not set to 64 bits.
    """
    count = len(potentials)
    pairs = [(band, which) for band in bands for which in range(count)]
    finished = relax_pairs(potentials, pairs, settings, committee=committee, batch_size=batch_size)
    return [finished[first : first + count] for first in range(0, len(finished), count)]


def relax_pairs(
    potentials: Sequence[Potential],
    pairs: Sequence[tuple[Band, int]],
    settings: Elastic | None = None,
    *,
    committee: Potential | None = None,
    batch_size: int | None = None,
) -> list[Outcome]:
    """Relax chosen bands with chosen potentials, all in one go.

    Args:
        potentials: of one model.
        pairs: a band and the index of the potential it is relaxed with.
        settings: see ``Elastic``.
        committee: as ``relax_bands``.
        batch_size: as ``relax_bands``.

    Returns:
        One outcome for every pair.

    Raises:
        InputError: as ``relax_bands``.
        CompatibilityError: as ``relax_bands``.
        ConfigError: as ``relax_bands``.
    """
    settings = settings or Elastic()
    cases = [_Case(*pair) for pair in pairs]
    _check_growth(settings, cases)
    return _Engine(potentials, settings, committee, batch_size).run(cases)


def _check_growth(settings: Elastic, cases: Sequence[_Case]) -> None:
    most = max((len(case.band.positions) for case in cases), default=0)
    if settings.grow_to is not None and settings.grow_to < most:
        raise InputError(
            f"expected grow_to of at least the {most} images of the longest band, got "
            f"{settings.grow_to}"
        )


def _ladder(settings: Elastic) -> list[_Rung]:
    """The first try and, cumulatively, what is changed after an explosion."""
    relaxes = settings.endpoints == "relax"
    first = _Rung("as asked", False, settings.max_step, relaxes, settings.optimizer)
    if not settings.retry:
        return [first]
    idpp = first._replace(name="idpp", idpp=True)
    gentle = idpp._replace(name="smaller steps", max_step=GENTLER * settings.max_step)
    if settings.optimizer != "ode12r":  # the most robust
        gentle = gentle._replace(optimizer="ode12r")
    if relaxes:
        return [first, idpp, gentle]
    return [first, idpp, gentle, gentle._replace(name="relaxed ends", relaxes_ends=True)]


def _told(outcome: Outcome, attempts: Sequence[Attempt]) -> Outcome:
    """The outcome with the history that led to it."""
    cause = ""
    if outcome.status in RETRIED or len(attempts) > 1:
        cured = outcome.status in ("converged", "endpoint_collapsed")
        cause = monitor.cause(outcome.code, [a.name for a in attempts[1:]], cured=cured)
    return outcome.told(cause, tuple(attempts))


class _Engine:
    """What all attempts share."""

    def __init__(
        self,
        potentials: Sequence[Potential],
        settings: Elastic,
        committee: Potential | None,
        batch_size: int | None,
    ) -> None:
        self._potentials, self._settings = potentials, settings
        self._committee, self._batch_size = committee, batch_size

    def run(self, cases: Sequence[_Case]) -> list[Outcome]:
        """Up the ladder: explosions are answered by gentler tries, restlessness by damping."""
        attempts: list[list[Attempt]] = [[] for _ in cases]
        outcomes: dict[int, Outcome] = {}
        reached: dict[int, _Rung] = {}

        def attempt(numbers: Sequence[int], rung: _Rung) -> None:
            results = self._attempt([cases[number] for number in numbers], rung)
            for number, found in zip(numbers, results, strict=True):
                attempts[number].append(
                    Attempt(rung.name, found.status, found.reason, found.iterations, found.traces)
                )
                outcomes[number], reached[number] = found, rung

        pending = list(range(len(cases)))
        for rung in _ladder(self._settings):
            attempt(pending, rung)
            pending = [number for number in pending if outcomes[number].status in RETRIED]
            if not pending:
                break
        for rung in set(reached.values()):
            restless = [
                n for n in reached if reached[n] == rung and self._is_restless(outcomes[n], rung)
            ]
            if restless:
                attempt(restless, rung._replace(name="overdamped", optimizer="ode12r"))
        return [_told(outcomes[number], attempts[number]) for number in range(len(cases))]

    def _is_restless(self, outcome: Outcome, rung: _Rung) -> bool:
        """Whether a band, not its ends, ran out of steps with an optimiser that may overshoot."""
        may_help = self._settings.retry and rung.optimizer != "ode12r"
        return may_help and outcome.status == "max_steps" and outcome.traces is not None

    def _attempt(self, cases: Sequence[_Case], rung: _Rung) -> list[Outcome]:
        """Try all cases in one way."""
        ends = self._ends(cases, rung)
        outcomes: dict[int, Outcome] = {}
        starts: dict[int, np.ndarray] = {}
        for index, (case, end) in enumerate(zip(cases, ends, strict=True)):
            if end.status != "converged":
                outcomes[index] = failed_outcome(
                    case.band, end.status, end.reason, end.code, end.iterations
                )
            else:
                starts[index] = _start(case.band, end, rung)
        if starts:
            relaxed = self._bands([cases[k] for k in starts], list(starts.values()), rung)
            shifts = [_shift(cases[k].band, ends[k]) for k in starts]
            for k, found, shift in zip(starts, relaxed, shifts, strict=True):
                outcomes[k] = _outcome(cases[k].band, found, shift, self._settings)
        return [outcomes[index] for index in range(len(cases))]

    def _ends(self, cases: Sequence[_Case], rung: _Rung) -> list[_Ends]:
        if not rung.relaxes_ends:
            return [
                _Ends(c.band.positions[0], c.band.positions[-1], "converged", "", 0, 0)
                for c in cases
            ]
        settings = self._settings
        wanted = Relaxation(
            fmax=settings.endpoint_fmax, max_steps=settings.endpoint_steps,
            max_step=rung.max_step, skin=settings.skin, bounds=settings.bounds,
        )  # fmt: skip
        setup = Setup(wanted.optimizer, 0, CHUNK, wanted.skin, elastic=False)
        jobs = [_job(case, case.band.positions[[image]]) for case in cases for image in (0, -1)]
        found = run(
            self._potentials, jobs, setup, knobs_of_structures(wanted), batch_size=self._batch_size
        )
        pairs = zip(cases, found[::2], found[1::2], strict=True)
        return [_judged(case.band, first, last) for case, first, last in pairs]

    def _bands(
        self, cases: Sequence[_Case], starts: Sequence[np.ndarray], rung: _Rung
    ) -> list[Finished]:
        settings = self._settings
        if settings.grow_to is None:
            return self._run(cases, starts, rung, climb=settings.climb, fmax=settings.fmax)
        rough = max(settings.fmax, settings.climb_below)
        first = self._run(cases, starts, rung, climb=False, fmax=rough)
        good = [k for k, found in enumerate(first) if relax.verdict(found)[0] == "converged"]
        grown = []
        for k in good:
            extra = settings.grow_to - len(first[k].positions)
            grown.append(
                interpolate.inserted(
                    first[k].positions, np.asarray(first[k].state.good.energies), extra
                )
            )
        again = [cases[k] for k in good]
        second = self._run(again, grown, rung, climb=settings.climb, fmax=settings.fmax)
        return [second[good.index(k)] if k in good else found for k, found in enumerate(first)]

    def _run(
        self,
        cases: Sequence[_Case],
        starts: Sequence[np.ndarray],
        rung: _Rung,
        *,
        climb: bool,
        fmax: float,
    ) -> list[Finished]:
        settings = self._settings
        setup = Setup(rung.optimizer, 0, CHUNK, settings.skin, elastic=True)
        knobs = knobs_of_bands(settings, max_step=rung.max_step, climb=climb, fmax=fmax)
        jobs = [_job(case, start) for case, start in zip(cases, starts, strict=True)]
        return run(
            self._potentials, jobs, setup, knobs,
            batch_size=self._batch_size, committee=self._committee,
        )  # fmt: skip


def _job(case: _Case, places: np.ndarray) -> Job:
    band = case.band
    return Job(
        places, band.numbers, band.cell, band.pbc, band.fixed, band.layers,
        np.zeros((3, 3, 3, 3)), case.which,
    )  # fmt: skip


def _judged(band: Band, first: Finished, last: Finished) -> _Ends:
    """Whether the ends are two minima."""
    places = first.positions[0], last.positions[0]
    steps = int(first.state.steps), int(last.state.steps)
    for name, found in (("first", first), ("last", last)):
        status, reason = relax.verdict(found)
        if status != "converged":
            code = int(found.state.finding.code)
            return _Ends(*places, status, f"{name} end: {reason}", code, sum(steps))
    before = np.linalg.norm(band.positions[-1] - band.positions[0], axis=-1).max()
    apart = places[1] - places[0]
    if len(apart) > 1:  # relaxing keeps the centre of mass, so copies of one minimum may be shifted
        apart = apart - apart.mean(axis=0)
    after = np.linalg.norm(apart, axis=-1).max()
    if after < COLLAPSED * before:
        reason = (
            f"the ends relax into one minimum: no atom is more than {after:.2f} Å from its place "
            f"in the other end, {before:.2f} Å before; the potential has no barrier between them"
        )
        return _Ends(*places, "endpoint_collapsed", reason, 0, sum(steps))
    return _Ends(*places, "converged", "", 0, sum(steps))


def _start(band: Band, ends: _Ends, rung: _Rung) -> np.ndarray:
    """Images to begin with, between the given ends."""
    places = interpolate.with_ends(band.positions, ends.first, ends.last)
    if not rung.idpp:
        return places
    straight = interpolate.linear(ends.first, ends.last - ends.first, len(places))
    return interpolate.idpp(straight, band.cell, band.pbc, np.flatnonzero(band.fixed).tolist())


def _shift(band: Band, ends: _Ends) -> np.ndarray:
    """How far the atom that moved most went when each end was relaxed, Å."""
    moved = np.stack([ends.first - band.positions[0], ends.last - band.positions[-1]])
    return np.linalg.norm(moved, axis=-1).max(axis=-1)


def _outcome(band: Band, found: Finished, shift: np.ndarray, settings: Elastic) -> Outcome:
    status, reason = relax.verdict(found)
    band = band._replace(positions=found.positions)
    if status == "converged":
        return converged_outcome(band, found, shift, end_fmax=settings.endpoint_fmax)
    code = int(found.state.finding.code) if status in RETRIED else 0
    return failed_outcome(
        band, status, reason, code, int(found.state.steps), found=found, shift=shift
    )
