"""``slide`` takes a structure or a configuration, and tells what it found."""

import json

import pytest
from typer.testing import CliRunner

from mlffjax.cli import slide
from mlffjax.errors import ConfigError
from mlffjax.potential import store
from mlffjax.potential.card import Card
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures import builders
from mlffjax.structures.files import write_frames
from mlffjax.structures.system import Frame


@pytest.fixture
def folder(tmp_path):
    frame = Frame(builders.bilayer(1), None, None, None, "", "", 0.0, "a", "a", {})
    write_frames(tmp_path / "bilayer.extxyz", [frame])
    potential = lennard_jones((51, 52), epsilon=0.05, sigma=2.9, cutoff=7.0)
    card = Card(name="model", elements=("Sb", "Te"), model=potential.model.settings,
                reference="none", functional="PBE")  # fmt: skip
    store.save(tmp_path / "model", potential, card)
    return tmp_path


def invoke(*arguments):
    return CliRunner().invoke(slide.app, [str(argument) for argument in arguments])


def test_structure_with_entries(folder):
    result = invoke(
        folder / "bilayer.extxyz", "--set", f"potential={folder / 'model'}", "--set", "images=4",
        "--out", folder / "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "2 layers of 5, 5 atoms" in result.stdout
    assert "line: barrier" in result.stdout
    report = json.loads((folder / "out" / "slide.json").read_text())
    assert len(report["layers"]["atoms"]) == 2


def test_configuration_file_and_failure(folder):
    config = folder / "slide.yaml"
    config.write_text("structure: bilayer.extxyz\npotential: model\nimages: 4\nrelaxation: gap\n")
    result = invoke(config, "--set", "steps=2", "--out", folder / "out")
    assert result.exit_code == 1
    assert "failed: line: 4 of 4 structures did not relax" in result.stdout
    assert "barrier unknown" in result.stdout


def test_unknown_entries_are_refused(folder):
    result = invoke(folder / "bilayer.extxyz", "--set", "imags=4")
    assert isinstance(result.exception, ConfigError)
    assert "did you mean 'images'" in str(result.exception)


def test_a_dry_run_says_what_slides_and_an_estimate_how_long(folder):
    options = ["--set", f"potential={folder / 'model'}", "--set", "surface=[4,4]"]
    arguments = [folder / "bilayer.extxyz", *options, "--out", folder / "out"]
    result = invoke(*arguments, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "10 atoms in 2 layers of 5, 5; 5 atoms move, 1 sheared gap(s)" in result.stdout
    assert "41 structures to evaluate; model model" in result.stdout
    assert "time:" not in result.stdout
    assert "time: at most" in invoke(*arguments, "--estimate").stdout
    assert not (folder / "out").exists()
