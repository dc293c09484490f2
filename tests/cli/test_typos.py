"""A typo in a configuration is answered with the right key, by every command that reads one."""

import importlib
from pathlib import Path

import pytest

from mlffjax import config
from mlffjax.cli import main, schema
from mlffjax.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"


def commands():
    return sorted(schema.classes())


def first_key(command):
    """A key of the command's configuration that is required, or the first."""
    module, _, name = schema.classes()[command].partition(":")
    fields = getattr(importlib.import_module(module), name).model_fields
    return next((key for key, field in fields.items() if field.is_required()), next(iter(fields)))


@pytest.mark.parametrize("command", commands())
@pytest.mark.parametrize("log", ["text", "json"])
def test_a_misspelt_key_is_answered_with_the_right_one(command, log, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    key = first_key(command)
    (tmp_path / "mine.yaml").write_text(f"{key[:-1]}x: 1\n")
    with pytest.raises(SystemExit) as stop:
        main.main(
            [command, "mine.yaml", "--dry-run", *(["--log", "json"] if log == "json" else [])]
        )
    out, err = capsys.readouterr()
    if log == "json" and "No such option" in err:
        pytest.fail(f"{command} has no --log")
    assert stop.value.code == main.REFUSED
    assert f"unknown key '{key[:-1]}x'; did you mean '{key}'?".replace("'", "") in err.replace(
        "'", ""
    )
    assert out == ""
    assert err.startswith('{"time": ' if log == "json" else "error: ")
    assert list(tmp_path.iterdir()) == [tmp_path / "mine.yaml"]  # nothing was begun


@pytest.mark.parametrize("command", commands())
def test_a_misspelt_packaged_name_is_answered_with_the_nearest(command, capsys):
    name = {"slide": "md.yaml"}.get(command, "quickstart" if command == "study" else command)
    stem, dot, suffix = name.partition(".")
    with pytest.raises(SystemExit) as stop:
        main.main([command, f"{stem}x{dot}{suffix}", "--dry-run"])
    assert stop.value.code == main.REFUSED
    err = capsys.readouterr().err
    assert f"did you mean {stem!r}?" in err


def test_overrides_are_checked_alike():
    path = CONFIGS / "quickstart.yaml"
    module, _, name = schema.classes()["study"].partition(":")
    model = getattr(importlib.import_module(module), name)
    for change, answer in {
        "training.epoch=3": "training: unknown key 'epoch'; did you mean 'epochs'?",
        "runs.1.strategy.kind=scrath": "did you mean 'scratch'?",
        "probes.1.pth=x": "unknown key 'pth'; did you mean 'path'?",
        "verdict.barrier_eror_ev=1": "did you mean 'barrier_error_ev'?",
        "executor.wrokers=2": "did you mean 'workers'?",
    }.items():
        with pytest.raises(ConfigError) as error:
            config.read(path, model, [change])
        assert answer in str(error.value)
