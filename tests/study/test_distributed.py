import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import yaml
from study import small

from mlffjax.cli import main
from mlffjax.config import validate
from mlffjax.errors import ConfigError
from mlffjax.potential import store
from mlffjax.study import distributed
from mlffjax.study.config import StudyConfig
from mlffjax.study.execute import execute
from mlffjax.study.lock import locked
from mlffjax.study.records import load_study

PROGRAM = "from mlffjax.cli.main import main; main()"


def settings():
    made = small.settings()
    made["probes"] = made["probes"][:1]
    made["training"] |= {"precision": "float64", "devices": "auto", "batch": 2}
    return made


def two_processes(folder, settings):
    """Run the command in two processes; their exit codes and what they printed."""
    small.write_inputs(folder)
    (folder / "study.yaml").write_text(yaml.safe_dump(settings))
    with socket.socket() as endpoint:
        endpoint.bind(("localhost", 0))
        port = endpoint.getsockname()[1]
    command = [sys.executable, "-c", PROGRAM, "study", str(folder / "study.yaml"), "--out"]
    processes = [
        subprocess.Popen(
            [*command, str(folder / f"out{number}")],
            env=dict(os.environ)
            | {
                distributed.ADDRESS: f"localhost:{port}",
                distributed.COUNT: "2",
                distributed.NUMBER: str(number),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in (0, 1)
    ]
    texts = [process.communicate(timeout=250)[0] for process in processes]
    return [process.returncode for process in processes], texts


def test_an_error_of_the_first_process_ends_both(tmp_path):
    with locked(tmp_path / "out0"):
        codes, texts = two_processes(tmp_path, settings())
    assert codes[0] == main.REFUSED, texts
    assert "expected to be alone here" in texts[0]
    assert codes[1] != 0


def test_a_training_that_cannot_begin_fails_in_both_and_the_others_go_on(tmp_path):
    made = settings()
    made["training"] |= {"batch": 3}  # which two processes cannot share
    codes, texts = two_processes(tmp_path, made)
    assert codes == [main.FAILED, 0], texts
    records = load_study(tmp_path / "out0")
    assert records.missing() == ()
    assert records.failures()
    assert all("TrainingError: training.devices" in line for line in records.failures())


def test_study_by_two_processes_equals_that_of_one(tmp_path):
    codes, texts = two_processes(tmp_path, settings())
    assert codes == [0, 0], texts
    assert not (tmp_path / "out1").exists()  # the first process writes
    execute(validate(settings(), StudyConfig, where="test"), tmp_path, tmp_path / "alone")
    shared, alone = (load_study(tmp_path / name) for name in ("out0", "alone"))
    assert shared.failures() == ()
    assert json.loads((tmp_path / "out0" / "summary.json").read_text())["failures"] == []
    for run, other in zip(shared.runs, alone.runs, strict=True):
        assert run.info.id == other.info.id
        found, expected = (store.load(r.directory)[0].params["weights"] for r in (run, other))
        for name in expected:
            # Two devices sum in another order; weights are stored in single precision.
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)


@pytest.mark.parametrize("given", [{}, {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "first"}])
def test_incomplete_environment_is_refused(given):
    with pytest.raises(ConfigError, match="JAX_PROCESS_ID must be numbers"):
        distributed.join({"JAX_COORDINATOR_ADDRESS": "localhost:1"} | given)


def test_one_process_is_the_first():
    assert distributed.join({})
    assert distributed.join({"SLURM_STEP_NUM_TASKS": "1"})
