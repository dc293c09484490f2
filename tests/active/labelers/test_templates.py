"""Every template of a labeller writes inputs that say what was asked for."""

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.io import read as read_anything

from mlffjax.active.labelers._labeler import LabelPending
from mlffjax.active.labelling import read_labeler
from mlffjax.config import resolve_path
from mlffjax.registry import kinds
from mlffjax.structures.checks import structure_digest
from mlffjax.structures.files import read_frames

FOLDER = Path(__file__).parents[3] / "configs" / "labelers"
ORDER = ["Te", "Sb", "Cr"]  # in which elements first occur in the doped cell


@pytest.fixture(scope="module")
def structures():
    """The doped cell and the pristine one."""
    names = ("md_doped_600K", "md_pristine_600K")
    base = Path()
    return [read_frames(resolve_path(f"bundled:cr_sb2te3_pbe/{n}.xyz", base))[0] for n in names]


def written(name, frames, base):
    """Directories of the doped and the pristine cell."""
    shutil.copy(FOLDER / f"{name}.yaml", base)
    labeler = read_labeler(base / f"{name}.yaml")
    for frame in frames:
        with pytest.raises(LabelPending):
            labeler.label(frame)
    (script,) = base.glob("*/run.sh")
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    return [script.parent / structure_digest(frame.system) for frame in frames]


def read(path, **choices) -> Any:
    return read_anything(path, **choices)


def assert_same(atoms, frame, order: Any = slice(None)):
    assert atoms.numbers.tolist() == frame.system.numbers[order].tolist()
    np.testing.assert_allclose(atoms.cell.array, frame.system.cell, atol=1e-9)
    steps = atoms.positions - frame.system.positions[order]
    whole = np.linalg.solve(frame.system.cell.T, steps.T)
    # Inputs keep at least eight decimals.
    assert abs(whole - np.round(whole)).max() < 1e-8


def test_there_is_a_template_for_every_program():
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == sorted(kinds("active.programs"))


def test_quantum_espresso(structures, tmp_path):
    doped, pristine = written("quantum_espresso", structures, tmp_path)
    atoms = read(doped / "espresso.pwi", format="espresso-in")
    assert_same(atoms, structures[0])
    text = (doped / "espresso.pwi").read_text()
    asked = {"ecutwfc": 29.4, "ecutrho": 235.2, "nspin": 2, "degauss": 0.00735}
    for key, value in asked.items():
        assert [float(x) for x in re.findall(rf"{key} +=\s+(\S+)", text)] == [value]
    assert re.search(r"K_POINTS automatic\n4 4 1  0 0 0", text)
    # 400 eV and 0.1 eV in Ry of 13.605693 eV, to the digits that are given.
    assert asked["ecutwfc"] * 13.605693 == pytest.approx(400, rel=1e-3)
    assert asked["degauss"] * 13.605693 == pytest.approx(0.1, rel=1e-3)
    # A fraction of the valence electrons: 4 μB of 14.
    moments = atoms.get_initial_magnetic_moments()
    assert moments[atoms.numbers == 24] == pytest.approx([4 / 14])
    assert not moments[atoms.numbers != 24].any()
    for name in ("tprnfor", "tstress"):
        assert re.search(rf"{name} += .true.", text)
    text = (pristine / "espresso.pwi").read_text()
    assert "nspin" not in text
    assert "cr_pbe" not in text


def test_vasp(structures, tmp_path):
    doped, pristine = written("vasp", structures, tmp_path)
    symbols = np.array([str(s) for s in read(doped / "structure.extxyz").symbols])
    order = np.concatenate([np.flatnonzero(symbols == one) for one in ORDER])
    assert_same(read(doped / "POSCAR", format="vasp"), structures[0], order)
    tags = dict(line.split(" = ") for line in (doped / "INCAR").read_text().splitlines())
    assert (tags["ENCUT"], tags["GGA"], tags["ISPIN"]) == ("400.000000", "PE", "2")
    assert (tags["EDIFF"], tags["LREAL"], tags["NSW"]) == ("1.00e-06", ".FALSE.", "0")
    assert tags["MAGMOM"].split()[-1] == "1*4.0000"
    assert int(tags["MAGMOM"].split("*")[0]) == len(symbols) - 1
    assert (doped / "KPOINTS").read_text().splitlines()[1:] == ["0", "Gamma", "4 4 1", "0 0 0"]
    paths = (doped / "POTCAR.list").read_text().split()
    assert paths == [f"potpaw_PBE/{n}/POTCAR" for n in ("Te", "Sb", "Cr_pv")]
    assert not (doped / "POTCAR").exists()
    assert "MAGMOM" not in (pristine / "INCAR").read_text()


def test_cp2k(structures, tmp_path):
    doped, pristine = written("cp2k", structures, tmp_path)
    assert_same(read(doped / "cp2k.inp", format="cp2k-restart"), structures[0])
    text = (doped / "cp2k.inp").read_text()
    for part in ("CUTOFF 500", "SCHEME MACDONALD 4 4 1 0.125 0.125 0.0", "UKS .TRUE.",
                 "PERIODIC XYZ", "RUN_TYPE ENERGY_FORCE", "STRESS_TENSOR ANALYTICAL",
                 "&FORCES ON"):  # fmt: skip
        assert part in text
    assert re.search(r"&KIND Cr\n(?:(?!&END).*\n)*\s+MAGNETIZATION 4\n", text)
    assert text.count("MAGNETIZATION") == 1
    counts = np.bincount(structures[0].system.numbers)
    electrons = 14 * counts[24] + 5 * counts[51] + 6 * counts[52]
    spins = int(re.findall(r"MULTIPLICITY (\d+)", text)[0]) - 1
    assert 4 <= spins <= 5
    assert (spins - electrons) % 2 == 0
    text = (pristine / "cp2k.inp").read_text()
    assert "UKS" not in text
    assert "&KIND Cr" not in text


def test_gpaw(structures, tmp_path):
    doped, pristine = written("gpaw", structures, tmp_path)
    assert_same(read(doped / "structure.extxyz"), structures[0])
    found = {}
    for statement in ast.parse((doped / "label.py").read_text()).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
            name = getattr(statement.targets[0], "id", "")
            if name in ("PARAMETERS", "MOMENTS"):
                found[name] = json.loads(ast.literal_eval(statement.value.args[0]))
    assert found["PARAMETERS"]["mode"] == {"name": "pw", "ecut": 400}
    assert found["PARAMETERS"]["kpts"] == {"size": [4, 4, 1], "gamma": True}
    assert found["MOMENTS"] == np.where(structures[0].system.numbers == 24, 4.0, 0.0).tolist()
    assert '"""[0.0, 0.0' in (pristine / "label.py").read_text()
