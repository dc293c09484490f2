"""Configurations are read, overridden and named; mistakes are answered with the entry's path."""

import tomllib
from pathlib import Path
from typing import Annotated

import pydantic
import pytest

from mlffjax import config
from mlffjax.config import Config, by_kind, dump, fingerprint, kind_of, locate, read, resolve_path
from mlffjax.errors import ConfigError


class Loss(Config):
    energy: float = 1.0
    forces: float = pydantic.Field(default=100.0, ge=0.0)


class Study(Config):
    name: str
    rate: float = 1e-3
    seeds: tuple[int, ...] = (0,)
    loss: Loss = Loss()
    runs: tuple[Loss, ...] = ()


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "study.yaml"
        path.write_text(text)
        return path

    return write


def test_defaults_and_values(write):
    study = read(write("name: x\nseeds: [1, 2]\nloss: {forces: 3}\n"), Study)
    assert study == Study(name="x", seeds=(1, 2), loss=Loss(forces=3.0))
    assert hash(study) == hash(Study(name="x", seeds=(1, 2), loss=Loss(forces=3.0)))


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.e-3", "1.0e-3", "+1e-03", "0.001", "10e-4"])
def test_all_spellings_of_a_number_are_numbers(write, text):
    data = config._parse(f"rate: {text}", "here")
    assert data == {"rate": pytest.approx(1e-3, rel=1e-15)}
    assert read(write(f"name: x\nrate: {text}\n"), Study).rate == pytest.approx(1e-3, rel=1e-15)


@pytest.mark.parametrize("text", ["1e", "e5", "600K", "1e-3x", "'1e-3'", "12e3e4"])
def test_other_text_stays_text(text):
    assert isinstance(config._parse(f"name: {text}", "here")["name"], str)


def test_configurations_are_frozen(write):
    study = read(write("name: x\n"), Study)
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        study.name = "y"


@pytest.mark.parametrize(
    ("override", "check"),
    [
        ("rate=1e-2", lambda s: s.rate == 0.01),
        ("loss.forces=5", lambda s: s.loss.forces == 5.0),
        ("seeds=[4, 5]", lambda s: s.seeds == (4, 5)),
        ("seeds.1=9", lambda s: s.seeds == (1, 9)),
        ("runs.0.energy=7", lambda s: s.runs[0].energy == 7.0),
        ("name=a=b", lambda s: s.name == "a=b"),
    ],
)
def test_overrides(write, override, check):
    path = write("name: x\nseeds: [1, 2]\nruns: [{forces: 1}]\nloss:\n")
    path.write_text(path.read_text().replace("loss:\n", "loss: {energy: 2}\n"))
    assert check(read(path, Study, [override]))


def test_overrides_make_missing_sections_and_the_last_one_wins(write):
    study = read(write("name: x\n"), Study, ["loss.energy=2", "loss.energy=3"])
    assert study.loss == Loss(energy=3.0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rate", "expected the form"),
        ("=3", "expected the form"),
        ("a..b=3", "expected the form"),
        ("seeds.7=1", "seeds is a list of 2 entries"),
        ("seeds.x=1", "seeds is a list of 2 entries"),
        ("name.x=1", "name is 'x', not a section"),
        ("loss.force=1", r"loss: unknown key 'force'; did you mean 'forces'\?"),
        ("rate=[", "not valid YAML"),
    ],
)
def test_bad_overrides(write, override, message):
    with pytest.raises(ConfigError, match=message):
        read(write("name: x\nseeds: [1, 2]\n"), Study, [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nmae: x\n", r"top level: unknown key 'nmae'; did you mean 'name'\?"),
        ("name: x\nzzzzzz: 1\n", "known keys: name, rate, seeds, loss, runs"),
        ("name: x\nloss: {forcse: 1}\n", r"loss: unknown key 'forcse'; did you mean 'forces'\?"),
        ("name: x\nruns: [{}, {q: 1}]\n", "runs.1: unknown key 'q'"),
        ("name: x\nrate: fast\n", "rate: .*valid number.*got 'fast'"),
        ("name: x\nrate: .nan\n", "rate: .*finite"),
        ("name: x\nloss: {forces: -1}\n", "loss.forces: .*greater than or equal to 0"),
        ("rate: 1\n", "name: Field required"),
        ("name: x\nname: y\n", "key 'name' appears twice"),
        ("a: [1\n", "not valid YAML"),
        ("- 1\n", "expected 'key: value' entries"),
        ("", "expected 'key: value' entries, got nothing"),
    ],
)
def test_mistakes_name_file_entry_and_remedy(write, text, message):
    path = write(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read(path, Study)
    assert str(path) in str(caught.value)


def test_all_mistakes_are_reported_at_once(write):
    with pytest.raises(ConfigError, match=r"rate: (.|\n)*loss: unknown key"):
        read(write("name: x\nrate: fast\nloss: {forcse: 1}\n"), Study)


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read"):
        read(tmp_path / "absent.yaml", Study)


def test_fingerprint_depends_on_content_only():
    one = Study(name="x", loss=Loss(energy=2.0))
    assert fingerprint(one) == fingerprint(Study(loss=Loss(energy=2.0), name="x"))
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert len(fingerprint(one)) == 12
    assert int(fingerprint(one), 16) >= 0
    others = [one.model_copy(update={"rate": 0.1}), Study(name="y"), one.loss]
    assert len({fingerprint(one), *map(fingerprint, others)}) == 4
    assert fingerprint(one, "digest") != fingerprint(one)


def test_dump_is_what_read_accepts(write):
    study = Study(name="x", seeds=(3,), runs=(Loss(),))
    assert read(write(f"{dump(study)}"), Study) == study


# ---- sections with a kind: the class comes from the module of that name


@pytest.fixture
def shapes(fake_kinds):
    class Shapes(Config):
        items: tuple[Annotated[Config, by_kind(fake_kinds)], ...]

    return Shapes


def test_kind_selects_the_class(shapes):
    made = shapes(items=[{"kind": "round", "radius": 2}, {"kind": "square"}])
    assert [type(item).__module__.split(".")[-1] for item in made.items] == ["round", "square"]
    assert [kind_of(item) for item in made.items] == ["round", "square"]
    assert made.items[0].radius == 2.0


def test_kind_survives_a_round_trip(shapes):
    made = shapes(items=[{"kind": "round", "radius": 2}, {"kind": "square"}])
    plain = dump(made)
    assert plain == {"items": [{"kind": "round", "radius": 2.0}, {"kind": "square", "side": 1.0}]}
    assert shapes.model_validate(plain) == made
    assert shapes(items=made.items) == made
    assert dump(made.items[0]) == plain["items"][0]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"kind": "rond"}, r"items.0: 'rond' is not a kind.*did you mean 'round'\?"),
        ({"radius": 1}, "items.0: expected a section with 'kind: one of broken, round, square'"),
        ("round", "items.0: expected a section with"),
        ({"kind": "round", "radios": 1}, r"items.0: unknown key 'radios'; did you mean 'radius'\?"),
        ({"kind": "round", "radius": "x"}, "items.0.radius: .*number"),
    ],
)
def test_mistakes_in_a_section_with_a_kind(shapes, section, message):
    with pytest.raises(ConfigError, match=message):
        config.validate({"items": [section]}, shapes, where="here")


# ---- finding files


def test_locate_prefers_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "_packaged", lambda: [tmp_path / "quickstart.yaml"])
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "own.yaml"
    file.write_text("a: 1\n")
    assert locate(file) == file
    for name in ("quickstart", "quickstart.yaml", "configs/quickstart.yaml"):
        assert locate(name) == tmp_path / "quickstart.yaml"


@pytest.mark.parametrize("name", ["quickstrt", "elsewhere/quickstart.yaml", "quickstart.json"])
def test_locate_lists_what_there_is(tmp_path, monkeypatch, name):
    monkeypatch.setattr(config, "_packaged", lambda: [tmp_path / "quickstart.yaml"])
    with pytest.raises(ConfigError, match="packaged names: quickstart"):
        locate(name)


def test_paths_are_relative_to_the_configuration(tmp_path):
    assert resolve_path("data/*.xyz", tmp_path) == tmp_path / "data" / "*.xyz"
    assert resolve_path("/data/a.xyz", tmp_path) == Path("/data/a.xyz")


def test_bundled_paths_lead_into_the_package(tmp_path):
    assert resolve_path("bundled:pbe/*.xyz", tmp_path).parts[-3:] == ("assets", "pbe", "*.xyz")
    for text in ("bundled:no-such-thing.xyz", "bundled:../config.py"):
        with pytest.raises(ConfigError, match="no asset"):
            resolve_path(text, tmp_path)


@pytest.mark.parametrize("installed", [True, False])
def test_packaged_configurations_are_found_with_and_without_the_source(
    tmp_path, monkeypatch, installed
):
    package = tmp_path / "mlffjax"
    folder = (package if installed else tmp_path) / "configs"
    folder.mkdir(parents=True)
    (folder / "quickstart.yaml").write_text("a: 1\n")
    if not installed:
        (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.setattr(config.resources, "files", lambda name: tmp_path / name)
    assert locate("quickstart") == folder / "quickstart.yaml"


def test_the_wheel_contains_the_configurations():
    root = Path(__file__).parents[1]
    build = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert build["targets"]["wheel"]["force-include"] == {"configs": "mlffjax/configs"}
    assert (root / "configs" / "quickstart.yaml").is_file()
