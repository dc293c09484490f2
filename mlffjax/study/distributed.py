"""One study by several processes that share every batch (``jax.distributed``).

All processes plan the same runs and train them together. The first one writes and measures; the
others need no access to its output and leave nothing behind.

What fails before a training begins fails in all processes and is recorded as anywhere; the next run
goes on. An error of one process later on, such as a full disk, leaves the others waiting in the
middle of a step: it is raised, and whoever started the process must end it without waiting for
them (as the commands do), upon which jax ends them. The same command then continues.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import jax

from mlffjax.errors import ConfigError
from mlffjax.study.config import StudyConfig
from mlffjax.study.plan import Plan, PlannedRun, make_plan, require_same
from mlffjax.study.progress import Meter
from mlffjax.study.runs import is_finished, train
from mlffjax.training import devices

ADDRESS, COUNT, NUMBER = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
PATIENCE = 7 * 24 * 3600
"""Seconds for which finished processes wait for the first one, which measures."""


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


def unfinished(plan: Plan, out: Path) -> tuple[PlannedRun, ...]:
    """The runs that the first process still has to train, for all processes.

    Raises:
        InputError: this process has another plan than the first one.
    """
    pending = [run.id for run in plan.runs if not is_finished(out / "runs" / run.id)]
    own = {"fingerprint": plan.fingerprint, "pending": pending}
    first = json.loads(devices.sent(json.dumps(own).encode()))
    require_same(plan, first["fingerprint"])
    return tuple(run for run in plan.runs if run.id in first["pending"])


def assist(config: StudyConfig, base: Path) -> None:
    """Help the first process to train the runs of a study; to be called in all the others.

    Raises:
        ConfigError, CompatibilityError: as ``execute``.
        InputError: as ``execute``, or the first process has another plan.
    """
    plan = make_plan(config, base)
    with tempfile.TemporaryDirectory() as folder:
        pending = unfinished(plan, Path(folder))
        meter = Meter(None)
        for run in plan.runs:
            meter.plan(run.id, 1.0)
        train(pending, plan, Path(folder), meter, {})
