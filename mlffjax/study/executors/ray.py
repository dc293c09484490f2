"""A Ray cluster: a new one on this machine, or one that runs already."""

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pydantic

from mlffjax.errors import ConfigError, MissingExtra
from mlffjax.study.executors import _worker
from mlffjax.study.executors._executor import Payload, Section

LOCAL = "local"
STORE = 100 * 2**20  # bytes of Ray's object store; nothing but tasks of some kB travels through it


class Config(Section):
    """Which cluster, and what a run needs of it."""

    address: str = pydantic.Field(default=LOCAL, min_length=1)
    """``local``: a new cluster on this machine; ``auto``: the one that runs here; or
    ``host:port`` and ``ray://host:port``. The package is installed on every machine."""
    workers: int | None = pydantic.Field(default=None, ge=1)
    """Runs at a time; None: as many as the resources allow."""
    num_cpus: float = pydantic.Field(default=1.0, gt=0)
    """CPUs of each run, which are its threads too."""
    num_gpus: float = pydantic.Field(default=0.0, ge=0)
    """GPUs of each run; 0.5 puts two runs on one."""
    resources: dict[str, float] = {}
    """Further resources of each run under the names the cluster gives them, such as ``TPU: 4``."""


@contextlib.contextmanager
def start(config: Config, folder: Path) -> Iterator["Cluster"]:
    """Connect, and in the end stop what still runs; a cluster that was begun here is ended too.

    Raises:
        MissingExtra: Ray is not installed.
        ConfigError: there is no such cluster, or it can never run a task.
    """
    del folder  # Ray keeps its own logs
    ray = _ray()
    own = not ray.is_initialized()
    if own:
        connect(ray, config)
    cluster = Cluster(ray, config)
    try:
        if config.address == LOCAL:  # others may grow when asked
            _require_resources(ray, config)
        yield cluster
    finally:
        cluster.close()
        if own:
            ray.shutdown()


class Cluster:
    """Ray, from where a study stands."""

    def __init__(self, ray: ModuleType, config: Config) -> None:
        self.places = config.workers
        self.lag = 0.0 if config.address == LOCAL else 15.0  # attributes of NFS are kept so long
        self._ray = ray
        self._share = {
            "threads": math.ceil(config.num_cpus),
            "shares_gpu": config.num_gpus % 1 != 0,
        }
        self._run = ray.remote(_worker.run).options(
            num_cpus=config.num_cpus,
            num_gpus=config.num_gpus,
            resources=config.resources,
            max_retries=0,  # who counts tries must be one: the study
            name="mlffjax run",
        )
        self._jobs: list[Job] = []

    def submit(self, payload: Payload) -> "Job":
        """Queue a task; Ray begins it when resources are free."""
        job = Job(self._ray, self._run.remote({**payload, **self._share}))
        self._jobs.append(job)
        return job

    def close(self) -> None:
        """Stop all tasks that are queued or run."""
        for job in self._jobs:
            if job.ended() is None:
                self._ray.cancel(job.reference, force=True)


class Job:
    """One task on the cluster."""

    def __init__(self, ray: ModuleType, reference: Any) -> None:
        self.reference = reference
        self._ray = ray

    def ended(self) -> str | None:
        """None while queued or running, "" if the worker returned, otherwise what Ray says."""
        ready, _ = self._ray.wait([self.reference], timeout=0)
        if not ready:
            return None
        try:
            self._ray.get(self.reference)
        except self._ray.exceptions.RayError as error:
            said = " ".join(str(error).split())
            return f"its process died: {type(error).__name__}: {said[:300]}"
        return ""


def connect(ray: ModuleType, config: Config, *, cpus: int | None = None) -> None:
    """Begin a cluster on this machine, or join the one at the address.

    Args:
        ray: the module.
        config: its ``address`` counts.
        cpus: of a new cluster; None: those of this machine.

    Raises:
        ConfigError: no cluster answers at the address.
    """
    options: dict[str, Any] = {"address": config.address, "log_to_driver": False}
    if config.address == LOCAL:
        path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry)
        options |= {
            "num_cpus": cpus,
            "include_dashboard": False,
            "object_store_memory": STORE,
            "runtime_env": {"env_vars": {"PYTHONPATH": path}},  # workers find the same modules
        }
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a study tells nobody that it runs
    try:
        ray.init(logging_level="ERROR", **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"executor: expected a Ray cluster at address {config.address!r}, got: {error}"
        ) from error


def _require_resources(ray: ModuleType, config: Config) -> None:
    """Ray would wait for ever for what the cluster does not have."""
    present = ray.cluster_resources()
    wanted = {"CPU": config.num_cpus, "GPU": config.num_gpus, **config.resources}
    for name, amount in wanted.items():
        if amount > present.get(name, 0.0):
            raise ConfigError(
                f"executor: a run asks for {amount:g} {name}, but this machine has "
                f"{present.get(name, 0.0):g}; ask for less or give the address of a larger cluster"
            )


def _ray() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise MissingExtra(
            "executor kind ray needs Ray; install it: pip install 'mlffjax[ray]'"
        ) from error
    return ray
