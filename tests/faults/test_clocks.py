"""Clocks that jump: nothing finished is done again, and every result is the same."""

import os
import time

import pytest
from faults import commands
from study import small

from mlffjax.config import validate
from mlffjax.study import execute as executing
from mlffjax.study.config import StudyConfig

HOUR = 3600.0


class Jumping:
    """A clock that goes an hour back and forth."""

    def __init__(self, clock):
        self.clock, self.calls = clock, 0

    def __call__(self):
        self.calls += 1
        return self.clock() + (HOUR if self.calls % 2 else -HOUR)


@pytest.fixture
def study(tmp_path):
    small.write_inputs(tmp_path)
    settings = small.settings(
        runs=[{"name": "zero", "strategy": {"kind": "zero_shot"}},
              {"name": "tuned", "strategy": {"kind": "finetune"}}],
        probes=[{"kind": "accuracy", "name": "accuracy"}],
    )  # fmt: skip
    return validate(settings, StudyConfig, where="test"), tmp_path


def test_jumps_change_no_result_and_cause_no_work(study, monkeypatch):
    config, folder = study
    executing.execute(config, folder, folder / "whole")
    whole = commands.contents(folder / "whole")
    for name in ("time", "time_ns", "monotonic"):
        monkeypatch.setattr(time, name, Jumping(getattr(time, name)))
    out = folder / "out"
    executing.execute(config, folder, out)
    commands.assert_equal(commands.contents(out), whole, 0.0)
    for number, file in enumerate(sorted(out.rglob("*"))):  # of the past and of the future
        moment = time.time() + (-1) ** number * 1e6
        os.utime(file, (moment, moment))
    finished = commands.finished(out)
    events = []
    executing.execute(config, folder, out, observe=events.append)
    assert [event.stage for event in events] == ["done"]
    assert commands.finished(out) == finished
    commands.assert_equal(commands.contents(out), whole, 0.0)
