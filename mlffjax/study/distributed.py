"""One study by several processes (``jax.distributed``) that share batches and probes.

All processes plan the same runs and train them together; the first one writes what comes of it.
Then every process measures a share of the probes and writes the records, so all must reach the
output folder of the first one under the same absolute path, as on a shared file system. This is
checked before anything is trained. The first process waits for the others, judges and reports. What
has a record is not measured again, by however many processes the study is continued.

What fails before a training begins fails in all processes and is recorded as anywhere, and so is a
probe that fails; the next one goes on. An error of one process later on, such as a full disk,
leaves the others waiting in the middle of a step: it is raised, and whoever started the process
must end it without waiting for them (as the commands do), upon which jax ends them. While probes
are measured, the first process hears of such an error and raises it as well. A process that is
killed there is missed after jax's heartbeat timeout (100 s). The same command then continues.
"""

import functools
import json
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from mlffjax import durable
from mlffjax.errors import ConfigError, InputError
from mlffjax.study.config import StudyConfig
from mlffjax.study.evaluate import evaluate, pending, probe_subject, surroundings
from mlffjax.study.plan import Plan, PlannedRun, make_plan, require_same
from mlffjax.study.progress import Meter
from mlffjax.study.runs import is_finished, train
from mlffjax.training import devices

ADDRESS, COUNT, NUMBER = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
PATIENCE = 7 * 24 * 3600
"""Seconds for which finished processes wait for the first one."""
FOLDER, TASKS = "processes", "tasks.json"
"""Below the output: messages between processes; the subjects of all."""
PAUSE = 0.2
"""Seconds between two looks for a message."""


def join(environment: Mapping[str, str] = os.environ) -> bool:
    """Set up ``jax.distributed`` if the environment says that there are several processes.

    Either by JAX_COORDINATOR_ADDRESS (host:port of the first process), JAX_NUM_PROCESSES and
    JAX_PROCESS_ID, or by a Slurm step (``srun``) of several tasks. Call it before anything else
    uses jax.

    Returns:
        Whether this process is the first one, or the only one; the others ``assist``.

    Raises:
        ConfigError: some of the variables are missing or are no numbers.
    """
    if environment.get(ADDRESS):
        try:
            count, number = int(environment[COUNT]), int(environment[NUMBER])
        except (KeyError, ValueError) as error:
            raise ConfigError(
                f"{ADDRESS} is set, so {COUNT} and {NUMBER} must be numbers too, got "
                f"{environment.get(COUNT)!r} and {environment.get(NUMBER)!r}"
            ) from error
        _initialize(environment[ADDRESS], count, number)
    elif int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        _initialize(None, None, None)  # jax reads the rest of what Slurm tells
    else:
        return True
    return devices.is_first()


def _initialize(address: str | None, count: int | None, number: int | None) -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, count, number, shutdown_timeout_seconds=PATIENCE)


def lead(plan: Plan, out: Path, meter: Meter) -> None:
    """Train and probe the runs of a study; to be called in the first of several processes.

    Args:
        plan: of the study.
        out: its output directory, held by this process.
        meter: told about progress.

    Raises:
        InputError: another process has another plan or does not reach ``out``.
        RuntimeError: another process ended with an error while it measured.
    """
    shutil.rmtree(out / FOLDER, ignore_errors=True)  # of a study that was interrupted
    place = out.absolute() / FOLDER / secrets.token_hex(8)
    place.mkdir(parents=True)
    _meet(plan, place, out)
    train(plan.runs, plan, out, meter, {})
    subjects = pending(plan, out)
    durable.write_bytes(place / TASKS, json.dumps(subjects).encode())
    _measure(plan, place, meter, subjects)
    for number in range(1, jax.process_count()):
        end = _awaited(place / f"{number}.json", functools.partial(_wait, meter, number))
        if end["error"] is not None:
            raise RuntimeError(f"process {number} on {end['host']}: {end['error']}")
        for subject in _share(subjects, number):
            text = f"probe {subject}: measured by process {number} on {end['host']}"
            meter.tell("probe", subject, text, fraction=1.0, finished=True)
    shutil.rmtree(out / FOLDER, ignore_errors=True)


def assist(config: StudyConfig, base: Path) -> None:
    """Help the first process with the runs of a study; to be called in all the others.

    Raises:
        ConfigError, CompatibilityError: as ``execute``.
        InputError: as ``execute``, the first process has another plan, or its output directory is
            not reached.
    """
    plan, meter = make_plan(config, base), Meter(None)
    for run in plan.runs:
        for subject in (run.id, *(probe_subject(run, section) for section in plan.probes)):
            meter.plan(subject, 1.0)
    place, runs = _meet(plan)
    with tempfile.TemporaryDirectory() as folder:
        train(runs, plan, Path(folder), meter, {})
    own, error = place / f"{jax.process_index()}.json", None
    try:
        _measure(plan, place, meter, _awaited(place / TASKS))
    except BaseException as caught:
        error = f"{type(caught).__name__}: {caught}"
        raise
    finally:
        end = {"host": socket.gethostname(), "error": error}
        durable.write_bytes(own, json.dumps(end).encode())


def _meet(
    plan: Plan, place: Path | None = None, out: Path | None = None
) -> tuple[Path, tuple[PlannedRun, ...]]:
    """Where the first process has made room for messages, and the runs that lack training.

    Args:
        plan: by this process.
        place: in the first process, its room.
        out: in the first process, the output directory.

    Raises:
        InputError: this process has another plan than the first one.
        Unanimous: some process does not reach the room.
    """
    own: dict[str, Any] = {"fingerprint": plan.fingerprint, "place": str(place)}
    if out is not None:
        own["runs"] = [run.id for run in plan.runs if not is_finished(out / "runs" / run.id)]
    first = json.loads(devices.sent(json.dumps(own).encode()))
    require_same(plan, first["fingerprint"])
    room = Path(first["place"])
    devices.unanimous(functools.partial(_require_shared, room))
    return room, tuple(run for run in plan.runs if run.id in first["runs"])


def _require_shared(place: Path) -> None:
    if not place.is_dir():
        raise InputError(
            f"expected all processes to reach the output folder of the first one, but process "
            f"{jax.process_index()} on {socket.gethostname()} finds no {place}; choose an output "
            "directory on a file system that all processes share under the same path"
        )


def _share(subjects: list[str], number: int) -> list[str]:
    """Those that a process measures: one by one in turn, so that long probes are spread."""
    return subjects[number :: jax.process_count()]


def _measure(plan: Plan, place: Path, meter: Meter, subjects: list[str]) -> None:
    others = set(subjects) - set(_share(subjects, jax.process_index()))
    out = place.parents[1]
    evaluate(plan, out, meter, surroundings(), elsewhere=others)


def _awaited(file: Path, wait: Callable[[], None] = lambda: None) -> Any:
    """Contents of a file of another process. A collective of jax would time out meanwhile."""
    while not file.is_file():
        wait()
        time.sleep(PAUSE)
    return json.loads(file.read_bytes())


def _wait(meter: Meter, number: int) -> None:
    meter.tell("probe", "", f"process {number} is still measuring", fraction=0.0)
