"""``init`` writes what ``study --dry-run`` accepts, and replaces nothing unasked."""

import pytest
from study import small

from mlffjax.cli import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small.write_inputs(tmp_path)
    return tmp_path


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main.main(arguments)
    out, err = capsys.readouterr()
    return stop.value.code, out, err


def test_what_init_writes_a_study_plans(folder, capsys):
    arguments = ["init", "frames.xyz", "--path", "hop.xyz", "--size", "tiny", "--out", "my.yaml"]
    code, out, _ = run(capsys, *arguments)
    assert code == main.OK
    assert "16 frames of Ar; labels read from REF_energy, REF_forces" in out
    assert "kinds: cold 8, hot 8" in out
    assert "next: mlffjax study my.yaml --dry-run" in out
    text = (folder / "my.yaml").read_text()
    assert text.startswith("# Written by `mlffjax init` for 16 frames of Ar (8 cold, 8 hot)")

    code, out, _ = run(capsys, "study", "my.yaml", "--dry-run")
    assert code == main.OK
    assert "Scratch-100pct" in out
    assert "accuracy, hop, hop_relaxed, dynamics" in out

    (folder / "my.yaml").write_text("mine\n")
    code, _, err = run(capsys, *arguments)
    assert code == main.REFUSED
    assert "my.yaml exists already" in err
    assert (folder / "my.yaml").read_text() == "mine\n"
    code, _, _ = run(capsys, *arguments, "--force")
    assert code == main.OK
    assert (folder / "my.yaml").read_text() == text


def test_nothing_is_left_where_data_cannot_be_used(folder, capsys):
    code, _, err = run(capsys, "init", "frames.xyz", "frames.xyz*", "hop.xyz", "hop.x?z",
                       "--path", "nothing.xyz")  # fmt: skip
    assert code == main.REFUSED
    assert "nothing.xyz" in err
    assert not (folder / "study.yaml").exists()


def test_an_unknown_size_is_refused(folder, capsys):
    code, _, err = run(capsys, "init", "frames.xyz", "--size", "huge")
    assert code == main.REFUSED
    assert "expected one of tiny, small, medium, got 'huge'" in err
