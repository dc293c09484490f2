"""Through submitit's executor for one machine, which works like that for Slurm."""

import os
import sys
from pathlib import Path

import pytest
from study.executors.rescue import Killer, assert_equal_results, holder, study

from mlffjax.errors import ConfigError, MissingExtra
from mlffjax.study.execute import execute
from mlffjax.study.executors import submitit as ours

submitit = pytest.importorskip("submitit")
pytestmark = [
    # submitit leaves the processes and logs of its jobs for the interpreter to close.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
HERE = {"kind": "submitit", "cluster": "local", "workers": 2}


def test_jobs_do_what_the_study_does(base, tmp_path, undisturbed):
    zero = study().runs[1:]
    records = execute(study(runs=zero, executor=HERE), base, tmp_path)
    (run,), expected = records.runs, undisturbed.runs[-1]
    assert run.info.id == expected.info.id
    # Equal to the bit with equally many threads, which tests do not control.
    assert run.metric("hop", "barrier") == pytest.approx(
        expected.metric("hop", "barrier"), rel=1e-9
    )
    assert holder(tmp_path, run.info.id) != os.getpid()


@pytest.mark.slow
def test_killed_job_loses_nothing(base, tmp_path, undisturbed):
    killer = Killer(tmp_path, "tuned-s0", times=1)
    records = execute(study(executor=HERE), base, tmp_path, observe=killer)
    assert len(killer.killed) == 1
    assert any("its job" in text and "trying again" in text for text in killer.texts())
    assert_equal_results(records, undisturbed)
    assert os.getpid() not in {holder(tmp_path, run.info.id) for run in records.runs}


@pytest.mark.slow
def test_interrupted_job_is_queued_again_and_goes_on(base, tmp_path, undisturbed, monkeypatch):
    """The signal by which Slurm announces the end of the time limit, or preemption."""
    jobs, kept = [], ours.Queue.submit

    def submit(self, payload):
        jobs.append(kept(self, payload))
        return jobs[-1]

    monkeypatch.setattr(ours.Queue, "submit", submit)
    interrupted = []

    def interrupt(event):
        if ": epoch " in event.text and not interrupted:
            interrupted.append(holder(tmp_path, event.subject))
            jobs[0].job._interrupt()

    one = study(executor=HERE | {"workers": 1, "retries": 0})
    records = execute(one, base, tmp_path, observe=interrupt)
    assert interrupted
    assert len(jobs) == 3
    assert_equal_results(records, undisturbed)


def test_choices_reach_submitit():
    config = ours.Config(
        partition="gpu", minutes=30, cpus=8, gpus=1, memory_gb=16, slurm={"account": "me"}
    )
    assert ours._parameters(config) == {
        "name": "mlffjax",
        "timeout_min": 30,
        "cpus_per_task": 8,
        "gpus_per_node": 1,
        "mem_gb": 16,
        "slurm_partition": "gpu",
        "slurm_account": "me",
    }


def test_slurm_is_asked_for_what_is_configured(tmp_path, monkeypatch):
    """The batch script, without a Slurm to send it to."""
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    config = ours.Config(partition="gpu", minutes=30, cpus=8, gpus=1, slurm={"account": "me"})
    with ours.start(config, tmp_path) as queue:
        assert queue.places is None  # all at once
        assert queue.lag > 0
        script = queue._executor._executor._make_submission_file_text("command", "id")
    wanted = ("partition=gpu", "time=30", "cpus-per-task=8", "gpus-per-node=1", "account=me")
    assert all(f"#SBATCH --{line}" in script for line in wanted), script


def test_slurm_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(ConfigError, match="executor: "),
        ours.start(ours.Config(cluster="slurm"), tmp_path),
    ):
        pass


def test_unknown_parameters_of_slurm_are_refused(tmp_path):
    config = ours.Config(cluster="local", slurm={"acount": "me"})
    with pytest.raises(ConfigError, match="acount"), ours.start(config, tmp_path):
        pass


def test_jobs_here_are_no_more_than_cores_allow(tmp_path):
    with ours.start(ours.Config(cluster="local", cpus=10_000), tmp_path) as queue:
        assert queue.places == 1


def test_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with (
        pytest.raises(MissingExtra, match=r"mlffjax\[submitit\]"),
        ours.start(ours.Config(), Path()),
    ):
        pass
