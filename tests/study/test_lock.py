import os
import subprocess
import sys

import pytest

from mlffjax.errors import InputError
from mlffjax.study import lock
from mlffjax.study.lock import FILE, locked, wait_until_free


def test_second_holder_is_refused_by_name(tmp_path):
    refused = pytest.raises(InputError, match=f"process {os.getpid()} on ")
    with locked(tmp_path / "out"), refused, locked(tmp_path / "out"):
        pass


def test_free_again_after_the_context_and_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), locked(tmp_path):
        raise RuntimeError
    with locked(tmp_path):
        pass


def test_lock_of_a_killed_process_is_taken_over(tmp_path):
    code = (
        "import os, pathlib, sys\n"
        "from mlffjax.study.lock import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n"
        "    os._exit(9)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, tmp_path], env=environment, check=False)
    assert (tmp_path / FILE).exists()
    with locked(tmp_path):
        assert str(os.getpid()) in (tmp_path / FILE).read_text()


def test_who_waits_is_told_the_holder_and_goes_on_when_it_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "PAUSE", 0.0)
    held = locked(tmp_path)
    held.__enter__()
    told = []

    def wait(holder):
        told.append(holder)
        if len(told) == 2:
            held.__exit__(None, None, None)

    with locked(tmp_path, wait=wait):
        assert len(told) == 2
        assert told[0].startswith(f"process {os.getpid()} on ")
        with pytest.raises(InputError), locked(tmp_path):
            pass
    wait_until_free(tmp_path, told.append)
    with locked(tmp_path):  # free, and nothing was kept
        assert len(told) == 2


def test_nothing_is_made_to_see_that_a_directory_is_free(tmp_path):
    wait_until_free(tmp_path / "absent", lambda holder: None)
    assert not (tmp_path / "absent").exists()
