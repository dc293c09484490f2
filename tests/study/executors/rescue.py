"""Studies of seconds, and workers killed in the middle of a run."""

import os
import signal
from pathlib import Path

import pytest
from study import small

from mlffjax.config import validate
from mlffjax.study.config import StudyConfig
from mlffjax.study.lock import FILE
from mlffjax.study.records import load_study


def wanted(**changes):
    """Two runs that take a second each, and one that takes no time; one probe."""
    tuned = {"name": "tuned", "strategy": {"kind": "finetune"}, "seeds": [0, 1],
             "data": {"config_types": ["hot"], "count": 4}}  # fmt: skip
    return {
        "runs": [tuned, {"name": "zero", "strategy": {"kind": "zero_shot"}}],
        # In double precision, so that runs end the same in whatever company they are trained.
        "training": {
            "epochs": 800,
            "patience": 800,
            "buckets": 1,
            "learning_rate": 1e-4,
            "precision": "float64",
        },
        "probes": [{"kind": "fixed_path", "name": "hop", "path": "hop"}],
    } | changes


def study(**changes):
    return validate(small.settings(**wanted(**changes)), StudyConfig, where="test")


class Killer:
    """An observer that kills the worker of a run when it hears of an epoch of it."""

    def __init__(self, out: Path, run: str, times: int) -> None:
        self.out, self.run, self.times = out, run, times
        self.killed: list[int] = []
        self.events = []

    def __call__(self, event):
        self.events.append(event)
        ours = event.stage == "train" and event.subject.startswith(self.run)
        if ours and ": epoch " in event.text and len(self.killed) < self.times:
            worker = holder(self.out, event.subject)
            if worker not in self.killed:
                self.killed.append(worker)
                os.kill(worker, signal.SIGKILL)

    def texts(self):
        return [event.text for event in self.events]


def holder(out, run):
    """Process that holds the directory of a run, as its lock says."""
    return int((out / "runs" / run / FILE).read_text().split()[1])


def assert_equal_results(records, expected):
    assert records.failures() == ()
    assert [r.info.id for r in records.runs] == [r.info.id for r in expected.runs]
    for run, other in zip(records.runs, expected.runs, strict=True):
        assert run.info.epochs == other.info.epochs
        for name, record in other.probes.items():
            # Equal to the bit with equally many threads, which tests do not control.
            assert run.probes[name].metrics == pytest.approx(record.metrics, rel=1e-9, abs=1e-11)
            assert run.probes[name].fingerprint == record.fingerprint
    assert load_study(records.directory).summary is not None
