"""How a running study looks: a bar on a terminal, a line now and then anywhere else."""

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from mlffjax.study.progress import Event

QUIET = 30.0  # s between lines about unfinished work, where there is no bar


class Display:
    """Context manager that shows the events it is called with."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
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

    def __call__(self, event: "Event") -> None:
        """Show one event."""
        left = remaining(event.seconds_left)
        self._bar.update(
            self._task,
            description=event.text,
            completed=event.done,
            total=event.total or None,
            left=left,
        )
        if event.finished:
            self._line(event, left, anyway=True)
        elif not self.console.is_terminal:
            self._line(event, left, anyway=False)

    def _line(self, event: "Event", left: str, *, anyway: bool) -> None:
        now = time.monotonic()
        if not anyway and now - self._last < QUIET:
            return
        self._last = now
        share = 100 * event.done / event.total if event.total else 0.0
        note = f", {left}" if left and event.stage != "done" else ""
        self.console.print(f"[{share:3.0f} %{note}] {event.text}", markup=False, highlight=False)


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
