"""``convert`` writes what ``load`` reads, and refuses in one message."""

import pytest
from references import torch_archives, torch_checkpoint

from mlffjax.cli import main
from mlffjax.potential import releases, store
from mlffjax.potential.convert import importer


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


@pytest.fixture
def published(tmp_path, stored, monkeypatch):
    """Two names whose file is in the cache already; nothing is asked of a network."""
    monkeypatch.setenv("MLFFJAX_CACHE", str(tmp_path / "cache"))
    address = "http://127.0.0.1:9/tiny.model"  # nobody listens there
    labels = releases.Labels("Psi4, SPICE", "wB97M-D3(BJ)", "D3(BJ)")
    for name, licence in (("free-0", "MIT"), ("bound-0", releases.ASL)):
        monkeypatch.setitem(releases.RELEASES, name, releases.Release(address, licence, labels))
    releases.cache_folder().mkdir(parents=True)
    stored.rename(releases.cache_folder() / "tiny.model")
    return releases.cache_folder()


def test_a_published_model_is_known_by_name(tmp_path, published, capsys):
    code, out, _ = run(capsys, "free-0", tmp_path / "out")
    assert code == main.OK
    assert "free-0 from http://127.0.0.1:9/tiny.model, MIT licence" in out
    assert "warning" not in out
    card = store.load_card(tmp_path / "out")
    assert (card.name, card.functional, card.dispersion) == ("free-0", "wB97M-D3(BJ)", "D3(BJ)")
    assert card.provenance["release"]["licence"] == "MIT"
    assert card.provenance["source"]["sha256"] in (published / "tiny.model.sha256").read_text()


def test_a_directory_does_not_hide_a_name(tmp_path, published, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "free-0").mkdir()
    assert run(capsys, "free-0", "free-0")[0] == main.OK
    assert store.load_card(tmp_path / "free-0").name == "free-0"


def test_what_the_user_says_of_a_published_model_counts(tmp_path, published, capsys):
    options = ["--dispersion", "none", "--functional", "PBE", "--name", "mine"]
    assert run(capsys, "free-0", tmp_path / "out", *options)[0] == main.OK
    card = store.load_card(tmp_path / "out")
    assert (card.name, card.reference, card.functional) == ("mine", "Psi4, SPICE", "PBE")
    assert card.dispersion is None


def test_terms_names_and_connections_are_refused_in_one_message(tmp_path, published, capsys):
    code, _, err = run(capsys, "bound-0", tmp_path / "out")
    assert (code, "--accept-licence" in err) == (main.REFUSED, True)
    assert run(capsys, "bound-0", tmp_path / "bound", "--accept-licence")[0] == main.OK
    code, _, err = run(capsys, "fre-0", tmp_path / "out")
    assert (code, "did you mean 'free-0'" in err) == (main.REFUSED, True)
    (published / "tiny.model").unlink()
    code, _, err = run(capsys, "free-0", tmp_path / "out")
    assert code == main.REFUSED
    assert "http://127.0.0.1:9/tiny.model" in err
    assert f"put it at {published / 'tiny.model'}" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_heads_are_chosen_or_all_written(tmp_path, stored, capsys, monkeypatch):
    assert run(capsys, stored, tmp_path / "one", "--head", "Default")[0] == main.OK
    code, _, err = run(capsys, stored, tmp_path / "other", "--head", "pbe")
    assert (code, "pbe" in err) == (main.REFUSED, True)
    assert run(capsys, stored, tmp_path / "all", "--head", "all")[0] == main.OK
    card = store.load_card(tmp_path / "all" / "Default")
    assert card.name == "tiny-Default"
    monkeypatch.setattr(importer, "heads", lambda path: ("../up",))
    code, _, err = run(capsys, stored, tmp_path / "bad", "--head", "all")
    assert (code, "'../up'" in err) == (main.REFUSED, True)
