"""One process at a time per directory: of a study, or of a run that a worker computes."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mlffjax.durable import tidy, unwritable
from mlffjax.errors import InputError, StorageError

FILE = ".lock"
PAUSE = 1.0  # s between two attempts to get a directory that is held


@contextlib.contextmanager
def locked(directory: Path, *, wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the directory (made if need be) for this process while the context lasts.

    What killed processes left half-written in it is removed (``durable.tidy``).

    The lock belongs to the open file, so the system releases it when the process ends in whatever
    way; a file that a dead process left behind does not count.

    Args:
        directory: what to hold.
        wait: given, it is told who holds the directory while this one waits; otherwise a directory
            that is held is refused.

    Raises:
        InputError: another process holds the directory; the message names it.
        StorageError: nothing can be written there, or the directory was taken away meanwhile.
    """
    descriptor = _opened(directory)
    try:
        while (holder := _held_by(descriptor)) is not None:
            if wait is None:
                raise InputError(
                    f"{directory}: expected to be alone here, but another process is writing this "
                    f"study ({holder}); wait for it, stop it, or choose another output directory"
                )
            wait(holder)
            time.sleep(PAUSE)
        with contextlib.suppress(OSError):  # a full disk: the lock holds without the name
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        tidy(directory)
        try:
            yield
        except Exception as error:
            _require_present(directory, descriptor, error)
            raise
        _require_present(directory, descriptor, None)
    finally:
        os.close(descriptor)


def wait_until_free(directory: Path, wait: Callable[[str], None]) -> None:
    """Return when no other process holds a directory, such as a worker that outlived its study."""
    if (directory / FILE).exists():
        with locked(directory, wait=wait):
            pass


def _opened(directory: Path) -> int:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return os.open(directory / FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise unwritable(directory, error) from error


def _require_present(directory: Path, descriptor: int, cause: Exception | None) -> None:
    """Refuse to end as if all were well where another directory is now, or none."""
    with contextlib.suppress(OSError):
        if os.path.samestat(os.stat(directory / FILE), os.fstat(descriptor)):
            return
    raise StorageError(
        f"{directory}: expected the folder that this process wrote to, but it was removed or "
        "replaced meanwhile; put it back, or give the same command again to begin anew"
    ) from cause


def _held_by(descriptor: int) -> str | None:
    """Take the lock, or say who has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "unknown"
    return None
