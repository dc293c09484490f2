"""How far a study is, and how long it may still take."""

import time
from collections.abc import Callable
from typing import Literal, NamedTuple

Stage = Literal["plan", "train", "probe", "work", "done"]


class Event(NamedTuple):
    """What ``observe`` is told; enough for a progress bar.

    Attributes:
        stage: what is being done.
        subject: identifier of the run, or name of the probe.
        text: one line for the reader.
        done: work done so far, in frames evaluated; skipped work counts as done.
        total: all planned work.
        seconds_left: estimate from the speed so far; None while nothing has been measured.
        finished: whether the subject is finished with this event.
    """

    stage: Stage
    subject: str
    text: str
    done: float
    total: float
    seconds_left: float | None
    finished: bool


Observe = Callable[[Event], None]


class Meter:
    """Counts planned, skipped and measured work, and tells an observer.

    Units of work are frames evaluated; a training step costs about three evaluations. A run that
    stops early turns its unused work into skipped work, so the estimate falls at once.
    """

    TRAINING_COST = 3.0
    SURE = 0.01
    """Share of all work below which the time is that of compiling, and tells nothing."""

    def __init__(self, observe: Observe | None) -> None:
        self.observe = observe
        self.broken: BaseException | None = None
        """The exception that the observer raised, if it did."""
        self._planned: dict[str, float] = {}
        self._done: dict[str, float] = {}
        self._worked = 0.0
        self._start: float | None = None

    def plan(self, subject: str, work: float) -> None:
        """Announce a piece of work."""
        self._planned[subject] = work

    def skip(self, subject: str) -> None:
        """All of a piece was done before."""
        self._done[subject] = self._planned[subject]

    def tell(
        self, stage: Stage, subject: str, text: str, *, fraction: float, finished: bool = False
    ) -> None:
        """Report that a fraction of a piece is done, measuring the speed."""
        if self._start is None:
            self._start = time.monotonic()
        planned, before = self._planned.get(subject, 0.0), self._done.get(subject, 0.0)
        reached = max(before, planned * fraction)
        self._worked += reached - before
        self._done[subject] = planned if finished else reached
        self._send(stage, subject, text, finished)

    def wait(self, subject: str, holder: str) -> None:
        """Report that a run waits for the process that writes it."""
        text = f"{subject}: waits for {holder}, which writes this run"
        self.tell("train", subject, text, fraction=0.0)

    def _send(self, stage: Stage, subject: str, text: str, finished: bool) -> None:
        if self.observe is None:
            return
        done, total = sum(self._done.values()), sum(self._planned.values())
        elapsed = time.monotonic() - self._start if self._start is not None else 0.0
        known = self._worked >= self.SURE * total and self._worked > 0
        left = elapsed / self._worked * (total - done) if known else None
        try:
            self.observe(Event(stage, subject, text, done, total, left, finished))
        except BaseException as error:
            self.broken = error  # whoever records failures of runs must let this one pass
            raise
