"""One process at a time per output directory."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from mlffjax.errors import InputError

FILE = ".lock"


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory (made if need be) for this process while the context lasts.

    The lock belongs to the open file, so the system releases it when the process ends in whatever
    way; a file that a dead process left behind does not count.

    Raises:
        InputError: another process holds the directory; the message names it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory / FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "unknown"
            raise InputError(
                f"{directory}: expected to be alone here, but another process is writing this "
                f"study ({holder}); wait for it, stop it, or choose another output directory"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        os.close(descriptor)
