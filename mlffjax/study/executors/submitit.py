"""Jobs of Slurm, through submitit; also processes of this machine in the same manner."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pydantic

from mlffjax.errors import ConfigError, MissingExtra
from mlffjax.study.executors import _worker
from mlffjax.study.executors._executor import Payload, Section
from mlffjax.study.executors.local import last_line
from mlffjax.training.workers import cores


class Config(Section):
    """What a job asks of the cluster; each run is one job."""

    cluster: Literal["auto", "slurm", "local"] = "auto"
    """``auto``: Slurm where there is one, otherwise processes of this machine (``local``)."""
    workers: int | None = pydantic.Field(default=None, ge=1)
    """Jobs in the queue at a time; None: all at once on Slurm, as many as cores allow here."""
    partition: str | None = None
    minutes: int = pydantic.Field(default=240, ge=1)
    """Time limit of a job. A job that reaches it, or is preempted, is queued again and goes on."""
    timeouts: int = pydantic.Field(default=10, ge=0)
    """How often a job may reach its time limit (Slurm)."""
    cpus: int = pydantic.Field(default=1, ge=1)
    """Cores of a job, which are its threads too."""
    gpus: int = pydantic.Field(default=0, ge=0)
    memory_gb: float | None = pydantic.Field(default=None, gt=0)
    slurm: dict[str, Any] = {}
    """Further parameters of submitit's Slurm executor, such as ``account``, ``qos``,
    ``constraint``, ``setup`` (commands before the job), ``additional_parameters``."""


class Resumable:
    """The worker as a job that may be interrupted: it is queued again with the same task."""

    def __call__(self, payload: Payload) -> None:
        """Do the task."""
        _worker.run(payload)

    def checkpoint(self, payload: Payload) -> Any:
        """Called before the interruption; everything worth keeping is on disk already."""
        return _submitit().helpers.DelayedSubmission(self, payload)


@contextlib.contextmanager
def start(config: Config, folder: Path) -> Iterator["Queue"]:
    """Give the queue; jobs that are left when the study ends early are cancelled.

    Raises:
        MissingExtra: submitit is not installed.
        ConfigError: there is no Slurm here, or a parameter is unknown to submitit.
    """
    submitit = _submitit()
    cluster = None if config.cluster == "auto" else config.cluster
    try:
        executor = submitit.AutoExecutor(
            folder=folder / "jobs", cluster=cluster, slurm_max_num_timeout=config.timeouts
        )
        executor.update_parameters(**_parameters(config))
    except (NameError, ValueError, RuntimeError, AssertionError) as error:
        raise ConfigError(f"executor: {error}") from error
    queue = Queue(submitit, executor, config)
    try:
        yield queue
    finally:
        queue.close()


class Queue:
    """Slurm's queue, or its double on this machine, from where a study stands."""

    def __init__(self, submitit: ModuleType, executor: Any, config: Config) -> None:
        here = executor.cluster == "local"
        self.places = config.workers or (max(1, cores() // config.cpus) if here else None)
        self.lag = 0.0 if here else 15.0  # attributes of NFS are kept so long
        self._submitit = submitit
        self._executor = executor
        self._share = {"threads": config.cpus, "shares_gpu": False}
        self._jobs: list[Job] = []

    def submit(self, payload: Payload) -> "Job":
        """Queue a task.

        Raises:
            ConfigError: the queue refuses it.
        """
        try:
            job = Job(self._executor.submit(Resumable(), {**payload, **self._share}))
        except self._submitit.core.utils.FailedJobError as error:
            raise ConfigError(f"executor: the queue refused a job: {error}") from error
        self._jobs.append(job)
        return job

    def close(self) -> None:
        """Cancel all jobs that are queued or run."""
        for job in self._jobs:
            if job.ended() is None:
                job.job.cancel(check=False)


class Job:
    """One job."""

    def __init__(self, job: Any) -> None:
        self.job = job

    def ended(self) -> str | None:
        """None while queued or running, otherwise what became of it."""
        if not self.job.done():
            return None
        if self.job.paths.result_pickle.exists():
            return ""
        state, log = self.job.state, self.job.paths.stderr
        return f"its job {self.job.job_id} ended in state {state}{last_line(log)}"


def _parameters(config: Config) -> dict[str, Any]:
    wanted = {
        "name": "mlffjax",
        "timeout_min": config.minutes,
        "cpus_per_task": config.cpus,
        "gpus_per_node": config.gpus,
        "mem_gb": config.memory_gb,
        "slurm_partition": config.partition,
        **{f"slurm_{name}": value for name, value in config.slurm.items()},
    }
    return {name: value for name, value in wanted.items() if value is not None}


def _submitit() -> ModuleType:
    try:
        import submitit
        import submitit.helpers
    except ImportError as error:
        raise MissingExtra(
            "executor kind submitit needs submitit; install it: pip install 'mlffjax[submitit]'"
        ) from error
    return submitit
