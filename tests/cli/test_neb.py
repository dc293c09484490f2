"""``neb`` checks a configuration, tells three barriers apart, and leaves with 1 if a band fails."""

import json

import pytest
from typer.testing import CliRunner

from mlffjax.cli import neb
from mlffjax.config import locate, read
from mlffjax.errors import ConfigError
from mlffjax.potential import store
from mlffjax.potential.card import Card
from mlffjax.potential.pair import lennard_jones
from mlffjax.probes._example import migration
from mlffjax.structures.files import write_frames
from mlffjax.study.neb_inputs import NebConfig, planned

CONFIG = """
paths: {hop: {file: hop.xyz}}
models: {argon: {potential: argon}}
lattice: isotropic
relaxation: {fmax: 0.02, optimizer: ode12r}
"""


@pytest.fixture
def folder(tmp_path):
    frames = migration(images=5).paths["hop"].frames
    frames = [f._replace(info={"image": k}, forces=None) for k, f in enumerate(frames)]
    write_frames(tmp_path / "hop.xyz", frames)
    potential = lennard_jones((18,), epsilon=0.0104, sigma=3.4, cutoff=5.5)
    card = Card(name="argon", elements=("Ar",), model=potential.model.settings,
                reference="none", functional="PBE")  # fmt: skip
    store.save(tmp_path / "argon", potential, card)
    (tmp_path / "neb.yaml").write_text(CONFIG)
    return tmp_path


def invoke(*arguments):
    return CliRunner().invoke(neb.app, [str(argument) for argument in arguments])


def test_a_dry_run_says_what_is_to_be_done_and_writes_nothing(folder):
    result = invoke(folder / "neb.yaml", "--dry-run", "--out", folder / "out")
    assert result.exit_code == 0, result.output
    assert "1 path(s) x 1 model(s) = 1 pair(s)" in result.stdout
    assert "path hop: 5 images of 9 atoms, with reference energies" in result.stdout
    assert not (folder / "out").exists()


def test_barriers_are_told_apart(folder):
    result = invoke(folder / "neb.yaml", "--out", folder / "out")
    assert result.exit_code == 0, result.output
    (row,) = json.loads((folder / "out" / "neb.json").read_text())["rows"]
    for kind in ("reference", "fixed", "matched", "relaxed"):
        assert f"{kind} (eV)" in result.stdout
        assert f"{row[f'barrier_{kind}']:.3f}" in result.stdout


def test_a_failed_band_is_named_and_has_no_barrier(folder):
    result = invoke(
        folder / "neb.yaml", "--set", "relaxation.max_steps=2", "--set", "relaxation.retry=false",
        "--set", "barriers=[fixed,relaxed]", "--out", folder / "out",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "failed: path 'hop', model 'argon': max_steps" in result.stdout


def test_unknown_entries_are_refused(folder):
    result = invoke(folder / "neb.yaml", "--set", "modells={}")
    assert isinstance(result.exception, ConfigError)
    assert "did you mean 'models'" in str(result.exception)


def test_the_packaged_configuration_can_be_run():
    path = locate("neb")
    plan = planned(read(path, NebConfig), path.parent)
    assert plan.pairs == 1
    assert plan.tasks["in_gap"].start.positions.shape == (9, 21, 3)


def test_an_estimate_measures_and_writes_nothing(folder):
    result = invoke(folder / "neb.yaml", "--estimate", "--out", folder / "out")
    assert result.exit_code == 0, result.output
    # 500 steps, twice if the first attempt fails, and the images as they are
    assert "for 1001 evaluations of every image" in result.stdout
    assert not (folder / "out").exists()
