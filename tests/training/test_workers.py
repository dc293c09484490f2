import math
import operator
import os
import subprocess
import sys

import pytest

from mlffjax.errors import TrainingError
from mlffjax.training.workers import answers, helpers


def test_answers_come_in_the_order_of_the_questions():
    assert answers(math.factorial, range(20), 2) == [math.factorial(n) for n in range(20)]


def test_other_processes_do_the_work():
    owners = answers(_owner, [None] * 4, 2)
    assert os.getpid() not in owners
    assert answers(_owner, [None], 2) == [os.getpid()]
    assert answers(_owner, [None] * 2, 1) == [os.getpid()] * 2


def _owner(question):
    del question
    return os.getpid()


def test_errors_are_those_of_the_function():
    with pytest.raises(ValueError, match="negative"):
        answers(math.factorial, [3, -1, 4], 2)


def test_printing_does_not_disturb_the_answers(capfd):
    assert answers(print, ["words", "more"], 2) == [None, None]
    assert "words" in capfd.readouterr().err


def test_death_of_a_process_is_an_error():
    with pytest.raises(TrainingError, match="ended with status 3"):
        answers(os._exit, [3, 3, 3], 2)


def test_a_script_without_guard_is_not_run_again(tmp_path):
    """What multiprocessing would do: import the script in every process."""
    script = tmp_path / "script.py"
    script.write_text(
        "print('once')\nfrom operator import neg\n"
        "from mlffjax.training.workers import answers\nprint(answers(neg, [1, 2, 3], 2))\n"
    )
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n") == ["once", "[-1, -2, -3]", ""]
    assert operator.neg(1) == -1


def test_helpers_are_as_many_as_cores_granted(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5}, raising=False)
    assert helpers() == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(100)), raising=False)
    assert helpers() == 8
