"""``label`` writes labelled frames, waits for calculations made elsewhere, and lists failures."""

import re

import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from typer.testing import CliRunner

from mlffjax.cli import label, main
from mlffjax.errors import ConfigError, InputError
from mlffjax.structures.files import read_frames
from mlffjax.structures.system import to_ase

SETTINGS = """
labeler:
  kind: ase
  reference: argon
  factory: ase.calculators.lj:LennardJones
  arguments: {epsilon: 0.0104, sigma: 3.4, rc: 5.9, smooth: true}
batch: 5
"""
WAITING = "labeler: {kind: files, reference: argon, folder: jobs}\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pool = [Atoms("Ar2", positions=[[0, 0, 0], [x, 0, 0]], cell=[12] * 3, pbc=True)
            for x in (3.6, 3.9)]  # fmt: skip
    write("pool.xyz", pool)
    (tmp_path / "mine.yaml").write_text(SETTINGS)
    (tmp_path / "waiting.yaml").write_text(WAITING)
    return tmp_path


def invoke(*arguments):
    return CliRunner().invoke(label.app, [str(argument) for argument in arguments])


def test_structures_get_labels_once(folder):
    result = invoke("mine.yaml", "pool.xyz")
    assert result.exit_code == 0, result.output
    assert "2 of 2 structures have labels: labelled.xyz" in result.stdout
    for frame in read_frames("labelled.xyz"):
        atoms = to_ase(frame.system)
        atoms.calc = LennardJones(epsilon=0.0104, sigma=3.4, rc=5.9, smooth=True)
        assert frame.energy == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    before = {file: file.stat().st_mtime_ns for file in folder.glob("labels/*/*.json")}
    assert len(before) == 3
    assert invoke("mine.yaml", "pool.xyz", "--out", "again.xyz").exit_code == 0
    assert {file: file.stat().st_mtime_ns for file in folder.glob("labels/*/*.json")} == before
    assert (folder / "again.xyz").read_text() == (folder / "labelled.xyz").read_text()


def test_other_settings_of_the_same_reference_are_refused(folder, capsys):
    assert invoke("mine.yaml", "pool.xyz").exit_code == 0
    with pytest.raises(SystemExit) as stop:
        main.main(["label", "mine.yaml", "pool.xyz", "--set", "labeler.arguments.rc=5.0"])
    assert stop.value.code == main.REFUSED
    assert "never mixed" in capsys.readouterr().err


def test_calculations_made_elsewhere_are_waited_for(folder):
    result = invoke("waiting.yaml", "pool.xyz")
    assert result.exit_code == 1
    assert "2 of 2 labels are computed elsewhere" in result.output
    assert not (folder / "labelled.xyz").exists()
    for place, energy in zip(sorted((folder / "jobs").glob("*/")), (-1.0, None), strict=True):
        atoms = to_ase(read_frames(place / "structure.extxyz")[0].system)
        results = {} if energy is None else {"energy": energy}
        atoms.calc = SinglePointCalculator(atoms, forces=[[0.1, 0, 0], [-0.1, 0, 0]], **results)
        write(place / "result.extxyz", atoms)
    result = invoke("waiting.yaml", "pool.xyz")
    assert result.exit_code == 1
    assert "1 of 2 structures have labels" in result.output
    assert re.search(r"failed: \S*pool\.xyz frame \d: \S+ frame 0: no energy", result.output)
    assert len(read_frames("labelled.xyz")) == 1


def test_bad_input_is_refused(folder):
    result = invoke("mine.yaml", "pool.xyz", "--out", "pool.xyz")
    assert isinstance(result.exception, InputError)
    (folder / "wrong.yaml").write_text(SETTINGS.replace("labeler:", "labeller:"))
    result = invoke("wrong.yaml", "pool.xyz")
    assert isinstance(result.exception, ConfigError)
    assert "did you mean 'labeler'" in str(result.exception)
    result = invoke("there_is_none.yaml", "pool.xyz")
    assert isinstance(result.exception, ConfigError)
