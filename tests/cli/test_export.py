"""``export`` refuses in one message; what it writes is tested with the writers."""

import pytest

from mlffjax.cli import main
from mlffjax.potential.convert import exporter, mace_jax_bundle


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main.main(["export", *map(str, arguments)])
    out, err = capsys.readouterr()
    return stop.value.code, out, err


@pytest.mark.parametrize(
    ("suffix", "module"), [(".model", exporter), (".json", mace_jax_bundle)], ids=["torch", "jax"]
)
def test_the_suffix_chooses_the_writer(tmp_path, capsys, monkeypatch, suffix, module):
    calls = []

    def write(path, potential, *, dtype):
        calls.append((path, potential.elements, dtype))

    monkeypatch.setattr(module, "export", write)
    out = tmp_path / f"mine{suffix}"
    code, text, _ = run(capsys, "bundled:generalist", out, "--dtype", "float32")
    assert code == main.OK
    assert calls == [(out, (24, 51, 52), "float32")]
    assert f"mine{suffix}: generalist for Cr, Sb, Te" in text


def test_refusals_are_one_message(tmp_path, capsys):
    there = tmp_path / "there.model"
    there.write_text("mine")
    for arguments, message in (
        (["bundled:generalist", tmp_path / "x.pt"], "suffix .model or .json"),
        (["bundled:generalist", there], "exists already"),
        ([tmp_path / "absent", tmp_path / "y.model"], "card.json"),
    ):
        code, out, err = run(capsys, *arguments)
        assert (code, out) == (main.REFUSED, "")
        assert message in err
        assert err.count("\n") == 1
    assert there.read_text() == "mine"
