"""What hostile input may cost, measured around a call."""

import contextlib
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

from mlffjax.errors import MlffjaxError

SECONDS = 5.0  # of this process; honest files of such sizes take milliseconds
BYTES = 256 * 1024**2
LONGEST = 20_000  # characters of a message


@contextlib.contextmanager
def refused(*kinds: type[MlffjaxError], within: float = SECONDS) -> Iterator[list[str]]:
    """The block must end in one of our errors, soon and without much memory; gives its message."""
    said: list[str] = []
    with bounded(within):
        try:
            yield said
        except MlffjaxError as error:
            if kinds and not isinstance(error, kinds):
                raise
            said.append(str(error))
    assert said, "accepted, expected an error"
    assert 0 < len(said[0]) < LONGEST


@contextlib.contextmanager
def bounded(within: float = SECONDS) -> Iterator[None]:
    """The block must need little time and memory."""
    tracemalloc.start()
    started = time.process_time()
    try:
        yield
    finally:
        seconds = time.process_time() - started
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert seconds < within, f"{seconds:.1f} s"
    assert peak < BYTES, f"{peak / 1024**2:.0f} MiB"


def files_below(folder: Path) -> dict[str, bytes]:
    """Content of every file below a folder, to see that nothing was added or changed."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
