"""Every writer on a full disk: a clear error, the old file as it was, and nothing left behind.

A limit on the size of files (RLIMIT_FSIZE) makes writing fail in the middle anywhere, as a full
disk does; real full disks (small tmpfs mounts) are tried where mounting is allowed.
"""

import contextlib
import os
import resource
import shutil
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest
from faults import commands, harness
from faults.commands import COMMANDS
from study import small
from training import small_run

from mlffjax.config import validate
from mlffjax.dynamics import checkpoint
from mlffjax.dynamics.channels import Channel
from mlffjax.dynamics.config import MdConfig
from mlffjax.dynamics.run import run
from mlffjax.dynamics.trajectory import Writer, read
from mlffjax.errors import StorageError
from mlffjax.potential import store
from mlffjax.potential.card import Card
from mlffjax.probes import _dynamics
from mlffjax.report.document import write_report
from mlffjax.structures.files import write_frames
from mlffjax.structures.system import System
from mlffjax.study import records
from mlffjax.study.config import StudyConfig
from mlffjax.study.execute import execute
from mlffjax.training.checkpoints import Keeper


@contextlib.contextmanager
def files_of_at_most(size):
    """Writing beyond so many bytes of a file fails with an OSError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def potential_and_card():
    potential = small.FOUNDATION
    card = Card(name="x", elements=("Ar",), model=potential.model.settings, reference="none",
                functional="none")  # fmt: skip
    return potential, card


def frames():
    return [small.labelled(_dynamics.starting_system(*_dynamics.example_start()), "a", 0)]


WRITERS = {
    "record": lambda out: records.write_json(out / "a.json", {"x": "y" * 500}),
    "arrays": lambda out: records.write_arrays(
        out / "a.npz", {"x": np.random.default_rng(0).normal(size=200)}
    ),
    "potential": lambda out: store.save(out, *potential_and_card()),
    "frames": lambda out: write_frames(out / "a.extxyz", frames()),
    "checkpoint": lambda out: checkpoint.save(
        out / "a.safetensors", [np.ones(200)], checkpoint.Progress(0, 1, 2, 3, 4, 5, []), {}
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_a_clear_error_and_keeps_what_was_there(name, tmp_path):
    write = WRITERS[name]
    write(tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    named = str(tmp_path)
    with files_of_at_most(100), pytest.raises(StorageError, match="expected to write") as told:
        write(tmp_path)
    assert named in str(told.value)
    after = {file: file.read_bytes() for file in tmp_path.iterdir()}
    missing = before.keys() - after.keys()  # a card never stands beside weights of another
    assert missing <= {tmp_path / store.CARD}
    assert after == {file: content for file, content in before.items() if file not in missing}
    write(tmp_path)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_trajectory_on_a_full_disk_holds_the_last_flush_and_goes_on(tmp_path):
    file = tmp_path / "run.h5md"
    system = System(np.zeros((4, 3)), np.full(4, 18), 9 * np.eye(3), np.array([True] * 3))
    channels = [Channel("positions", (4, 3), "Å", 1)]
    writer = Writer.open(file, system, channels, {}, after_step=None)

    def append(first, count):
        steps = np.arange(first, first + count)
        values = np.broadcast_to(steps[:, None, None], (count, 4, 3)) * 1.0
        writer.append("positions", steps, steps * 1.0, values)

    append(0, 100)
    writer.flush()
    append(100, 2000)
    with files_of_at_most(file.stat().st_size + 5000), pytest.raises(StorageError):
        writer.flush()
    assert len(read(file)["positions"]) == 100
    writer.flush()  # there is room again: what was handed over is not lost
    found = read(file)["positions"]
    np.testing.assert_array_equal(found[:][:, 0, 0], np.arange(2100))


def test_training_goes_on_without_its_checkpoint(tmp_path):
    undisturbed = small_run.bits(small_run.run())
    warned = pytest.warns(RuntimeWarning, match="could not be kept")
    with warned, files_of_at_most(200):
        fitted = small_run.run(keeper=Keeper(tmp_path))
    assert small_run.bits(fitted) == undisturbed
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of one run, its inputs, and what comes of it undisturbed."""
    folder = tmp_path_factory.mktemp("study")
    small.write_inputs(folder)
    settings = small.settings(
        runs=[{"name": "zero", "strategy": {"kind": "zero_shot"}}],
        probes=[{"kind": "accuracy", "name": "accuracy"}],
    )
    config = validate(settings, StudyConfig, where="test")
    execute(config, folder, folder / "whole")
    return config, folder, commands.contents(folder / "whole")


@pytest.mark.parametrize("size", [300, 600, 900, 2000, 3500])
def test_a_study_on_a_full_disk_stops_and_is_continued(study, size, tmp_path):
    config, folder, whole = study
    with files_of_at_most(size), pytest.raises(StorageError):
        execute(config, folder, tmp_path)
    commands.contents(tmp_path)  # everything there is whole
    finished = commands.finished(tmp_path)
    execute(config, folder, tmp_path)
    commands.assert_equal(commands.contents(tmp_path), whole, 0.0)
    assert finished.items() <= commands.finished(tmp_path).items()
    assert harness.leftovers(tmp_path) == []


def test_a_report_on_a_full_disk_keeps_the_old_one(study, tmp_path):
    out = shutil.copytree(study[1] / "whole", tmp_path / "out")
    old = write_report(out).read_bytes()
    with files_of_at_most(10_000), pytest.raises(StorageError, match=r"report\.html"):
        write_report(out)
    assert (out / "report.html").read_bytes() == old
    with files_of_at_most(len(old) + 1000), contextlib.suppress(StorageError):
        write_report(out, figures=True)
    for file in out.glob("figures/*"):
        assert file.read_bytes().rstrip().endswith((b"%%EOF", b"IEND\xaeB`\x82"))
    assert harness.leftovers(out) == []


def test_dynamics_on_a_full_disk_stops_and_is_continued(tmp_path):
    system = _dynamics.starting_system(*_dynamics.example_start())
    settings = MdConfig(
        temperature_k=40, timestep_fs=4.0, ensemble={"kind": "nvt_langevin"}, steps=200,  # type: ignore[arg-type]
        intervals={"thermo": 1, "positions": 1, "velocities": 1}, checkpoint_every=20,  # type: ignore[arg-type]
    )  # fmt: skip
    potential = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), small.FOUNDATION)
    whole = run(potential, system, settings, directory=tmp_path / "whole")
    most = (tmp_path / "whole" / "production.h5md").stat().st_size
    with files_of_at_most(most - 20_000), pytest.raises(StorageError):
        run(potential, system, settings, directory=tmp_path / "full")
    again = run(potential, system, settings, directory=tmp_path / "full")
    np.testing.assert_array_equal(again.lanes[0].velocities, whole.lanes[0].velocities)
    found, wanted = (read(r.lanes[0].files["production"])["positions"] for r in (again, whole))
    np.testing.assert_array_equal(found[:], wanted[:])


@contextlib.contextmanager
def disk(folder, size):
    """A file system of so many kB."""
    folder.mkdir()
    options = f"size={size}k"
    tried = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if not tried or tried.returncode:
        pytest.skip("mounting a file system is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.faults
@pytest.mark.parametrize("name", ["train", "study", "md", "neb", "report"])
def test_commands_on_full_disks_say_so_and_are_continued(name, tmp_path):
    site, command = harness.Harness(tmp_path), COMMANDS[name]
    whole = tmp_path / "whole"
    harness.prepare(command, site, whole)
    expected = site.complete(command, whole).contents
    used = sum(file.stat().st_size for file in whole.rglob("*")) // 1024
    refused = 0
    for share in (0.02, 0.3, 0.6, 0.9):
        place = tmp_path / f"disk{share}"
        with disk(place, max(16, int(share * used))):
            out = place / "out"
            with contextlib.suppress(OSError, shutil.Error):
                harness.prepare(command, site, out)
            process = site.begin(command, out)
            said, _ = process.communicate()
            text = said.decode()
            assert "Traceback" not in text, text[-2000:]
            refused += process.returncode != 0
            if process.returncode:
                assert "No space left on device" in text or "no usable study.json" in text
            subprocess.run(
                ["mount", "-o", f"remount,size={3 * used + 4096}k", str(place)], check=True
            )
            if name == "report":
                shutil.copytree(whole, out, dirs_exist_ok=True)
            found = site.complete(command, out)
            commands.assert_equal(found.contents, expected, command.rtol, f"{name}, {share}")
            assert harness.leftovers(out) == []
    assert refused >= 2


def test_messages_of_workers_are_no_reason_to_fail(tmp_path):
    from mlffjax.study.executors._messages import Relay

    relay = Relay(Path(tmp_path) / "task.jsonl")
    with files_of_at_most(10):
        relay.tell("train", "run", "text" * 50, fraction=0.0)
    assert os.listdir(tmp_path) in ([], ["task.jsonl"])
