"""On a real cluster of two workers on this machine."""

import os
import time

import pytest
from study.executors.rescue import Killer, assert_equal_results, holder, study

from mlffjax.errors import ConfigError
from mlffjax.study.execute import execute

pytest.importorskip("ray")
pytestmark = [
    # Ray leaves sockets, processes and files for the interpreter to close, and announces changes.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
RAY = {"kind": "ray", "num_cpus": 1}


@pytest.fixture(scope="module")
def cluster():
    """Two places, whatever the machine has; studies that find it use it and let it be."""
    import ray

    from mlffjax.study.executors.ray import Config, connect

    connect(ray, Config(), cpus=2)
    yield ray
    ray.shutdown()


def test_killed_worker_loses_nothing(cluster, base, tmp_path, undisturbed):
    killer = Killer(tmp_path, "tuned-s0", times=1)
    records = execute(study(executor=RAY), base, tmp_path, observe=killer)
    assert len(killer.killed) == 1
    assert any("WorkerCrashedError" in t and "trying again" in t for t in killer.texts())
    assert_equal_results(records, undisturbed)
    processes = {holder(tmp_path, run.info.id) for run in records.runs}
    assert os.getpid() not in processes
    assert cluster.is_initialized()  # it was there before


def test_resources_that_the_machine_lacks_are_refused(cluster, base, tmp_path):
    for lacking, name in (({"num_gpus": 64}, "64 GPU"), ({"resources": {"TPU": 4}}, "4 TPU")):
        with pytest.raises(ConfigError, match=f"asks for {name}"):
            execute(study(executor=RAY | lacking), base, tmp_path)


@pytest.mark.slow
def test_run_that_always_dies_is_a_failure(cluster, base, tmp_path):
    killer = Killer(tmp_path, "tuned-s0", times=9)
    tuned = study().runs[0].model_dump(mode="json") | {
        "seeds": [0],
        "training": {"epochs": 50_000, "patience": 50_000},
    }
    config = study(runs=[tuned], executor=RAY | {"retries": 1})
    records = execute(config, base, tmp_path, observe=killer)
    (failure,) = records.failures()
    assert "given up after 2 tries: its process died: WorkerCrashedError" in failure


@pytest.mark.slow
def test_study_that_ends_early_ends_its_tasks(cluster, base, tmp_path):
    processes = []

    def broken(event):
        if ": epoch " in event.text:
            processes.append(holder(tmp_path, event.subject))
            raise RuntimeError("display is gone")

    with pytest.raises(RuntimeError, match="display is gone"):
        execute(study(executor=RAY), base, tmp_path, observe=broken)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.kill(processes[0], 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the worker lives on")


def test_cluster_that_does_not_answer_is_refused_by_address(monkeypatch):
    import ray

    from mlffjax.study.executors.ray import Config, connect

    def refuse(**_):
        raise ConnectionError("nobody there")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ConfigError, match=r"expected a Ray cluster .* got: nobody there"):
        connect(ray, Config(address="10.0.0.1:6379"))


def test_missing_package_is_named_with_its_extra(monkeypatch):
    import sys

    from mlffjax.errors import MissingExtra
    from mlffjax.study.executors import ray as ours

    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(MissingExtra, match=r"mlffjax\[ray\]"),
        ours.start(ours.Config(), ours.Path()),
    ):
        pass
