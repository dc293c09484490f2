"""What an executor is, and the one loop that hands out tasks and hears from them."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import pydantic

from mlffjax import config
from mlffjax.study.executors import _messages

PAUSE = 0.05  # s between two looks at running tasks; one look costs microseconds

Payload = Mapping[str, Any]


class Section(config.Config):
    """Base of the ``Config`` of every kind."""

    retries: int = pydantic.Field(default=2, ge=0)
    """How often a task is tried again whose process died."""
    together: int = pydantic.Field(default=1, ge=1)
    """Runs in a task, in the order of the study; those that share a program, such as the seeds of a
    run, are trained in one go. More for accelerators, one for the shortest wait."""

    @property
    def in_process(self) -> bool:
        """Whether the process of the study does the work itself, and nothing is handed out."""
        return False


class Task(NamedTuple):
    """Some runs to be completed; see ``_worker.run`` for the payload."""

    name: str
    payload: Payload


@runtime_checkable
class Job(Protocol):
    """One try of a task."""

    def ended(self) -> str | None:
        """None while it runs, "" if the worker returned, otherwise what became of it."""
        ...


@runtime_checkable
class Executor(Protocol):
    """Whatever runs tasks; what still runs when its context is left is stopped."""

    places: int | None
    """How many tasks it takes at a time; None: all."""
    lag: float
    """s that files written elsewhere may take to become visible here."""

    def submit(self, payload: Payload) -> Job:
        """Run ``_worker.run(payload)`` in another process."""
        ...


class _Try:
    """A job, and how much of its messages is read."""

    def __init__(self, task: Task, number: int, executor: Executor, folder: Path) -> None:
        self.task, self.number = task, number
        self.messages = _messages.Reader(folder / f"{task.name}.{number}.jsonl")
        self.job = executor.submit({**task.payload, "messages": str(self.messages.file)})
        self.ended: str | None = None
        self.since = 0.0


def drive(
    tasks: Sequence[Task],
    executor: Executor,
    *,
    retries: int,
    folder: Path,
    hear: Callable[[Task, _messages.Message], None],
    fail: Callable[[Task, str], None],
) -> None:
    """Run all tasks, trying again what dies.

    Args:
        tasks: in the order in which they are begun.
        executor: started.
        retries: how often a task is tried again.
        folder: for messages of the workers; visible to them.
        hear: given every message as it arrives; what it raises ends the loop.
        fail: given a task that is given up, and why.
    """
    waiting = deque((task, 1) for task in tasks)
    running: list[_Try] = []
    while waiting or running:
        while waiting and (executor.places is None or len(running) < executor.places):
            running.append(_Try(*waiting.popleft(), executor, folder))
        ended = [one for one in running if _is_over(one, executor, hear)]
        for one in ended:
            running.remove(one)
            if (problem := _problem(one, folder)) is None:
                continue
            if one.number <= retries:
                text = f"{one.task.name}: {problem}; trying again"
                hear(one.task, {"note": text})
                waiting.append((one.task, one.number + 1))
            else:
                tries = f"given up after {one.number} tries" if retries else "given up"
                fail(one.task, f"{tries}: {problem}")
        if not ended:
            time.sleep(PAUSE)


def _is_over(
    one: _Try, executor: Executor, hear: Callable[[Task, _messages.Message], None]
) -> bool:
    """Hear what is new; whether the job has ended and nothing more can come."""
    if one.ended is None:
        one.ended, one.since = one.job.ended(), time.monotonic()
    for message in one.messages.new():  # after asking: the last words are written before the end
        hear(one.task, message)
    if one.ended is None:
        return False
    return one.messages.end is not None or time.monotonic() - one.since >= executor.lag


def _problem(one: _Try, folder: Path) -> str | None:
    """Why a job that is over did not do its task; None if it did."""
    if one.messages.end is not None:
        return one.messages.end or None
    return one.ended or (
        f"its worker returned, but no message of it is visible in {folder}; expected an output "
        "directory on a file system that all machines share"
    )
