"""A dry run counts runs, frames and steps, and leaves nothing behind."""

import pytest
import yaml
from study import small

from mlffjax.cli import main


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
