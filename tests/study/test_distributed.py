import json
import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from study import small

from mlffjax.cli import main
from mlffjax.config import validate
from mlffjax.errors import ConfigError, InputError
from mlffjax.potential import store
from mlffjax.study import distributed
from mlffjax.study.config import StudyConfig
from mlffjax.study.execute import execute
from mlffjax.study.lock import locked
from mlffjax.study.records import load_study

PROGRAM = "from mlffjax.cli.main import main; main()"
NOTING = """
import pathlib, sys
from mlffjax.study import evaluate
whole = evaluate._write
def write(run, section, *rest):
    if "full" in sys.argv[0] and section.name == "slide":
        raise OSError(28, "No space left on device")
    whole(run, section, *rest)
    with open(sys.argv[0], "a") as file:
        file.write(evaluate.probe_subject(run, section) + chr(10))
evaluate._write = write
sys.argv[0] = {name!r}
"""
"""Notes what a process has measured in a file; in one of this name it cannot write slides."""


def settings():
    made = small.settings()
    made["probes"] = made["probes"][:1]
    made["training"] |= {"precision": "float64", "devices": "auto", "batch": 2}
    return made


def two_processes(folder, settings, notes=("", "")):
    """Run the command in two processes; their exit codes and what they printed.

    Each notes what it measures in the file of ``notes``, if there is one.
    """
    small.write_inputs(folder)
    (folder / "study.yaml").write_text(yaml.safe_dump(settings))
    with socket.socket() as endpoint:
        endpoint.bind(("localhost", 0))
        port = endpoint.getsockname()[1]
    programs = [
        NOTING.format(name=str(folder / name)) + PROGRAM if name else PROGRAM for name in notes
    ]
    arguments = ["study", str(folder / "study.yaml"), "--out"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", programs[number], *arguments, str(folder / f"out{number}")],
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
    """The second one fails while it measures: both end, and what is there is not done again."""
    made = settings() | {"probes": small.settings()["probes"]}
    codes, texts = two_processes(tmp_path, made, notes=("first", "second_full"))
    assert codes[0] != 0 != codes[1], texts
    assert "No space left on device" in texts[1]
    assert "process 1 on" in texts[0]
    runs = sorted((tmp_path / "out0" / "runs").iterdir())
    trained = [(run / "run.json").read_bytes() for run in runs]
    codes, texts = two_processes(tmp_path, made, notes=("first", "second"))
    assert codes == [0, 0], texts
    assert not (tmp_path / "out1").exists()
    assert not (tmp_path / "out0" / distributed.FOLDER).exists()
    assert [(run / "run.json").read_bytes() for run in runs] == trained
    done = [set((tmp_path / name).read_text().split()) for name in ("first", "second")]
    lists = [(tmp_path / n).read_text().split() for n in ("first", "second_full", "second")]
    measured = [subject for subjects in lists for subject in subjects]
    assert len(measured) == len(set(measured)) == 4 * 3  # each once, though one was killed
    assert all(done)

    execute(validate(made, StudyConfig, where="test"), tmp_path, tmp_path / "alone")
    shared, alone = (load_study(tmp_path / name) for name in ("out0", "alone"))
    assert shared.failures() == ()
    assert json.loads((tmp_path / "out0" / "summary.json").read_text())["failures"] == []
    for run, other in zip(shared.runs, alone.runs, strict=True):
        assert run.info.id == other.info.id
        found, expected = (store.load(r.directory)[0].params["weights"] for r in (run, other))
        for name in expected:
            # Two devices sum in another order; weights are stored in single precision.
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)

    # The same potentials, measured by one process.
    for record in (tmp_path / "out0").glob("runs/*/records/*"):
        record.unlink()
    again = execute(validate(made, StudyConfig, where="test"), tmp_path, tmp_path / "out0")
    for run, other in zip(shared.runs, again.runs, strict=True):
        assert run.probes.keys() == other.probes.keys() == {"accuracy", "hop", "slide"}
        for name, record in run.probes.items():
            for metric, value in record.metrics.items():
                repeated = other.metric(name, metric)
                if value is None or repeated is None:
                    assert value is repeated, (name, metric)
                    continue
                # Energies are sums of some hundred terms of order 1 eV in double precision.
                assert value == pytest.approx(repeated, rel=1e-9, abs=1e-11), (name, metric)


def test_output_that_only_the_first_process_reaches_is_refused_by_all(tmp_path, monkeypatch):
    """What the second one says, the first one hears."""
    monkeypatch.setattr(distributed.devices, "sent", lambda own: own)
    plan = SimpleNamespace(fingerprint="0", runs=())
    with pytest.raises(InputError, match="on a file system that all processes share"):
        distributed._meet(plan, tmp_path / "elsewhere", tmp_path)


@pytest.mark.parametrize("given", [{}, {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "first"}])
def test_incomplete_environment_is_refused(given):
    with pytest.raises(ConfigError, match="JAX_PROCESS_ID must be numbers"):
        distributed.join({"JAX_COORDINATOR_ADDRESS": "localhost:1"} | given)


def test_one_process_is_the_first():
    assert distributed.join({})
    assert distributed.join({"SLURM_STEP_NUM_TASKS": "1"})
