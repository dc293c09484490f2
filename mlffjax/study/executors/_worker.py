"""The other side of every executor: a process that completes the runs it is given.

``run`` is what executors call elsewhere, once in a process or many times; ``serve`` is a process of
the ``local`` executor. Nothing here imports jax at once, so that ``run`` can still decide how many
threads it takes.
"""

import contextlib
import functools
import json
import os
import queue
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlffjax.study.executors import _messages


def run(payload: Mapping[str, Any]) -> None:
    """Complete some runs of a study. Errors become the last message; nothing is raised.

    Args:
        payload: plain JSON data:
            ``config``, ``base``, ``out``: of the study, as for ``execute``;
            ``fingerprint``: of the study's plan, to be sure to have the same one;
            ``runs``: identifiers of the runs to complete;
            ``messages``: file to tell progress in;
            ``threads``: CPU threads to take;
            ``shares_gpu``: whether other workers use the same accelerator.
    """
    file = Path(payload["messages"])
    try:
        limit(payload["threads"], shares_gpu=payload["shares_gpu"])
        _complete(payload, _messages.Relay(file))
    except Exception as error:
        _messages.end(file, f"{type(error).__name__}: {error}")
    else:
        _messages.end(file)


def limit(threads: int, *, shares_gpu: bool) -> None:
    """Set how much of the machine this process takes, before jax looks at it.

    XLA sizes its pools of threads by NPROC, and multiplies small matrices in one thread where
    several would wait for each other.
    """
    variables = ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    os.environ.update(dict.fromkeys(variables, str(threads)))
    flags = os.environ.get("XLA_FLAGS", "")
    if threads == 1 and "multi_thread_eigen" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
    if shares_gpu:  # otherwise the first process takes three quarters of the memory
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def _complete(payload: Mapping[str, Any], relay: _messages.Relay) -> None:
    from mlffjax import health, startup
    from mlffjax.study.execute import complete
    from mlffjax.study.lock import locked
    from mlffjax.study.plan import require_same

    startup.set_up()  # as the command does; this process is a program
    health.require_sound_jax()
    plan, shapes = _planned(json.dumps(payload["config"]), payload["base"], payload["fingerprint"])
    require_same(plan, payload["fingerprint"])
    runs = [run for run in plan.runs if run.id in payload["runs"]]
    with contextlib.ExitStack() as held:
        for run in runs:
            directory = Path(payload["out"]) / "runs" / run.id
            wait = functools.partial(relay.wait, run.id)
            held.enter_context(locked(directory, wait=wait))
        complete(plan, runs, Path(payload["out"]), relay, shapes=shapes)


@functools.lru_cache(maxsize=1)
def _planned(config: str, base: str, fingerprint: str) -> tuple[Any, dict[Any, Any]]:
    """The plan of a study and the shapes of its arrays, kept from one task to the next."""
    del fingerprint  # another one means that files have changed: plan again
    from mlffjax.config import validate
    from mlffjax.study.config import StudyConfig
    from mlffjax.study.plan import make_plan

    return make_plan(validate(json.loads(config), StudyConfig, where="task"), Path(base)), {}


def serve() -> None:
    """Take tasks from standard input, one a line; answer each with an empty line when it is over.

    The process ends at once when the input does, which is when whoever gave the tasks is gone.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever is printed is no answer
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(tasks,), daemon=True).start()
    while True:
        run(json.loads(tasks.get()))
        print(file=answers, flush=True)


def _listen(tasks: "queue.SimpleQueue[str]") -> None:
    for line in sys.stdin:
        tasks.put(line)
    os._exit(0)  # whatever is half done is done again, or continued, by the next


if __name__ == "__main__":
    serve()
