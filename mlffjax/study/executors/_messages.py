"""What workers say: lines of JSON in a file that one process writes and another follows."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlffjax.study.progress import Meter, Stage

INTERVAL = 0.3  # s between two messages about unfinished work

Message = dict[str, Any]


class Relay(Meter):
    """A meter that tells another process instead of an observer."""

    def __init__(self, file: Path) -> None:
        super().__init__(None)
        self.file = file
        self._last = 0.0

    def plan(self, subject: str, work: float) -> None:
        """Nothing: the other process has planned the work."""
        del subject, work

    def skip(self, subject: str) -> None:
        """All of a piece was done before."""
        self._say({"skip": subject})

    def tell(
        self, stage: Stage, subject: str, text: str, *, fraction: float, finished: bool = False
    ) -> None:
        """Report that a fraction of a piece is done, unless the last report is fresh."""
        now = time.monotonic()
        if finished or fraction == 0 or now - self._last >= INTERVAL:
            self._last = now
            event = {"stage": stage, "subject": subject, "text": text, "fraction": fraction}
            self._say(event | {"finished": finished})

    def _say(self, message: Message) -> None:
        with contextlib.suppress(OSError):  # progress is no reason to fail
            write(self.file, message)


def write(file: Path, message: Message) -> None:
    """Append a message; the file is closed again, which is when other machines see the line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(message) + "\n")


def end(file: Path, problem: str = "") -> None:
    """The last message: the task is done, or why not."""
    write(file, {"end": problem})


def forward(message: Message, meter: Meter) -> None:
    """Do to a meter what the worker did to its ``Relay``."""
    if "skip" in message:
        meter.skip(message["skip"])
    elif "stage" in message:
        meter.tell(
            message["stage"],
            message["subject"],
            message["text"],
            fraction=message["fraction"],
            finished=message["finished"],
        )


class Reader:
    """Follows a file of messages that may not exist yet, and whose last line may be half written.

    ``end`` is None until the last message is read; "" if the task is done, else why not.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.end: str | None = None
        self._read = 0

    def new(self) -> Iterator[Message]:
        """Messages that were written since the last call."""
        try:
            with open(self.file, "rb") as stream:
                stream.seek(self._read)
                text = stream.read()
        except OSError:
            return
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            try:
                message = json.loads(line)
            except ValueError:
                continue  # torn by a process that was killed while writing
            if "end" in message:
                self.end = message["end"]
            else:
                yield message
