"""How running work looks: a bar on a terminal, a line or a record now and then anywhere else."""

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from mlffjax.study.progress import Event

QUIET = 30.0  # s between lines about unfinished work, where there is no bar
OFTEN = 5.0  # s between records of it


class Display:
    """Context manager that shows the events it is called with.

    Args:
        console: with a terminal, a bar; without, lines.
        record: takes events instead, if given.
    """

    def __init__(self, console: Console, record: Callable[[Event], None] | None = None) -> None:
        self.console, self._record = console, record
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]}"),
            TimeElapsedColumn(),
            console=console,
            disable=console.quiet or record is not None or not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None, left="")
        self._last = -QUIET

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if self._record is not None:
            if self._is_due(event, OFTEN):
                self._record(event)
            return
        left = remaining(event.seconds_left)
        self._bar.update(
            self._task,
            description=event.text,
            completed=event.done,
            total=event.total or None,
            left=left,
        )
        if event.finished or not self.console.is_terminal:
            self._line(event, left)

    def _is_due(self, event: Event, interval: float) -> bool:
        """Whether to tell of an event: what is finished at once, other things now and then."""
        now = time.monotonic()
        if not event.finished and now - self._last < interval:
            return False
        self._last = now
        return True

    def _line(self, event: Event, left: str) -> None:
        if not self._is_due(event, QUIET):
            return
        share = 100 * event.done / event.total if event.total else 0.0
        note = f", {left}" if left and event.stage != "done" else ""
        self.console.print(f"[{share:3.0f} %{note}] {event.text}", markup=False, highlight=False)


class Counter:
    """Turns counts of pieces into events, with the time left from the pace since the first one.

    The first piece is not part of the pace: it includes compilation.
    """

    def __init__(self, observe: Callable[[Event], None]) -> None:
        self._observe = observe
        self._since: dict[str, tuple[float, float]] = {}

    def __call__(self, subject: str, text: str, done: float, total: float) -> None:
        """``done`` of ``total`` pieces of a subject are done; ``text`` says so."""
        now = time.monotonic()
        start, first = self._since.setdefault(subject, (now, done))
        pace = (now - start) / (done - first) if done > first else None
        left = None if pace is None else pace * (total - done)
        event = Event("work", subject, text, float(done), float(total), left, done >= total)
        self._observe(event)

    def rate(self, subject: str, done: float) -> float | None:
        """Pieces a second since the first count of a subject; None before there are two counts."""
        start, first = self._since.get(subject, (0.0, done))
        passed = time.monotonic() - start
        return (done - first) / passed if done > first and passed > 0 else None


def remaining(seconds: float | None) -> str:
    """Time left in words; empty while it is unknown.

    >>> remaining(200.0)
    'about 3 min left'
    """
    if seconds is None:
        return ""
    if seconds < 60:
        return "under 1 min left"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min left"
    return f"about {seconds / 3600:.1f} h left"
