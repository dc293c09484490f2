import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from training import small_run

from mlffjax.errors import TrainingError
from mlffjax.training import devices
from mlffjax.training import fit as loop

# Rows are summed in another order: some ulp per step, 16 steps of Adam, double precision.
ROUNDING = 1e-11


def started(out: Path, count: int, *changes: str, process: int = 0, port: int = 0, keep="-"):
    """A program with so many CPU devices that trains the small run, one of two if ``port``."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    flags = [flag for flag in flags if "device_count" not in flag and flag.startswith("--")]
    environment = dict(os.environ) | {
        "XLA_FLAGS": " ".join([*flags, f"--xla_force_host_platform_device_count={count}"])
    }
    if port:
        environment |= {"COORDINATOR": f"localhost:{port}", "PROCESSES": "2"}
        environment["PROCESS"] = str(process)
    command = [sys.executable, small_run.__file__, str(out), str(keep), *changes]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finished(*processes: subprocess.Popen) -> list[str]:
    """Output of programs that must end well."""
    texts = []
    for process in processes:
        text, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors[-3000:]
        texts.append(text)
    return texts


def weights(content: dict[str, str]) -> np.ndarray:
    found = [content[name] for name in sorted(content) if name.startswith("weights/")]
    return np.array([np.frombuffer(bytes.fromhex(text))[0] for text in found])


def free_port() -> int:
    with socket.socket() as endpoint:
        endpoint.bind(("localhost", 0))
        return endpoint.getsockname()[1]


@pytest.fixture(scope="module")
def alone():
    """Weights by one device."""
    return small_run.bits(small_run.run())


@pytest.mark.parametrize(("count", "asked"), [(4, '"auto"'), (3, '"auto"')])
def test_devices_that_share_batches_equal_one_device(count, asked, alone, tmp_path):
    """Counts of labels are of the whole batch, empty places and the penalty count once."""
    out = tmp_path / "out.json"
    finished(started(out, count, f"devices={asked}"))
    found = json.loads(out.read_text())
    np.testing.assert_allclose(weights(found), weights(alone), rtol=ROUNDING)


def test_two_processes_equal_one_device_and_continue_where_they_were(alone, tmp_path):
    """Two processes of two devices each: killed, started again, both get the same bits."""
    kept = tmp_path / "kept"

    def pair(port: int):
        return [
            started(tmp_path / f"{n}.json", 2, 'devices="auto"', process=n, port=port, keep=kept)
            for n in (0, 1)
        ]

    processes = pair(free_port())
    assert processes[0].stdout is not None
    for _ in range(6):
        processes[0].stdout.readline()
    for process in processes:
        process.kill()
        process.communicate()
    assert any(kept.iterdir())
    texts = finished(*pair(free_port()))
    steps = [line for line in texts[0].splitlines() if line[0].isdigit()]  # Gloo talks as well
    assert 0 < len(steps) < 16
    both = [json.loads((tmp_path / f"{n}.json").read_text()) for n in (0, 1)]
    for name in ("weights/epsilon", "weights/sigma"):
        assert both[0][name] == both[1][name]
    np.testing.assert_allclose(weights(both[0]), weights(alone), rtol=ROUNDING)


def test_more_devices_than_there_are_are_refused():
    config = small_run.CONFIG.model_copy(update={"devices": 2})
    with pytest.raises(TrainingError, match=r"at most the 1 devices there are, got 2"):
        small_run.run(config)


def test_batch_that_does_not_divide_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 3)
    config = small_run.CONFIG.model_copy(update={"devices": 3})
    with pytest.raises(TrainingError, match=r"take batches of 6, or 2 devices"):
        devices.mesh_for(config)


def test_processes_that_could_not_take_part_are_refused(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    with pytest.raises(TrainingError, match=r"all 8 devices of the 2 processes"):
        devices.mesh_for(small_run.CONFIG)


def test_one_device_takes_the_plain_way(monkeypatch):
    """No mesh, no copies: what is given comes back."""
    tree = {"a": np.zeros(3)}
    assert devices.mesh_for(small_run.CONFIG.model_copy(update={"devices": "auto"})) is None
    assert devices.replicated(tree, None) is tree
    assert devices.local(tree, None) is tree
    assert devices.agreed(tree) is tree
    monkeypatch.setattr(loop.devices, "advance", None)  # would raise if it were called
    small_run.run()
