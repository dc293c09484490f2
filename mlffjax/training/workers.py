"""Functions of this package run by several Python processes, one for each core.

They are started as programs of their own, not by ``multiprocessing``: its safe way of starting
runs the caller's script again, and its quick one copies a process that has threads of XLA. They
take pickled questions from their input, answer on their output, and end when the input ends, which
it does whatever kills the process that asks.
"""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlffjax.errors import TrainingError

MOST = 8
"""Processes at most: each takes some 0.2 GB of memory."""


def cores() -> int:
    """Cores that this process may use; a scheduler may grant fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def helpers() -> int:
    """Processes worth starting: one a core, up to ``MOST``."""
    return min(cores(), MOST)


def answers(function: Callable[[Any], Any], questions: Sequence[Any], processes: int) -> list[Any]:
    """``function`` of every question, in their order.

    Args:
        function: defined at the top of a module that can be imported.
        questions: can be pickled, as can the answers.
        processes: at most so many; with one, or one question, this process does the work itself.

    Raises:
        TrainingError: a process died.
        Exception: what the function raised, for the first question where it did.
    """
    processes = min(processes, len(questions))
    if processes < 2:
        return [function(question) for question in questions]
    with contextlib.ExitStack() as stack:
        idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        for _ in range(processes):
            idle.put(stack.enter_context(_child()))

        def ask(question: Any) -> Any:
            child = idle.get()
            try:
                return _ask(child, function, question)
            finally:
                idle.put(child)

        threads = ThreadPoolExecutor(processes)
        try:
            return list(threads.map(ask, questions))
        finally:
            threads.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that serves until the context ends."""
    paths = [path for path in sys.path if path]
    # The accelerator is the parent's; the children need the host only.
    settings = {"PYTHONPATH": os.pathsep.join(paths), "JAX_PLATFORMS": "cpu"}
    child = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | settings,
    )
    try:
        yield child
    finally:
        assert child.stdin is not None
        assert child.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it is dead already
            child.stdin.close()
        child.stdout.close()
        child.wait()


def _ask(child: subprocess.Popen[bytes], function: Callable[[Any], Any], question: Any) -> Any:
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        pickle.dump((function, question), child.stdin)
        child.stdin.flush()
        failed, answer = pickle.load(child.stdout)
    except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"a process that prepares data ended with status {child.wait()}; its last words are "
            "above, if any; it may have run out of memory: what it finished is kept, start again"
        ) from error
    if failed:
        raise answer
    return answer


def _serve() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed must not mix with the answers
    while True:
        try:
            function, question = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            outcome = False, function(question)
        except Exception as error:
            outcome = True, error
        pickle.dump(outcome, answers)
        answers.flush()


if __name__ == "__main__":
    _serve()
