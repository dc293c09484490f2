"""Output folders that cannot be written, that vanish, and that two processes want."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faults import commands, harness
from faults.commands import COMMANDS
from faults.test_full_disk import disk
from study import small
from typer.testing import CliRunner

from mlffjax.cli import main
from mlffjax.config import validate
from mlffjax.dynamics.config import MdConfig
from mlffjax.dynamics.run import run
from mlffjax.errors import InputError, StorageError
from mlffjax.probes import _dynamics
from mlffjax.study.config import StudyConfig
from mlffjax.study.execute import execute
from mlffjax.study.lock import FILE, locked


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return harness.Harness(tmp_path_factory.mktemp("folders"))


def study_of(**changes):
    settings = small.settings(
        runs=[{"name": "zero", "strategy": {"kind": "zero_shot"}}],
        probes=[{"kind": "accuracy", "name": "accuracy"}],
        **changes,
    )
    return validate(settings, StudyConfig, where="test")


def test_a_folder_that_is_a_file_is_refused_by_every_command(site, tmp_path, monkeypatch):
    monkeypatch.chdir(site.folder)
    (tmp_path / "out").write_text("mine")
    for name in ("train", "study", "sweep", "md", "neb", "report"):
        result = CliRunner().invoke(
            main.make_app(), [*COMMANDS[name].arguments, str(tmp_path / "out")]
        )
        assert isinstance(result.exception, StorageError | InputError), (name, result.exception)
        assert str(tmp_path / "out") in str(result.exception)
    assert (tmp_path / "out").read_text() == "mine"


def test_an_error_of_the_disk_is_told_without_a_traceback():
    text, code = main.told(StorageError("out: expected to write there"), show=False)
    assert text == "error: out: expected to write there"
    assert code == main.REFUSED


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_permission(site, tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(StorageError, match="give permission"):
        execute(study_of(), site.folder, tmp_path / "out")
    tmp_path.chmod(0o755)


def test_a_read_only_file_system(site, tmp_path):
    with disk(tmp_path / "disk", 4096):
        out = tmp_path / "disk" / "out"
        execute(study_of(), site.folder, out)
        subprocess.run(["mount", "-o", "remount,ro", str(out.parent)], check=True)
        with pytest.raises(StorageError, match="Read-only file system"):
            execute(study_of(), site.folder, out)
        assert commands.contents(out)


def test_a_folder_that_vanishes_ends_a_study_with_a_clear_error(site, tmp_path):
    out = tmp_path / "out"

    def remove(event):
        if event.stage == "probe" and event.finished:
            shutil.rmtree(out)

    with pytest.raises(StorageError, match="removed or replaced meanwhile"):
        execute(study_of(), site.folder, out, observe=remove)
    again = execute(study_of(), site.folder, out)
    assert again.failures() == ()


def test_a_folder_that_vanishes_ends_dynamics_with_a_clear_error(tmp_path):
    system = _dynamics.starting_system(*_dynamics.example_start())
    settings = MdConfig(
        temperature_k=40, timestep_fs=4.0, ensemble={"kind": "nve"}, steps=60,  # type: ignore[arg-type]
        checkpoint_every=20,
    )  # fmt: skip
    out = tmp_path / "out"
    with pytest.raises(StorageError, match=r"production\.h5md: expected to write there"):
        run(small.TRUTH, system, settings, directory=out, progress=lambda *_: shutil.rmtree(out))


def test_a_folder_that_was_replaced_is_not_taken_for_the_own(tmp_path):
    out = tmp_path / "out"

    def replace():
        with locked(out):
            shutil.rmtree(out)
            with locked(out):  # another process comes first
                pass

    with pytest.raises(StorageError, match="removed or replaced"):
        replace()


def holder_of(out, process):
    """Wait until a process holds a directory."""
    for _ in range(1200):
        file = out / FILE
        if file.is_file() and f"process {process.pid} " in file.read_text():
            return
        assert process.poll() is None, "it ended too early"
        time.sleep(0.05)
    raise AssertionError("nobody holds it")


@pytest.mark.parametrize("name", ["neb", pytest.param("md", marks=pytest.mark.faults)])
def test_a_second_process_is_refused_and_a_dead_one_is_no_obstacle(site, name):
    command, out = COMMANDS[name], site.folder / f"shared-{name}"
    first = site.begin(command, out)
    try:
        holder_of(out, first)
        first.send_signal(signal.SIGSTOP)  # it stays where it is
        second = site.begin(command, out)
        said, _ = second.communicate()
        assert second.returncode not in (0, harness.KILLED)
        assert f"another process is writing this study (process {first.pid} on " in said.decode()
        assert "Traceback" not in said.decode()
    finally:
        first.kill()
        first.communicate()
    assert site.complete(command, out).contents  # the lock of the dead is taken over


WRITER = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print(flush=True)
time.sleep(60)
"""


def test_leftovers_of_the_dead_go_and_files_of_the_living_stay(tmp_path):
    out = tmp_path / "out"
    dead, alive = out / ".a.json.12-ab.tmp", out / "runs" / "x" / ".b.npz.13-cd.tmp"
    alive.parent.mkdir(parents=True)
    dead.write_text("half")
    command = [sys.executable, "-c", WRITER, str(alive)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        with locked(out):
            assert not dead.exists()
            assert alive.exists()
    finally:
        writer.kill()
        writer.communicate()
    with locked(out):
        assert not alive.exists()
    assert Path(out / FILE).exists()
