import contextlib
import os
import shutil
import sys
import time

import pytest
from study.executors.rescue import Killer, assert_equal_results, holder, study, wanted

from mlffjax.config import dump, validate
from mlffjax.errors import ConfigError
from mlffjax.study.config import StudyConfig
from mlffjax.study.execute import execute
from mlffjax.study.executors import local
from mlffjax.study.lock import locked
from mlffjax.training import workers

TWO = {"kind": "local", "workers": 2, "threads": 1}


def is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def rescued(base, tmp_path_factory):
    """A study by two workers, one of which was killed in the middle of a run."""
    out = tmp_path_factory.mktemp("rescued")
    killer = Killer(out, "tuned-s0", times=1)
    return execute(study(executor=TWO), base, out, observe=killer), killer


def test_killed_worker_loses_nothing(rescued, undisturbed):
    records, killer = rescued
    assert len(killer.killed) == 1
    assert any("SIGKILL" in text and "trying again" in text for text in killer.texts())
    assert_equal_results(records, undisturbed)
    assert not (records.directory / "tasks").exists()


def test_progress_of_workers_arrives(rescued):
    events = rescued[1].events
    done = [event.done for event in events]
    assert done == sorted(done)
    assert events[-1].done == events[-1].total == events[0].total
    finished = {event.subject for event in events if event.finished}
    assert {run.info.id for run in rescued[0].runs} <= finished
    assert all(f"{run.info.id}/hop" in finished for run in rescued[0].runs)


def test_workers_are_other_processes_and_end_with_the_study(rescued):
    processes = {holder(rescued[0].directory, run.info.id) for run in rescued[0].runs}
    assert os.getpid() not in processes
    assert not any(is_alive(process) for process in processes)


def test_finished_study_starts_no_worker(rescued, base, monkeypatch):
    monkeypatch.delattr(local.Pool, "submit")
    events = []
    execute(study(executor=TWO), base, rescued[0].directory, observe=events.append)
    assert [event.stage for event in events] == ["done"]


def test_executor_does_not_decide_what_a_study_is(rescued, undisturbed):
    assert rescued[0].info.fingerprint == undisturbed.info.fingerprint


def test_run_that_always_dies_is_a_failure_and_the_others_go_on(base, tmp_path):
    killer = Killer(tmp_path, "tuned-s0", times=9)
    tuned, zero = wanted()["runs"]
    long = tuned | {"seeds": [0], "training": {"epochs": 50_000, "patience": 50_000}}
    config = study(runs=[long, zero], executor=TWO | {"retries": 1})
    records = execute(config, base, tmp_path, observe=killer)
    assert [run.info.status for run in records.runs] == ["failed", "ok"]
    (failure,) = records.failures()
    assert "given up after 2 tries: its process died by signal SIGKILL" in failure
    assert len(killer.killed) == 2
    assert list((tmp_path / "tasks").glob("worker-*.log"))
    assert records.runs[1].probes["hop"].status == "ok"


class Grave:
    """An executor whose workers die at once; also their job."""

    places, lag = 1, 0.0

    def submit(self, payload):
        return self

    def ended(self):
        return "its process died"


def test_worker_that_dies_while_probing_leaves_failed_records(
    undisturbed, base, tmp_path, monkeypatch
):
    out = shutil.copytree(undisturbed.directory, tmp_path / "out")
    next(out.glob("runs/tuned-s1-*/records/hop.json")).unlink()
    monkeypatch.setattr(local, "start", lambda *_: contextlib.nullcontext(Grave()))
    records = execute(study(executor=TWO | {"retries": 0}), base, out)
    assert [run.info.status for run in records.runs] == ["ok", "ok", "ok"]
    (failure,) = records.failures()
    assert failure == f"{records.runs[1].info.id}, probe hop: given up: its process died"
    assert_equal_results(execute(study(), base, out), undisturbed)


def test_runs_may_share_a_task(base, tmp_path, monkeypatch):
    tasks = []

    class Nowhere(Grave):
        def submit(self, payload):
            tasks.append([run.split("-")[0:2] for run in payload["runs"]])
            return self

    monkeypatch.setattr(local, "start", lambda *_: contextlib.nullcontext(Nowhere()))
    records = execute(study(executor=TWO | {"retries": 0, "together": 2}), base, tmp_path)
    assert tasks == [[["tuned", "s0"], ["tuned", "s1"]], [["zero", "s0"]]]
    assert [run.info.status for run in records.runs] == ["failed"] * 3


def test_study_that_ends_early_ends_its_workers(base, tmp_path):
    processes = []

    def broken(event):
        if ": epoch " in event.text:
            processes.append(holder(tmp_path, event.subject))
            raise RuntimeError("display is gone")

    start = time.monotonic()
    with pytest.raises(RuntimeError, match="display is gone"):
        execute(study(executor=TWO), base, tmp_path, observe=broken)
    assert not is_alive(processes[0])
    assert time.monotonic() - start < 60


@pytest.mark.slow
def test_worker_waits_for_whoever_writes_its_run(base, tmp_path, undisturbed):
    run = undisturbed.runs[0].info.id
    held = locked(tmp_path / "runs" / run)
    held.__enter__()
    waited = []

    def watch(event):
        if "waits for" in event.text and not waited:
            waited.append(event.text)
            held.__exit__(None, None, None)

    records = execute(study(executor=TWO), base, tmp_path, observe=watch)
    assert waited == [
        f"{run}: waits for process {os.getpid()} on {os.uname().nodename}, which writes this run"
    ]
    assert_equal_results(records, undisturbed)


def test_process_that_is_alone_is_the_study_itself():
    assert local.Config().in_process
    assert not local.Config(workers=2).in_process
    for useless in ({"threads": 2}, {"gpus": [0]}, {"together": 2}):
        with pytest.raises(ConfigError, match="workers above 1"):
            study(executor={"workers": 1} | useless)


def test_kind_may_be_left_out_and_survives_the_way_through_plain_data():
    config = study(executor={"workers": 3, "gpus": [0, 1]})
    assert isinstance(config.executor, local.Config)
    assert validate(dump(config), StudyConfig, where="test") == config
    with pytest.raises(ConfigError, match="did you mean 'local'"):
        study(executor={"kind": "locla"})


def test_gpus_are_dealt_in_turn_and_shared_memory_is_not_taken_at_once(tmp_path):
    pool = local.Pool(local.Config(workers=3, gpus=(4, 5)), tmp_path)
    dealt = [pool._environment(place)["CUDA_VISIBLE_DEVICES"] for place in range(3)]
    assert dealt == ["4", "5", "4"]
    assert pool._share() == {"threads": max(1, workers.cores() // 3), "shares_gpu": True}
    own = local.Pool(local.Config(workers=2, threads=7, gpus=(0, 1)), tmp_path)
    assert own._share() == {"threads": 7, "shares_gpu": False}


def test_process_whose_input_ends_ends_too(tmp_path):
    """Input ends when the study is killed, whatever the worker does at that moment."""
    pool = local.Pool(local.Config(workers=2), tmp_path)
    worker = local.Worker(tmp_path / "log", pool._environment(0))
    worker.hang_up()
    assert worker.process.wait(60) == 0
    worker.end()


def test_death_is_told_with_its_signal_and_last_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    package = tmp_path / "mlffjax" / "study" / "executors"
    package.mkdir(parents=True)
    for folder in (package, *package.parents[:2]):
        (folder / "__init__.py").touch()  # or an installed mlffjax would come first
    (package / "_worker.py").write_text("import sys\nsys.exit('no such library')\n")
    worker = local.Worker(
        tmp_path / "log", local.Pool(local.Config(workers=2), tmp_path)._environment(0)
    )
    worker.process.wait(60)
    worker.give({"runs": []})
    assert worker.ended() == "its process died by exit status 1; its last line: no such library"
    worker.hang_up()
    worker.end()
