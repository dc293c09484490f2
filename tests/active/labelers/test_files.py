"""Directories of inputs, the script that computes them, and what comes back."""

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from mlffjax.active import labelling
from mlffjax.active.labelers import files
from mlffjax.active.labelers._labeler import LabelError, LabelPending
from mlffjax.active.programs import gpaw
from mlffjax.errors import CompatibilityError
from mlffjax.structures.checks import structure_digest
from mlffjax.structures.system import Frame, from_ase, to_ase

# Stands for a program: fails if the first atom is at x = 0.3, otherwise leaves a result.
PROGRAM = """
import json, os, sys, time
lines = open("structure.extxyz").read().splitlines()
cell = [float(x) for x in lines[1].split('"')[1].split()]
rows = [line.split() for line in lines[2:]]
places = [[float(x) for x in row[1:4]] for row in rows]
with open("../log", "a") as log:
    log.write(os.getcwd() + "\\n")
time.sleep(float(sys.argv[1]))
if abs(places[0][0] - 0.3) < 1e-6:
    sys.exit(7)
said = {"program": "fake 1.0", "energy": -3.5, "forces": [[0.1, 0, 0], [-0.1, 0, 0]],
        "stress": None, "moments": [3.1, 0.2], "system": {"positions": places,
        "numbers": [24, 52], "cell": [cell[:3], cell[3:6], cell[6:]]}}
with open("gpaw.json", "w") as file:
    json.dump(said, file)
"""


def frames(count=3):
    made = []
    for index in range(count):
        places = [[0.1 * (index + 1), 0, 0], [2.5, 0.1, 0.2]]
        atoms = Atoms("CrTe", positions=places, cell=[5, 5, 6], pbc=True)
        made.append(Frame(from_ase(atoms), None, None, None, "x", "t", index, f"{index}", "", {}))
    return made


def labeler(base, seconds=0.0, **more):
    (base / "program.py").write_text(PROGRAM)
    command = f"{sys.executable} {base / 'program.py'} {seconds}"
    section = gpaw.Config(command=command, parameters={"xc": "PBE"})
    entries: dict[str, Any] = {"reference": "x", "folder": "jobs", "program": section} | more
    return files.build(files.Config(**entries), base)


def run(base):
    return subprocess.Popen(["bash", str(base / "jobs" / "run.sh")], start_new_session=True)


def test_structures_are_written_then_waited_for_then_read(tmp_path):
    one = files.build(files.Config(reference="x", folder="jobs"), tmp_path)
    wanted = frames()
    with pytest.raises(LabelPending, match="3 of 3 labels"):
        labelling.label(wanted, one, tmp_path / "labels")
    assert not (tmp_path / "jobs" / "run.sh").exists()
    places = [tmp_path / "jobs" / structure_digest(f.system) for f in wanted]
    for place, frame in zip(places[:2], wanted, strict=False):
        atoms = to_ase(frame.system)
        atoms.calc = SinglePointCalculator(atoms, energy=-3.5, forces=frame.system.positions)
        write(place / "result.traj", atoms)
    with pytest.raises(LabelPending, match="1 of 3 labels"):
        labelling.label(wanted, one, tmp_path / "labels")
    atoms = to_ase(wanted[1].system)  # the result of another structure
    atoms.calc = SinglePointCalculator(atoms, energy=-3.5, forces=atoms.positions)
    write(places[2] / "result.extxyz", atoms)
    found = labelling.label(wanted, one, tmp_path / "labels")
    assert [f.energy for f in found.frames] == [-3.5, -3.5]
    np.testing.assert_array_equal(found.frames[1].forces, wanted[1].system.positions)
    assert "structure that was asked for" in found.failures[0][1]


def test_workers_compute_every_structure_once_and_failures_are_listed(tmp_path):
    one, wanted = labeler(tmp_path, seconds=0.1), frames(4)
    with pytest.raises(LabelPending, match="4 of 4"):
        labelling.label(wanted, one, tmp_path / "labels")
    workers = [run(tmp_path) for _ in range(3)]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    done = (tmp_path / "jobs" / "log").read_text().split()
    assert len(done) == len(set(done)) == 4
    found = labelling.label(wanted, one, tmp_path / "labels")
    assert [f.identifier for f in found.frames] == ["0", "1", "3"]
    assert found.frames[0].info["label_program"] == "fake 1.0"
    np.testing.assert_array_equal(found.frames[0].forces, [[0.1, 0, 0], [-0.1, 0, 0]])
    assert "ended with status 7" in found.failures[0][1]


def test_claims_of_killed_workers_are_free(tmp_path):
    one, wanted = labeler(tmp_path, seconds=60), frames(1)
    place = tmp_path / "jobs" / structure_digest(wanted[0].system)
    with pytest.raises(LabelPending):
        one.label(wanted[0])
    worker, deadline = run(tmp_path), time.monotonic() + 30
    while not (tmp_path / "jobs" / "log").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    # Somebody else passes over what this worker holds.
    assert subprocess.run(["bash", str(tmp_path / "jobs" / "run.sh")], timeout=30).returncode == 0
    assert len((tmp_path / "jobs" / "log").read_text().split()) == 1
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    assert not (place / "exit_status").exists()
    again = labeler(tmp_path)
    with pytest.raises(LabelPending):  # another command is no other setting
        again.label(wanted[0])
    assert run(tmp_path).wait(60) == 0
    assert again.label(wanted[0]).energy == -3.5


def test_a_command_that_cannot_be_run_is_no_failure_of_a_structure(tmp_path):
    program = gpaw.Config(command="there-is-no-such-program", parameters={"xc": "PBE"})
    one = labeler(tmp_path, program=program)
    for frame in frames(2):
        with pytest.raises(LabelPending):
            one.label(frame)
    script = ["bash", str(tmp_path / "jobs" / "run.sh")]
    ran = subprocess.run(script, capture_output=True, text=True)
    assert ran.returncode == 127
    assert ran.stderr.count("cannot be run") == 1
    assert not list(tmp_path.glob("jobs/*/exit_status"))


def test_wrong_spins_and_unknown_spins_are_no_labels(tmp_path):
    wanted = frames(1)[0]
    for index, (least, moments, reason) in enumerate(
        [
            ({"Cr": 2.5}, [3.1, 0.2], None),
            ({"Cr": 3.5}, [3.1, 0.2], "another spin state"),
            ({"Cr": 2.5}, [np.nan, 0.2], "another spin state"),
            ({"Cr": 2.5}, None, "got none"),
            ({"Sb": 2.5}, None, None),
        ]
    ):
        base = tmp_path / f"{index}"
        base.mkdir()
        one = labeler(base, moments={"Cr": 4.0}, least_moments=least)
        with pytest.raises(LabelPending):
            one.label(wanted)
        place = base / "jobs" / structure_digest(wanted.system)
        own = {name: np.asarray(getattr(wanted.system, name)).tolist()
               for name in ("positions", "numbers", "cell")}  # fmt: skip
        said = {"program": "p", "energy": -1.0, "forces": [[0.1, 0, 0], [0.2, 0, 0]],
                "stress": None, "moments": moments, "system": own}  # fmt: skip
        (place / "gpaw.json").write_text(json.dumps(said))
        if reason is None:
            assert one.label(wanted).about["net_force"] == pytest.approx(0.3)
        else:
            with pytest.raises(LabelError, match=reason):
                one.label(wanted)


def test_one_folder_holds_one_setting(tmp_path):
    wanted = frames(1)[0]
    with pytest.raises(LabelPending):
        labeler(tmp_path).label(wanted)
    changed = gpaw.Config(parameters={"xc": "LDA"})
    with pytest.raises(CompatibilityError, match="never mixed"):
        labeler(tmp_path, program=changed).label(wanted)


def test_log_of_gpaw_is_read_with_its_free_energy(tmp_path):
    one = files.build(files.Config(reference="x", folder="jobs"), tmp_path)
    wanted = frames(1)[0]
    with pytest.raises(LabelPending):
        one.label(wanted)
    place = tmp_path / "jobs" / structure_digest(wanted.system)
    (place / "result.txt").write_text(LOG)
    found = one.label(wanted)
    assert found.energy == pytest.approx(-8.2, abs=1e-12)
    np.testing.assert_array_equal(found.forces, [[0.1, 0, 0.2], [-0.1, 0, -0.2]])


# Layout of GPAW 22.8, numbers made up.
LOG = """
  ___ ___ ___ _ _ _
 |   |   |_  | | | |
 | | | | | . | | | |
 |__ |  _|___|_____|  22.8.0
 |___|_|

Positions:
   0 Cr     0.100000    0.000000    0.000000    ( 0.0000,  0.0000,  0.0000)
   1 Te     2.500000    0.100000    0.200000    ( 0.0000,  0.0000,  0.0000)

Unit cell:
           periodic     x           y           z      points  spacing
  1. axis:    yes    5.000000    0.000000    0.000000    16     0.3125
  2. axis:    yes    0.000000    5.000000    0.000000    16     0.3125
  3. axis:    yes    0.000000    0.000000    6.000000    20     0.3000

Energy contributions relative to reference atoms: (reference = -100.000000)

Kinetic:        -10.000000
Entropy (-ST):   -0.200000
--------------------------
Free energy:     -8.200000
Extrapolated:    -8.100000

Forces in eV/Ang:
  0 Cr    0.10000    0.00000    0.20000
  1 Te   -0.10000    0.00000   -0.20000
"""
