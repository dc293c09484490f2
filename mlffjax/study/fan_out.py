"""Handing the runs of a study to the workers of an executor."""

import contextlib
import functools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from mlffjax import config as configuration
from mlffjax.registry import resolve
from mlffjax.study.executors import _messages
from mlffjax.study.executors._executor import Task, drive
from mlffjax.study.plan import Plan, PlannedRun
from mlffjax.study.progress import Meter

FOLDER = "tasks"

Bundle = tuple[PlannedRun, ...]


def fan_out(
    bundles: Sequence[Bundle],
    plan: Plan,
    base: Path,
    out: Path,
    meter: Meter,
    give_up: Callable[[PlannedRun, str], None],
) -> None:
    """Let workers complete runs; what they leave is on disk.

    Args:
        bundles: runs that lack something, together where they are trained together.
        plan: of the study.
        base: directory that the study's relative paths start from.
        out: output directory of the study.
        meter: told what the workers tell.
        give_up: records the failure of a run whose worker died too often, given the reason.

    Raises:
        ConfigError: the executor cannot be used as configured.
        MissingExtra: its package is not installed.
    """
    if not bundles:
        return
    folder = (out / FOLDER).absolute()
    shutil.rmtree(folder, ignore_errors=True)  # of a study that was interrupted
    folder.mkdir(parents=True)
    tasks = {_name(bundle): bundle for bundle in bundles}
    payload = {
        "config": configuration.dump(plan.config),
        "base": str(base.absolute()),
        "out": str(out.absolute()),
        "fingerprint": plan.fingerprint,
    }
    lost: list[str] = []

    def fail(task: Task, reason: str) -> None:
        lost.append(task.name)
        for run in tasks[task.name]:
            give_up(run, reason)

    section = plan.config.executor
    kind = resolve("study.executors", configuration.kind_of(section))
    with kind.start(section, folder) as executor:
        drive(
            [Task(name, payload | {"runs": [r.id for r in b]}) for name, b in tasks.items()],
            executor,
            retries=section.retries,
            folder=folder,
            hear=functools.partial(_hear, tasks, meter),
            fail=fail,
        )
    if not lost:  # logs of workers that died are worth keeping
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)


def _name(bundle: Bundle) -> str:
    first, *others = bundle
    return f"{first.id}-and-{len(others)}" if others else first.id


def _hear(tasks: dict[str, Bundle], meter: Meter, task: Task, message: _messages.Message) -> None:
    if "note" in message:
        first, *_ = tasks[task.name]
        meter.tell("train", first.id, message["note"], fraction=0.0)
    else:
        _messages.forward(message, meter)
