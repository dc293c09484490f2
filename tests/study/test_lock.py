import os
import subprocess
import sys

import pytest

from mlffjax.errors import InputError
from mlffjax.study.lock import FILE, locked


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
