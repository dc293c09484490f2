"""The other end of ``server``: a calculator in the Python of another environment.

``Remote`` starts the interpreter when it is first asked and sends it many structures at a time.
The process on the other side ends when this one does, for its requests end then, whatever ended
it. If it dies itself, or speaks nonsense, it is started once more and asked about one structure at
a time; what then fails again is the answer, with the structure and the end of what it said.
"""

import atexit
import collections
import functools
import json
import os
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlffjax.errors import ConfigError, InputError
from mlffjax.potential.host_energy import HostFailure, HostResult
from mlffjax.potential.remote import server
from mlffjax.structures.system import System

GLANCE = 0.5
"""Seconds between two looks at whether the other side is alive."""
TAIL = 30
"""Lines of what it said that are kept."""
OURS = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP")
"""Variables that would lead the other interpreter into our environment."""


class Address(NamedTuple):
    """Which calculator, where, and how patient to be with it."""

    python: str
    factory: str
    arguments: str  # JSON
    start_seconds: float
    call_seconds: float  # for one structure


class _Crash(Exception):
    """The other side died or cannot be understood."""


class _Silence(Exception):
    """The other side is alive but has not answered in time."""


class Remote:
    """A calculator in another process; safe to be asked by several threads."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._said: collections.deque[bytes] = collections.deque(maxlen=TAIL)
        self._program: dict[str, str] = {}

    def program(self) -> dict[str, str]:
        """Versions of the calculator's package, of ASE and of Python over there.

        Raises:
            ConfigError: there is no such interpreter or calculator.
            InputError: the process does not start.
        """
        with self._lock:
            self._started()
            return dict(self._program)

    def evaluate(
        self, systems: Sequence[System], *, derivatives: bool, stress: bool
    ) -> list[HostResult]:
        """Energies of structures, with forces and stresses if asked for, in one message.

        Raises:
            HostFailure: the calculator failed for a structure, its process died of it twice, or
                it did not answer in time.
            ConfigError: there is no such interpreter or calculator.
            InputError: the process does not start.
        """
        wanted = {"derivatives": derivatives, "stress": stress}
        with self._lock:
            try:
                return self._asked(systems, wanted)
            except _Crash:
                self._end()
            results = []
            for index, system in enumerate(systems):
                try:
                    results += self._asked([system], wanted)
                except _Crash as crash:
                    self._end()
                    raise HostFailure(index, f"{crash}, and did so twice{self._tail()}") from crash
            return results

    def close(self) -> None:
        """End the other process, if there is one; the next question starts another."""
        # Who interrupts a call and leaves does not wait for it: the pipes end with us anyway.
        if self._lock.acquire(timeout=1):
            try:
                self._end()
            finally:
                self._lock.release()

    def _asked(self, systems: Sequence[System], wanted: Mapping[str, bool]) -> list[HostResult]:
        process = self._started()
        arrays = server.questions([server.Structure(*_fields(system)) for system in systems])
        limit = self._address.call_seconds * len(systems)
        deadline = time.monotonic() + limit
        try:
            _send(process, server.packed({"do": "evaluate", **wanted}, arrays), deadline)
            header, found = _receive(process, deadline)
        except _Silence as error:
            self._end()
            raise HostFailure(
                0 if len(systems) == 1 else None,
                f"no answer within {limit:g} s (call_seconds: {self._address.call_seconds:g} s "
                f"for a structure){self._tail()}",
            ) from error
        if not header.get("ok"):
            raise HostFailure(int(header["index"]), header["message"])
        return _results(found, [len(system.numbers) for system in systems])

    def _started(self) -> "subprocess.Popen[bytes]":
        """The process with its calculator."""
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end()
        self._said.clear()
        address = self._address
        process = self._process = _launched(address.python)
        threading.Thread(target=_keep, args=(process, self._said), daemon=True).start()
        deadline = time.monotonic() + address.start_seconds
        request = {
            "do": "make",
            "factory": address.factory,
            "arguments": json.loads(address.arguments),
        }
        try:
            _send(process, server.packed(request, {}), deadline)
            header, _ = _receive(process, deadline)
        except (_Crash, _Silence) as error:
            self._end()
            late = f"was not ready within {address.start_seconds:g} s (start_seconds)"
            raise InputError(
                f"{address.python} {late if isinstance(error, _Silence) else error} while it made "
                f"{address.factory}; it needs NumPy, ASE and the calculator's package{self._tail()}"
            ) from error
        if not header.get("ok"):
            self._end()
            raise ConfigError(f"{address.python}: {header['message']}")
        self._program = header["program"]
        return process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def _tail(self) -> str:
        """The end of what the process said, for a message."""
        time.sleep(0.05)  # its last words may be on their way
        said = b"".join(self._said).decode(errors="replace").strip()
        return f"; it said at last:\n{said}" if said else ""


def remote(address: Address) -> Remote:
    """The calculator at an address, one process of it for each process of ours."""
    return _remote(address, os.getpid())


@functools.cache
def _remote(address: Address, owner: int) -> Remote:
    del owner  # a forked copy of us must not speak into the same pipes
    made = Remote(address)
    atexit.register(made.close)
    return made


def interpreter(python: str) -> str:
    """The file of an interpreter: ``~`` is the home directory, a bare name is looked for.

    Raises:
        ConfigError: there is none.
    """
    path = Path(python).expanduser()
    found = shutil.which(python) if path.name == python else str(path)
    if found is None or not os.access(found, os.X_OK) or Path(found).is_dir():
        raise ConfigError(
            f"python: expected the interpreter of an environment, for example "
            f"~/venvs/chgnet/bin/python, got {python!r}, which is no program here; make the "
            "environment (python -m venv), or correct the path"
        )
    return found


def _launched(python: str) -> "subprocess.Popen[bytes]":
    environment = {name: value for name, value in os.environ.items() if name not in OURS}
    process = subprocess.Popen(
        [interpreter(python), server.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        bufsize=0,
        start_new_session=True,  # an interrupt from the keyboard is for us
    )
    assert process.stdin is not None
    os.set_blocking(process.stdin.fileno(), False)
    return process


def _keep(process: "subprocess.Popen[bytes]", said: "collections.deque[bytes]") -> None:
    """Follow what a process says, so that it never waits for a reader, and keep the end."""
    assert process.stderr is not None
    with process.stderr as pipe:
        while line := pipe.readline(1 << 12):
            said.append(line)


def _fields(system: System) -> tuple[np.ndarray, ...]:
    return (system.positions, system.numbers, system.cell, system.pbc)


def _results(found: Mapping[str, np.ndarray], counts: Sequence[int]) -> list[HostResult]:
    shapes = {
        "energy": (len(counts),),
        "forces": (sum(counts), 3),
        "stress": (len(counts), 3, 3),
        "has_stress": (len(counts),),
    }
    if {name: array.shape for name, array in found.items()} != shapes:
        raise _Crash(f"answered with other arrays than {shapes}")
    forces = np.split(found["forces"], np.cumsum(counts)[:-1])
    rows = zip(found["energy"], forces, found["stress"], found["has_stress"], strict=True)
    return [HostResult(float(e), f, s if has else None) for e, f, s, has in rows]


def _send(process: "subprocess.Popen[bytes]", data: bytes, deadline: float) -> None:
    assert process.stdin is not None
    pipe, rest = process.stdin.fileno(), memoryview(data)
    while rest:
        _await(process, pipe, selectors.EVENT_WRITE, deadline)
        try:
            rest = rest[os.write(pipe, rest[: 1 << 16]) :]
        except BlockingIOError:
            continue
        except OSError as error:
            raise _Crash(_ended(process)) from error


def _receive(
    process: "subprocess.Popen[bytes]", deadline: float
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    assert process.stdout is not None
    pipe = process.stdout.fileno()

    def take(count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            _await(process, pipe, selectors.EVENT_READ, deadline)
            chunk = os.read(pipe, min(count - len(data), 1 << 20))
            if not chunk:
                raise _Crash(_ended(process))
            data += chunk
        return bytes(data)

    return _understood(take)


def _understood(
    take: Callable[[int], bytes],
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        return server.unpacked(take)
    except server.ChannelError as error:
        raise _Crash(f"answered with something else than a message ({error})") from error


def _await(process: "subprocess.Popen[bytes]", pipe: int, event: int, deadline: float) -> None:
    """Wait until a pipe is ready; a process that ended leaves what it has written."""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, event)
        while not selector.select(min(GLANCE, max(deadline - time.monotonic(), 0))):
            if process.poll() is not None and not selector.select(0):
                raise _Crash(_ended(process))
            if time.monotonic() > deadline:
                raise _Silence


def _ended(process: "subprocess.Popen[bytes]") -> str:
    """How a process ended, in words."""
    try:
        code = process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        return "closed its pipes"
    if code < 0:
        return f"was ended by signal {-code} ({signal.Signals(-code).name})"
    return f"ended with exit code {code}"
