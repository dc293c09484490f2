"""A dry run counts runs, frames and steps, and leaves nothing behind."""

import pytest
import yaml
from study import small

from mlffjax.cli import _plan, main
from mlffjax.study.estimate import Estimate, Pace, Span


def test_dry_run_shows_the_plan_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small.write_inputs(tmp_path)
    (tmp_path / "argon.yaml").write_text(yaml.safe_dump(small.settings()))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as stop:
        main.main(["study", "argon.yaml", "--dry-run", "--set", "training.batch=3"])
    assert stop.value.code == main.OK
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    # 8 frames of either kind: 0.15 of 8 and 0.25 of 8 are 1 and 2, so 5 are left to train on.
    assert ["scratch", "0", "scratch", "10", "2", "4", "3", "12"] in rows
    assert ["zero", "0", "zero_shot", "10", "2", "4", "0", "0"] in rows
    assert ["tuned", "1", "finetune", "4", "1", "4", "3", "6"] in rows
    assert rows[5][:8] == ["4", "run(s)", "x", "3", "probe(s)", "=", "12", "record(s):"]
    assert sorted(tmp_path.rglob("*")) == before


def test_an_estimate_is_told_in_words():
    found = Estimate(
        paces={"scratch": Pace((0.010, 0.012, 0.020), 3.0)},
        training=Span(100.0, 120.0, 200.0),
        probes=Span(7200.0, 7200.0, 7200.0),
        counted=("accuracy", "hop"),
        uncounted=("strain",),
        memory=1.25e9,
    )
    assert _plan.told(found) == [
        "measured here and now, scratch: 12 ms (10 to 20) a step, compiled in 3 s",
        "training: at most 2 min (1.7 min to 3.3 min), one run after another on this machine",
        "probes accuracy, hop: at most 2 h, without compilation",
        "not estimated: probes strain",
        "memory: 1.2 GB used by these few steps",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.5, "0.5 s"), (90.0, "90 s"), (240.0, "4 min"), (5.4e4, "15 h"), (8.64e5, "10 days")],
)
def test_durations_in_words(seconds, words):
    assert _plan.duration(seconds) == words
