import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from study.executors.rescue import study

from mlffjax.config import dump
from mlffjax.study.executors import _messages, _worker


@pytest.fixture
def payload(base, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ))  # which a worker changes
    return {
        "config": dump(study()),
        "base": str(base),
        "out": str(tmp_path / "out"),
        "fingerprint": "another",
        "runs": [],
        "messages": str(tmp_path / "messages.jsonl"),
        "threads": 1,
        "shares_gpu": False,
    }


def ending(payload):
    reader = _messages.Reader(Path(payload["messages"]))
    list(reader.new())
    assert reader.end is not None
    return reader.end


def test_other_data_than_the_study_was_planned_with_are_refused(payload):
    _worker.run(payload)
    assert ending(payload).startswith("InputError: expected the study another, found ")
    assert "differ between the machines" in ending(payload)
    assert not Path(payload["out"]).exists()


def test_errors_are_the_last_message(payload):
    _worker.run(payload | {"base": "/nowhere"})
    assert ending(payload).startswith("InputError: ")


@pytest.mark.parametrize("shares", [True, False])
def test_limits_are_set_and_flags_of_the_user_kept(monkeypatch, shares):
    monkeypatch.setattr(os, "environ", {"XLA_FLAGS": "--mine"})
    _worker.limit(1, shares_gpu=shares)
    assert os.environ["NPROC"] == os.environ["OMP_NUM_THREADS"] == "1"
    assert os.environ["XLA_FLAGS"] == "--mine --xla_cpu_multi_thread_eigen=false"
    assert os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE") == ("false" if shares else None)
    _worker.limit(4, shares_gpu=False)
    assert os.environ["OMP_NUM_THREADS"] == "4"


def test_jax_is_not_started_before_the_limits_are_set():
    code = "import sys\nfrom mlffjax.study.executors import _worker\n"
    code += "print([name for name in ('jax', 'numpy') if name in sys.modules])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert said.stdout.strip() == b"[]", said.stderr


def test_served_tasks_are_answered_one_by_one(payload, tmp_path):
    """Two tasks that fail at once, and printing does not disturb the answers."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    lines = [json.dumps(payload | {"fingerprint": name}) for name in ("first", "second")]
    with subprocess.Popen(
        [sys.executable, "-m", "mlffjax.study.executors._worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in lines:
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"\n"
        process.stdin.close()
        assert process.wait(60) == 0
    said = Path(payload["messages"]).read_text().splitlines()
    assert ["expected the study first" in line for line in said] == [True, False]
    assert "expected the study second" in said[1]
