"""This machine: the process of the study itself, or several processes beside it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pydantic

from mlffjax.study.executors._executor import Payload, Section
from mlffjax.training.workers import cores

PATIENCE = 5.0  # s that a worker has to end by itself


class Config(Section):
    """How many processes, and what each may take."""

    workers: int = pydantic.Field(default=1, ge=1)
    """Processes that train and probe; 1: that of the study, which then measures the potentials of
    one model together where that is faster."""
    threads: int | None = pydantic.Field(default=None, ge=1)
    """CPU threads of each; None: the cores of this machine divided by the processes."""
    gpus: tuple[int, ...] = ()
    """Numbers of GPUs, dealt to the processes in turn; empty: all processes see all of them."""

    @property
    def in_process(self) -> bool:
        """Whether the process of the study does the work itself."""
        return self.workers == 1

    @pydantic.model_validator(mode="after")
    def _concern_processes(self) -> "Config":
        if self.in_process and (self.threads is not None or self.gpus or self.together > 1):
            raise ValueError(
                "threads, gpus and together are for several processes; expected workers above 1, "
                "got 1 (a single process trains all together; give it a GPU by "
                "CUDA_VISIBLE_DEVICES)"
            )
        return self


@contextlib.contextmanager
def start(config: Config, folder: Path) -> Iterator["Pool"]:
    """Give a pool of processes, begun when needed and stopped in the end.

    Each is a new interpreter: a copy (fork) of a process that has started jax would hang.
    """
    pool = Pool(config, folder)
    try:
        yield pool
    finally:
        pool.close()


class Pool:
    """Processes that take one task after another and so share compiled programs between them."""

    lag = 0.0

    def __init__(self, config: Config, folder: Path) -> None:
        self.config = config
        self.folder = folder
        self.places = config.workers
        self._workers: dict[int, Worker] = {}

    def submit(self, payload: Payload) -> "Worker":
        """Give a task to an idle process, or to a new one in the place of a dead one."""
        for place in range(self.places):
            worker = self._workers.get(place)
            if worker is not None and worker.is_dead():
                worker.end()
                worker = None
            if worker is None:
                log = self.folder / f"worker-{place}.log"
                worker = self._workers[place] = Worker(log, self._environment(place))
            if not worker.busy:
                worker.give({**payload, **self._share()})
                return worker
        raise RuntimeError(f"all {self.places} places are taken")  # the driver counts them

    def close(self) -> None:
        """Stop all processes, whatever they do."""
        for worker in self._workers.values():
            worker.hang_up()
        for worker in self._workers.values():
            worker.end()

    def _share(self) -> dict[str, Any]:
        threads = self.config.threads or max(1, cores() // self.places)
        gpus = len(set(self.config.gpus))
        return {"threads": threads, "shares_gpu": gpus < self.places}

    def _environment(self, place: int) -> dict[str, str]:
        """Of a new process: it finds the same modules, and the GPU it is dealt."""
        path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry)
        environment = os.environ | {"PYTHONPATH": path}
        if self.config.gpus:
            gpu = self.config.gpus[place % len(self.config.gpus)]
            environment["CUDA_VISIBLE_DEVICES"] = str(gpu)  # ROCm listens to it as well
        return environment


class Worker:
    """One process, and the task it has; also the job of that task."""

    def __init__(self, log: Path, environment: dict[str, str]) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlffjax.study.executors._worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                env=environment,
                start_new_session=True,  # an interrupt from the keyboard is for the study
            )
        os.set_blocking(self._stream(self.process.stdout).fileno(), False)
        self.busy = False

    def give(self, payload: Payload) -> None:
        """Begin a task."""
        self.busy = True
        with contextlib.suppress(BrokenPipeError):  # it has died; ``ended`` says so
            stdin = self._stream(self.process.stdin)
            stdin.write(json.dumps(dict(payload)).encode() + b"\n")
            stdin.flush()

    def ended(self) -> str | None:
        """None while the task runs, "" after an answer, otherwise how the process died."""
        if not self.busy:
            return ""
        dead = self.is_dead()  # before looking for an answer, which comes first
        if self._stream(self.process.stdout).read(1):
            self.busy = False
            return ""
        return self._death() if dead else None

    def is_dead(self) -> bool:
        """Whether the process has ended, for whatever reason."""
        return self.process.poll() is not None

    def hang_up(self) -> None:
        """Close its input, at which it ends."""
        with contextlib.suppress(OSError):
            self._stream(self.process.stdin).close()

    def end(self) -> None:
        """Close its input, wait for its end, and insist."""
        self.hang_up()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._stream(self.process.stdout).close()

    def _death(self) -> str:
        code = self.process.returncode
        how = f"exit status {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        return f"its process died by {how}{hint}{last_line(self.log)}"

    @staticmethod
    def _stream(stream: IO[bytes] | None) -> IO[bytes]:
        assert stream is not None  # both are pipes
        return stream


def last_line(log: Path) -> str:
    """The last line of a log as the end of a sentence; empty if there is none."""
    try:
        lines = log.read_text(errors="replace").split("\n")
    except OSError:
        return ""
    said = [line.strip() for line in lines if line.strip()]
    return f"; its last line: {said[-1][:300]}" if said else ""
