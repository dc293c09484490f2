"""The schema accepts what is read and refuses what is refused, for every packaged configuration."""

import copy
import importlib
import json
from pathlib import Path

import pytest

from mlffjax import config, registry
from mlffjax.cli import main, schema
from mlffjax.errors import ConfigError

jsonschema = pytest.importorskip("jsonschema")
CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
_cache = {}


def model_of(command):
    module, _, name = schema.classes()[command].partition(":")
    return getattr(importlib.import_module(module), name)


def validator(command):
    if command not in _cache:
        found = config.json_schema(model_of(command))
        jsonschema.Draft202012Validator.check_schema(found)
        _cache[command] = jsonschema.Draft202012Validator(found)
    return _cache[command]


def command_of(path):
    """The one command whose configuration a file is, by its class."""
    fitting = []
    for command in schema.classes():
        try:
            config.read(path, model_of(command))
        except ConfigError:
            continue
        fitting.append(command)
    assert len(fitting) == 1, f"{path.name} is valid for {fitting or 'no command'}"
    return fitting[0]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_packaged_configurations_fit_the_schema_of_their_command(path):
    data = config.plain(path.read_text(), where=path.name)
    check = validator(command_of(path))
    assert [error.message for error in check.iter_errors(data)] == []
    wrong = {**data, "nothing_like_it": 1}
    assert not check.is_valid(wrong)


@pytest.mark.parametrize(
    ("change", "right"),
    [
        ({"executor": {"workers": 2}}, True),  # local unless said
        ({"executor": {"kind": "ray", "num_gpus": 1}}, True),
        ({"executor": {"kind": "rey"}}, False),
        ({"executor": {"wrokers": 2}}, False),
        ({"training": {"epochs": 0}}, False),
        ({"probes": [{"kind": "accuracy", "name": "a", "path": "x"}]}, False),
        ({"probes": [{"name": "a"}]}, False),
        ({"model": {"kind": "mace", "max_ell": 7}}, False),
        ({"runs": [{"name": "a", "strategy": {"kind": "scratch"}}]}, True),
        ({"runs": [{"name": "a", "strategy": {"kind": "scratch", "rank": 4}}]}, False),
        ({"runs": [{"name": "a", "strategy": {"kind": "scratch",
                    "reference_energies": {"Cr": -1.5}}}]}, True),
        ({"runs": [{"name": "a", "strategy": {"kind": "ensemble",
                    "member": {"kind": "finetune"}}}]}, True),
        ({"runs": [{"name": "a", "strategy": {"kind": "ensemble",
                    "member": {"kind": "finetone"}}}]}, False),
    ],
)  # fmt: skip
def test_sections_by_kind_are_as_strict_as_the_classes(change, right):
    path = next(path for path in CONFIGS if path.stem == "quickstart")
    data = copy.deepcopy(config.plain(path.read_text(), where="x")) | change
    assert validator("study").is_valid(data) is right
    if right:
        config.assemble(data, model_of("study"), where="x")
    else:
        with pytest.raises(ConfigError):
            config.assemble(data, model_of("study"), where="x")


def test_every_kind_is_in_the_schema():
    names = config.json_schema(model_of("study"))["$defs"]
    for package in ("training.strategies", "probes", "potential.sources", "study.executors"):
        assert {f"{package}.{kind}" for kind in registry.kinds(package)} <= set(names)


def test_the_command_prints_it(capsys):
    with pytest.raises(SystemExit) as stop:
        main.main(["schema", "slide"])
    assert stop.value.code == main.OK
    assert "surface" in json.loads(capsys.readouterr().out)["properties"]


def test_an_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        main.main(["schema", "doctor"])
    assert stop.value.code == main.REFUSED
    assert "expected a command with a configuration" in capsys.readouterr().err
