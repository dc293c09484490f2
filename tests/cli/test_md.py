"""``md`` runs, continues, tells what it found, and says how large a run is."""

import json

import pytest
from typer.testing import CliRunner

from mlffjax.cli import md
from mlffjax.config import read
from mlffjax.errors import InputError
from mlffjax.potential import store
from mlffjax.potential.card import Card
from mlffjax.potential.pair import lennard_jones
from mlffjax.probes import _dynamics
from mlffjax.structures.files import write_frames
from mlffjax.structures.system import Frame
from mlffjax.study.dynamics import DynamicsConfig, planned

SETTINGS = """
structure: argon.extxyz
potential: model
heat_flux: 2
md:
  temperature_k: 20
  timestep_fs: 5
  equilibration: [{ensemble: {kind: nvt_langevin}, steps: 20}]
  ensemble: {kind: nve}
  steps: 60
  intervals: {thermo: 2, positions: 10}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("md")
    system = _dynamics.starting_system(*_dynamics.example_start())
    frame = Frame(system, None, None, None, "", "", 0.0, "a", "a", {})
    write_frames(path / "argon.extxyz", [frame])
    potential = lennard_jones((18,), epsilon=0.0104, sigma=3.4, cutoff=5.5)
    card = Card(name="argon", elements=("Ar",), model=potential.model.settings,
                reference="none", functional="none")  # fmt: skip
    store.save(path / "model", potential, card)
    (path / "md.yaml").write_text(SETTINGS)
    return path


def invoke(*arguments):
    return CliRunner().invoke(md.app, [str(argument) for argument in arguments])


def test_a_run_is_summarised_and_can_go_on(folder):
    result = invoke(folder / "md.yaml", "--out", folder / "out")
    assert result.exit_code == 0, result.output
    assert "replica 0: finished; temperature" in result.stdout
    summary = json.loads((folder / "out" / "summary.json").read_text())
    replica = summary["replicas"][0]
    assert replica["averages"]["temperature"]["mean"] > 0
    assert "drift_mev_per_atom_ns" in replica
    longer = invoke(folder / "md.yaml", "--out", folder / "out", "--set", "md.steps=80")
    assert longer.exit_code == 0, longer.output
    assert json.loads((folder / "out" / "summary.json").read_text())["replicas"][0]["step"] == 80


def test_a_dry_run_only_tells_the_size(folder):
    result = invoke(folder / "md.yaml", "--dry-run", "--out", folder / "nothing")
    assert result.exit_code == 0
    assert "8 atoms, 1 replica(s), 80 steps = 0.4 ps" in result.stdout
    assert not (folder / "nothing").exists()


def test_an_explosion_is_reported_and_fails(folder):
    result = invoke(
        folder / "md.yaml", "--out", folder / "hot", "--set", "md.temperature_k=20000",
        "--set", "md.limits.temperature_k=100",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "the temperature ran away" in result.stdout


def test_a_frame_that_is_not_there(folder):
    config = read(folder / "md.yaml", DynamicsConfig, ["frame=3"])
    with pytest.raises(InputError, match="expected a frame below 1, got 3"):
        planned(config, folder)


def test_an_estimate_measures_and_writes_nothing(folder):
    result = invoke(folder / "md.yaml", "--estimate", "--out", folder / "nothing")
    assert result.exit_code == 0, result.output
    assert "a step of all replicas" in result.stdout
    assert "time: " in result.stdout
    assert not (folder / "nothing").exists()
