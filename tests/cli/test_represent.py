"""``represent`` says what it will do, writes structures for others, and reports."""

import numpy as np
import pytest
from typer.testing import CliRunner

from mlffjax.cli import represent
from mlffjax.errors import ConfigError
from mlffjax.probes import _example
from mlffjax.structures.files import read_frames, write_frames


@pytest.fixture
def config(tmp_path):
    """Two programs that wrote features: nothing has to be evaluated."""
    frames = _example.frames(12).frames
    write_frames(tmp_path / "argon.extxyz", frames)
    atoms = sum(len(frame.system.numbers) for frame in frames)
    for name in ("one", "two"):
        features = np.random.default_rng(len(name)).normal(size=(atoms, 5))
        np.savez(tmp_path / f"{name}.npz", layer1=features)
    file = tmp_path / "represent.yaml"
    file.write_text(
        "models: {one: {features: one.npz}, two: {features: two.npz}}\n"
        "structures: [argon.extxyz]\ncomparisons: [{permutations: 3}]\n"
    )
    return file


def invoke(*arguments):
    return CliRunner().invoke(represent.app, [str(argument) for argument in arguments])


def test_a_dry_run_says_what_there_is(config):
    result = invoke(config, "--dry-run", "--out", config.parent / "out")
    assert result.exit_code == 0, result.output
    assert "12 frames, 0 images" in result.stdout
    assert "model two: 1 layers of given features" in result.stdout
    assert not (config.parent / "out").exists()


def test_structures_are_written_for_other_programs(config):
    file = config.parent / "at.extxyz"
    result = invoke(config, "--structures", file)
    assert result.exit_code == 0, result.output
    assert len(read_frames(file)) == 12


def test_a_report_is_written(config):
    result = invoke(config, "--out", config.parent / "out")
    assert result.exit_code == 0, result.output
    page = (config.parent / "out" / "report.html").read_text()
    assert 'id="fig4-alignment"' in page
    assert 'id="table-scores"' not in page  # there is nothing to judge


def test_a_typo_is_answered_with_the_right_key(config):
    result = invoke(config, "--set", "fondation=x")
    assert isinstance(result.exception, ConfigError)
    assert "did you mean 'foundation'" in str(result.exception)
