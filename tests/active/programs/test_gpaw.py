"""GPAW itself, where some Python of this machine has it, and what its script leaves."""

import json
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from mlffjax.active import labelling
from mlffjax.active.labelers import ase, files
from mlffjax.active.labelers._labeler import LabelError, LabelPending
from mlffjax.active.programs import gpaw
from mlffjax.errors import ConfigError
from mlffjax.structures.system import Frame, from_ase

PARAMETERS = {
    "mode": {"name": "pw", "ecut": 200},
    "xc": "PBE",
    "kpts": {"size": [1, 1, 2], "gamma": True},
    "occupations": {"name": "fermi-dirac", "width": 0.4},
    "convergence": {"density": 1e-5},
}
PLACES = [[1.5, 1.5, 1.1], [1.5, 1.6, 1.9]]
DIRECT = """
import json, sys
from ase import Atoms
from gpaw import GPAW
parameters, places, moments = json.loads(sys.argv[1])
atoms = Atoms("H2", positions=places, cell=[3, 3, 3.2], pbc=True, magmoms=moments)
atoms.calc = GPAW(txt=None, **parameters)
energies = [atoms.get_potential_energy(force_consistent=f) for f in (True, False)]
print(json.dumps([energies, atoms.get_forces().tolist(), atoms.get_stress(voigt=False).tolist(),
                  atoms.get_magnetic_moments().tolist()]))
"""


@pytest.fixture(scope="module")
def python():
    """An interpreter with GPAW; Debian's package is for the system's own Python."""
    for name in (sys.executable, shutil.which("python3"), "/usr/bin/python3"):
        command = [name or "", "-c", "import gpaw"]
        if (
            name
            and shutil.which(name)
            and not subprocess.run(command, capture_output=True).returncode
        ):
            return name
    pytest.skip("no Python here has GPAW")


def direct(python, moments):
    asked = json.dumps([PARAMETERS, PLACES, moments])
    said = subprocess.run([python, "-c", DIRECT, asked], capture_output=True, text=True, check=True)
    return json.loads(said.stdout.splitlines()[-1])


@pytest.fixture
def frame():
    atoms = Atoms("H2", positions=PLACES, cell=[3, 3, 3.2], pbc=True)
    return Frame(from_ase(atoms), None, None, None, "x", "t", 0, "h2", "h2.xyz frame 0", {})


def test_labels_are_those_of_a_direct_calculation(python, frame, tmp_path):
    program = gpaw.Config(command=f"{python} label.py > label.log 2>&1", parameters=PARAMETERS)
    config = files.Config(reference="PBE", folder="jobs", program=program, moments={"H": 0.7})
    labeler = files.build(config, tmp_path)
    with pytest.raises(LabelPending):
        labelling.label([frame], labeler, tmp_path / "labels")
    assert subprocess.run(["bash", tmp_path / "jobs" / "run.sh"]).returncode == 0
    found: Any = labelling.label([frame], labeler, tmp_path / "labels").frames[0]
    energies, forces, stress, moments = direct(python, [0.7, 0.7])
    # The same program with the same input: rounding of the positions in the file, 1e-8 Å.
    assert found.energy == pytest.approx(energies[0], abs=1e-7)
    assert abs(energies[0] - energies[1]) > 1e-4  # which energy it is makes a difference here
    np.testing.assert_allclose(found.forces, forces, atol=1e-6)
    np.testing.assert_allclose(found.stress, stress, atol=1e-7)
    assert found.info["label_program"].startswith("GPAW ")
    record: Any = labelling.read(*_record(labeler, tmp_path))
    np.testing.assert_allclose(record.about["magnetic_moments"], moments, atol=1e-6)


def test_calculator_of_the_other_interpreter_gives_the_same(python, frame, tmp_path):
    config = ase.Config(
        reference="PBE",
        factory="gpaw.calculator:GPAW",
        python=python,
        arguments=PARAMETERS | {"txt": None},
    )
    found: Any = ase.build(config, tmp_path).label(frame)
    energies, forces, stress, _ = direct(python, [0.0, 0.0])
    assert found.energy == pytest.approx(energies[0], abs=1e-9)
    np.testing.assert_allclose(found.forces, forces, atol=1e-9)
    np.testing.assert_allclose(found.stress, stress, atol=1e-9)
    assert "gpaw" in found.about["program"]


def test_unconverged_density_is_no_label(python, frame, tmp_path):
    program = gpaw.Config(command=f"{python} label.py", parameters=PARAMETERS | {"maxiter": 2})
    labeler = files.build(files.Config(reference="x", folder="jobs", program=program), tmp_path)
    with pytest.raises(LabelPending):
        labeler.label(frame)
    subprocess.run(["bash", tmp_path / "jobs" / "run.sh"], capture_output=True)
    found = labelling.label([frame], labeler, tmp_path / "labels")
    assert "not self-consistent" in found.failures[0][1]


def test_what_is_no_label_and_no_parameter(frame, tmp_path):
    assert gpaw.said(gpaw.example(), tmp_path, frame.system) is None
    (tmp_path / "gpaw.json").write_text('{"energy": 1.0}')
    with pytest.raises(LabelError, match=r"what label\.py writes"):
        gpaw.said(gpaw.example(), tmp_path, frame.system)
    with pytest.raises(ValueError, match="no txt"):
        gpaw.Config(parameters={"txt": "x"})
    with pytest.raises(ConfigError, match="plain names"):
        gpaw.inputs(gpaw.Config(parameters={"xc": '"""'}), Atoms("H", cell=[3, 3, 3], pbc=True))


def _record(labeler, base):
    place, setting = labelling._place(labeler, base / "labels")
    (file,) = (p for p in place.glob("*.json") if p.name != "settings.json")
    return place, file.stem, setting
