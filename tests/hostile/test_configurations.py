"""YAML that asks for code, for memory or for other files ends in one error of ours."""

import contextlib
import copy
import typing

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from references.bounds import refused

from mlffjax import registry
from mlffjax.config import Config, assemble, fingerprint, plain, read, resolve_path, validate
from mlffjax.errors import ConfigError
from mlffjax.potential.remote import server
from mlffjax.study.config import StudyConfig

STUDY = {
    "name": "x",
    "data": {"files": ["a.xyz"], "reference": "r", "functional": "PBE"},
    "runs": [{"name": "a", "strategy": {"kind": "scratch"}}],
    "probes": [{"kind": "accuracy", "name": "held-out"}],
}


class Loose(Config):
    """Takes anything."""

    value: object = None


CODE = [
    "!!python/object/apply:os.system ['touch {}']",
    "!!python/object/new:subprocess.Popen [['touch', '{}']]",
    "!!python/name:os.system",
    "!!python/module:hostile",
    "!!python/object:hostile.Thing {{}}",
    "!!python/tuple [1, 2]",
    "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch {}']",
    "!hostile {{}}",
]


@pytest.mark.parametrize("text", CODE)
def test_tags_make_no_objects(tmp_path, canary, text):
    path = tmp_path / "x.yaml"
    path.write_text("value: " + text.format(canary))
    with refused(ConfigError) as said:
        read(path, Loose)
    assert said[0].startswith(str(path))


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]\n" for k in range(1, 12)
)
BOMBS = {
    "a billion laughs": LAUGHS,
    "a list in itself": "value: &a [*a]",
    "a section in itself": "value: &a {b: *a}",
    "deep lists": "value: " + "[" * 20_000,
    "deep flow": "value: " + "[\n" * 20_000,
    "deep dashes": "value:\n " + "- " * 20_000 + "x",
    "deep questions": "? " * 20_000 + "x",
    "deep indents": "".join(" " * k + "a:\n" for k in range(1300)),
    "many anchors": "value: " + "&a " * 20_000 + "x",
    "deep sections": "value: " + "{a: " * 20_000,
    "long": "value: [" + "a, " * 400_000 + "]",
    "many digits": "value: " + "9" * 10_000,
    "many hexadecimal digits": "value: 0x" + "f" * 10_000,
    "a day that is none": "value: 2024-99-99",
    "a day": "value: 2024-01-01",
    "no number": "value: !!int x",
    "no float": "value: !!float []",
    "no flag": "value: !!bool perhaps",
    "no time": "value: !!timestamp soon",
    "bytes": "value: !!binary /////w==",
    "no bytes": "value: !!binary ~",
    "a set": "value: !!set {a, b}",
    "pairs": "value: !!pairs [a: 1, a: 2]",
    "a key that is a list": "? [a]\n: 1",
    "zeros": "value: \x00",
    "two documents": "value: 1\n---\nvalue: 2",
    "merged with itself": "a: &a {<<: *a}",
    "an unknown anchor": "value: *a",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_do_not_go_off(tmp_path, name):
    path = tmp_path / "x.yaml"
    path.write_text(BOMBS[name], newline="")
    with refused(ConfigError):
        read(path, Loose)


def test_anchors_may_be_used_as_they_are_meant():
    text = "a: &a {x: 1e-3, y: [1, 2]}\nvalue: {<<: *a, y: 3}"
    assert plain(text, where="x")["value"] == {"x": 1e-3, "y": 3}


plain_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(text=st.text(st.characters(codec="utf-8"), max_size=100) | st.text("a:-?[]{}&*!|>'#%1~. \n"))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(ConfigError):  # and nothing else
        assert plain(text, where="x") == yaml.safe_load(text)


@st.composite
def damaged_studies(draw):
    """The configuration of a study with one to three entries replaced, added or left out."""
    data = copy.deepcopy(STUDY)
    for _ in range(draw(st.integers(1, 3))):
        node, depth = data, draw(st.integers(0, 3))
        for _ in range(depth):
            inner = [v for v in _parts(node) if isinstance(v, dict | list) and v]
            if not inner:
                break
            node = draw(st.sampled_from(inner))
        if isinstance(node, dict):
            known = st.sampled_from(sorted(map(str, node)))
            new = st.sampled_from(sorted(StudyConfig.model_fields)) | st.text(max_size=5)
            node[draw(known | new)] = draw(plain_data)
        elif node:
            node[draw(st.integers(0, len(node) - 1))] = draw(plain_data)
    return data


def _parts(node):
    return list(node.values()) if isinstance(node, dict) else list(node)


@given(data=damaged_studies())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_damaged_studies_are_refused_by_one_kind_of_error(data):
    with contextlib.suppress(ConfigError):
        fingerprint(assemble(data, StudyConfig, where="x"))


@given(override=st.text(max_size=30) | st.text("ab.01=[]{}:!&* ", max_size=20))
@settings(max_examples=300, deadline=None)
def test_any_override_is_applied_or_refused(override):
    with contextlib.suppress(ConfigError):  # and nothing else
        assemble({"a": [1, {"b": 2}], "value": None}, Loose, [override], where="x")


NAMES = ["../x", "/etc/x", "a/b", "a\\b", "..", ".", ".hidden", "", "a\n", "a b", "~", "-rf", "é",
         "a\x00", "con:", "<b>", "\x1b[31m"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ["study", "run", "probe"])
def test_names_that_become_files_cannot_lead_elsewhere(place, name):
    changed = {
        "study": {"name": name},
        "run": {"runs": [{**STUDY["runs"][0], "name": name}]},
        "probe": {"probes": [{**STUDY["probes"][0], "name": name}]},
    }
    with refused(ConfigError):
        assemble({**STUDY, **changed[place]}, StudyConfig, where="x")


def test_every_name_of_a_configuration_is_held_to_the_same_pattern():
    loose = []
    for config in _all_configs():
        for name, field in config.model_fields.items():
            if name == "name" and field.annotation is str:
                pattern = [m for m in field.metadata if getattr(m, "pattern", None)]
                loose += [f"{config.__module__}.{config.__name__}"] if not pattern else []
    assert loose == []


def _all_configs():
    """Configurations that commands read, and the sections in them."""
    found, open_ones = set(), list(_roots())
    while open_ones:
        config = open_ones.pop()
        if config in found:
            continue
        found.add(config)
        for field in config.model_fields.values():
            open_ones += _configs_in(field.annotation)
    return found


def _roots():
    for package in ("probes", "training.strategies", "study.executors", "active.candidates"):
        for kind in registry.kinds(package):
            yield registry.resolve(package, kind).Config
    yield StudyConfig


def _configs_in(annotation):
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    return [c for part in typing.get_args(annotation) for c in _configs_in(part)]


@pytest.mark.parametrize(
    "kind", ["../x", "os", "_probe", "__init__", "accuracy.x", "/etc", "", None, 1, ["accuracy"]]
)
def test_kinds_are_modules_of_ours_and_nothing_else(canary, kind):
    with refused(ConfigError):
        assemble({**STUDY, "probes": [{"kind": kind}]}, StudyConfig, where="x")


@pytest.mark.parametrize(
    "text", ["bundled:../config.py", "bundled:/etc/passwd", "bundled:generalist/../../x.py"]
)
def test_bundled_means_inside_the_package(tmp_path, text):
    with refused(ConfigError):
        resolve_path(text, tmp_path)


FACTORIES = {
    "a function": "os:system",
    "a builtin": "builtins:eval",
    "another class": "subprocess:Popen",
    "a function of a module of calculators": "ase.calculators.calculator:get_calculator_class",
    "a method of a calculator": "ase.calculators.lj:LennardJones.calculate",
    "a base class beside calculators": "ase:Atoms",
}


@pytest.mark.parametrize("case", FACTORIES)
def test_factories_are_classes_of_calculators_and_nothing_else(case):
    with pytest.raises(server.FactoryError):
        server.make(FACTORIES[case], {})


@pytest.mark.parametrize(
    "factory", ["os.system", "os:system; x", "os:", ":x", "../x:y", "os:system('x')", "a b:c", ""]
)
def test_factories_are_names_not_code(canary, factory):
    section = {"factory": factory, "arguments": {}}
    with refused(ConfigError):
        validate(section, registry.resolve("potential.sources", "ase").Config, where="x")


def test_a_configuration_that_names_a_program_does_not_start_it_by_being_read(canary):
    section = {"kind": "ase", "factory": "hostile:Thing", "python": "/nowhere/python"}
    run = {"name": "a", "strategy": {"kind": "zero_shot"}, "calculator": section}
    assert assemble({**STUDY, "runs": [run]}, StudyConfig, where="x").runs[0].name == "a"
