"""``convert`` writes what ``load`` reads, and refuses in one message."""

import pytest
from references import torch_archives, torch_checkpoint

from mlffjax.cli import main
from mlffjax.potential import store


@pytest.fixture
def stored(tmp_path):
    return torch_checkpoint.unpack(tmp_path / "tiny.model")


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main.main(["convert", *map(str, arguments)])
    out, err = capsys.readouterr()
    return stop.value.code, out, err


def test_writes_a_potential(tmp_path, stored, capsys):
    options = ["--elements", "Te, Sb", "--name", "mine"]
    options += ["--reference", "VASP PBE", "--functional", "PBE"]
    code, out, _ = run(capsys, stored, tmp_path / "a" / "out", *options)
    assert code == main.OK
    potential, card = store.load(tmp_path / "a" / "out")
    assert potential.elements == (51, 52)
    assert (card.name, card.reference, card.functional) == ("mine", "VASP PBE", "PBE")
    assert card.dispersion is None
    assert card.checksum in out
    assert "warning" not in out


def test_a_card_that_states_nothing_brings_a_warning(tmp_path, stored, capsys):
    code, out, _ = run(capsys, stored, tmp_path / "out", "--dispersion", "D3(BJ)")
    assert code == main.OK
    assert "warning: the card does not state" in out
    card = store.load_card(tmp_path / "out")
    assert (card.name, card.reference, card.dispersion) == ("tiny", "not stated", "D3(BJ)")


def test_refusals_are_one_message_and_leave_nothing(tmp_path, stored, capsys):
    attack = torch_archives.call(torch_archives.name("os", "system"), torch_archives.literal("x"))
    hostile = torch_archives.write(tmp_path / "bad.model", attack)
    for arguments, message in (
        ([hostile], "'os.system'"),
        ([stored, "--elements", "Xx"], "got 'Xx'"),
        ([stored, "--elements", ","], "got '', ''"),
        ([stored, "--elements", "Fe"], "does not know Fe"),
        ([tmp_path / "absent.model"], "No such file"),
    ):
        code, out, err = run(capsys, arguments[0], tmp_path / "out", *arguments[1:])
        assert (code, out) == (main.REFUSED, "")
        assert message in err
        assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(tmp_path, stored, capsys):
    assert run(capsys, stored, tmp_path / "out")[0] == main.OK
    before = (tmp_path / "out" / store.CARD).read_bytes()
    code, _, err = run(capsys, stored, tmp_path / "out", "--name", "other")
    assert code == main.REFUSED
    assert "already holds a potential" in err
    assert (tmp_path / "out" / store.CARD).read_bytes() == before
