"""What is handed out: nothing but what should be, the same bytes each time, under stated terms."""

import json
import re
import shutil
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("mlffjax", "configs", "scripts", "tests", "README.md", "LICENSE", "pyproject.toml")
INSIDE = re.compile(
    r"mlffjax/([a-z_0-9]+/)*[a-z_0-9]+\.py|mlffjax/py\.typed|mlffjax/potential/FORMAT\.md"
    r"|mlffjax/report/templates/\w+\.(css|js|html\.j2)"
    r"|mlffjax/assets/\w+/(README\.md|\w+\.xyz|card\.json|weights\.safetensors)"
    r"|mlffjax/configs/(\w+/)*\w+\.yaml"
    r"|mlffjax-[\d.]+\.dist-info/(METADATA|WHEEL|RECORD|entry_points\.txt|licenses/LICENSE)"
)
BESIDE = re.compile(
    r"(scripts|tests|mlffjax|configs)/.*|README\.md|LICENSE|pyproject\.toml|PKG-INFO|\.gitignore"
)
NEVER = re.compile(r"(^|/)(\.|__pycache__|.*\.(pyc|log|tmp|npz|h5md|egg-info|pem|key)$)")
LARGEST_MB = {"wheel": 4.0, "file": 1.5}
TERMS = {"code": "MIT", "weights": "MIT", "data": "CC-BY-4.0"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Wheel and source archive, each built twice from copies of different age."""
    builders = (
        pytest.importorskip("hatchling.builders.wheel"),
        pytest.importorskip("hatchling.builders.sdist"),
    )
    found = []
    patch = pytest.MonkeyPatch()
    patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    for name in ("first", "second"):
        copy = tmp_path_factory.mktemp(name) / "source"
        copy.mkdir()
        for part in PARTS:
            source = ROOT / part
            ignored = shutil.ignore_patterns("__pycache__", ".*")
            if source.is_dir():
                shutil.copytree(source, copy / part, ignore=ignored)
            else:
                shutil.copy(source, copy / part)
        (copy / "README.md").touch()
        out = copy.parent / "dist"
        wheel = next(builders[0].WheelBuilder(str(copy)).build(directory=str(out)))
        archive = next(builders[1].SdistBuilder(str(copy)).build(directory=str(out)))
        found.append((Path(wheel), Path(archive)))
    patch.undo()
    return found


def test_builds_are_equal_byte_for_byte(built):
    for first, second in zip(*built, strict=True):
        assert first.name == second.name
        assert first.read_bytes() == second.read_bytes()


def test_the_wheel_holds_the_package_and_nothing_else(built):
    wheel = built[0][0]
    with zipfile.ZipFile(wheel) as archive:
        infos = archive.infolist()
    names = [info.filename for info in infos]
    assert [name for name in names if not INSIDE.fullmatch(name)] == []
    assert len(set(names)) == len(names)
    modules = {f.relative_to(ROOT).as_posix() for f in (ROOT / "mlffjax").rglob("*.py")}
    assert modules <= set(names)
    assert wheel.stat().st_size < LARGEST_MB["wheel"] * 1e6
    assert max(info.file_size for info in infos) < LARGEST_MB["file"] * 1e6


def test_the_source_archive_holds_what_builds_and_tests_it(built):
    with tarfile.open(built[0][1]) as archive:
        members = archive.getmembers()
    assert all(member.isfile() for member in members)  # no links, no devices
    root = members[0].name.partition("/")[0]
    names = [member.name.removeprefix(f"{root}/") for member in members]
    assert [name for name in names if not BESIDE.fullmatch(name)] == []
    assert [n for n in names if NEVER.search(n) and n != ".gitignore"] == []
    assert {"pyproject.toml", "LICENSE", "tests/conftest.py"} <= set(names)


def test_nothing_names_the_machine_it_was_made_on():
    named = re.compile(r"/home/\w+/|/root/|C:\\Users|BEGIN (RSA |OPENSSH )?PRIVATE KEY")
    found = []
    for part in ("mlffjax", "configs", "scripts"):
        for file in (ROOT / part).rglob("*"):
            if file.suffix in (".py", ".yaml", ".md", ".json", ".xyz", ".sh", ".js") and (
                named.search(file.read_text("utf-8"))
            ):
                found.append(file.relative_to(ROOT).as_posix())
    assert found == []


def test_terms_are_stated_for_code_data_and_weights():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == f"{TERMS['code']} AND {TERMS['data']}"
    assert (ROOT / "LICENSE").read_text().startswith(f"{TERMS['code']} License")
    for folder in (ROOT / "mlffjax" / "assets").iterdir():
        card, readme = folder / "card.json", folder / "README.md"
        if card.is_file():
            assert json.loads(card.read_text())["provenance"]["licence"] == TERMS["weights"]
        else:
            assert f"Licence: {TERMS['data']} (" in readme.read_text("utf-8"), folder.name
