"""What a command says and where: results, progress, warnings, failures.

Results go to standard output. ``--quiet`` mutes them and the progress; warnings and failures then
go to standard error, where errors always go. ``--log json`` makes progress, warnings, failures and
errors lines of JSON on standard error, for batch systems:

    {"time": "2026-01-31T12:00:00+00:00", "event": "progress", "stage": "train", "subject": "a-s0",
     "text": "run 1 of 3: epoch 7", "done": 70.0, "total": 900.0, "seconds_left": 81.5,
     "finished": false}
    {"time": ..., "event": "warning" | "failure", "text": ...}
    {"time": ..., "event": "error", "text": ..., "exit_code": 2}
"""

import datetime
import enum
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console

from mlffjax.cli._console import open_console
from mlffjax.cli._progress import Display


class Log(enum.StrEnum):
    """Forms of progress, warnings and failures."""

    TEXT = "text"
    JSON = "json"


Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Say nothing but warnings and failures, on stderr."),
]
LogForm = Annotated[
    Log,
    typer.Option("--log", help="json: progress, warnings, failures as lines of JSON on stderr."),
]


class Output:
    """The voice of one command."""

    def __init__(self, *, quiet: bool = False, log: Log = Log.TEXT) -> None:
        self.console = Console(quiet=True) if quiet else open_console()
        self._quiet, self._log = quiet, log

    def say(self, text: str) -> None:
        """A line of the result, as it is."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def warn(self, text: str, *, label: str = "warning") -> None:
        """Something the user should know; the result stands."""
        self._tell("warning", f"{label}: {text}", text, "yellow")

    def fail(self, text: str) -> None:
        """A part of the result that is missing, and why."""
        self._tell("failure", f"failed: {text}", text, "red")

    def progress(self) -> Display:
        """A context manager that is called with events."""
        if self._log is Log.JSON:
            return Display(self.console, record=lambda event: emit("progress", event._asdict()))
        return Display(self.console)

    def _tell(self, event: str, line: str, text: str, style: str) -> None:
        if self._log is Log.JSON:
            emit(event, {"text": text})
            return
        console = Console(stderr=True) if self._quiet else self.console
        console.print(line, markup=False, style=style, soft_wrap=True)


def emit(event: str, fields: Mapping[str, Any]) -> None:
    """Write one JSON object on a line of standard error."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    record = {"time": now, "event": event, **fields}
    print(json.dumps(record, ensure_ascii=False), file=sys.stderr, flush=True)  # noqa: T201


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for lines of JSON, even if it cannot be understood otherwise."""
    words = list(arguments)
    return "--log=json" in words or ("--log", "json") in itertools.pairwise(words)
