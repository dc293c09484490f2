"""``train`` shows the errors of the potential and where it is; a divergence is exit code 1."""

import json

import pytest
import yaml
from study import small

from mlffjax.cli import main
from mlffjax.potential import store


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("train")
    small.write_inputs(path)
    whole = small.settings()
    entries = {name: whole[name] for name in ("data", "splits", "foundation", "training")}
    entries |= {"name": "tuned", "strategy": {"kind": "finetune"}}
    entries["training"] |= {"epochs": 1}
    (path / "tuned.yaml").write_text(yaml.safe_dump(entries))
    return path


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main.main(["train", *map(str, arguments)])
    out, err = capsys.readouterr()
    return stop.value.code, out, err


def test_a_dry_run_shows_the_plan(folder, capsys):
    code, out, _ = run(capsys, folder / "tuned.yaml", "--dry-run", "--out", folder / "none")
    assert code == main.OK
    rows = [line.split() for line in out.splitlines()]
    assert ["tuned", "0", "finetune", "10", "2", "4", "1", "3"] in rows
    assert not (folder / "none").exists()


def test_errors_and_place_are_shown_and_progress_can_be_json(folder, capsys):
    out = folder / "out"
    code, text, err = run(capsys, folder / "tuned.yaml", "--out", out, "--log", "json")
    assert code == main.OK, err
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "root mean square errors train validation test" in lines
    assert "frames 10 2 4" in lines
    assert lines[-1] == f"potential: {out}"
    events = [json.loads(line) for line in err.splitlines()]
    kinds = {event["event"] for event in events}
    assert kinds == {"progress", "warning"}  # a note says where reference energies come from
    last = [event for event in events if event["event"] == "progress"][-1]
    assert (last["stage"], last["finished"], last["done"]) == ("done", True, last["total"])
    assert store.load(out)[1].elements == ("Ar",)


def test_quiet_says_what_failed_and_nothing_else(folder, capsys):
    changes = ["training.learning_rate=1e9", "training.clip=null", "training.epochs=2"]
    options = [word for change in changes for word in ("--set", change)]
    code, out, err = run(capsys, folder / "tuned.yaml", "--out", folder / "bad", "-q", *options)
    assert code == main.FAILED
    assert out == ""
    assert "failed: tuned" in err
