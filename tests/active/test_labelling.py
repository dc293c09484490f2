import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from mlffjax.active import labelling
from mlffjax.active.labelers import ase, oracle, potential
from mlffjax.active.labelers._labeler import Label, Labeler, LabelError
from mlffjax.config import resolve_path
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.potential import store
from mlffjax.potential.card import Card
from mlffjax.potential.pair import lennard_jones
from mlffjax.registry import kinds, resolve
from mlffjax.structures.checks import structure_digest
from mlffjax.structures.files import read_frames, write_frames
from mlffjax.structures.system import Frame, from_ase, to_ase


def frames(count=4, symbol="Ar", a=5.3):
    rng = np.random.default_rng(1)
    made = []
    for index in range(count):
        atoms = bulk(symbol, "fcc", a=a, cubic=True)
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
        made.append(Frame(from_ase(atoms), None, None, None, "x", "t", index, f"{index}", "", {}))
    return made


@dataclass
class Counting:
    """Labels by a formula; counts its calls and fails on request."""

    settings: dict = field(default_factory=lambda: {"kind": "counting"})
    fails: tuple[str, ...] = ()
    calls: list[str] = field(default_factory=list)

    def label(self, frame):
        self.calls.append(frame.identifier)
        if frame.identifier in self.fails:
            raise LabelError("no self-consistency")
        places = frame.system.positions
        return Label(float(places.sum()) / 3, np.sin(places), None, {})


def test_nothing_is_computed_twice_and_failures_are_remembered(tmp_path):
    wanted, labeler = frames(), Counting(fails=("2",))
    found = labelling.label([*wanted, wanted[0]], labeler, tmp_path)
    assert labeler.calls == ["0", "1", "2", "3"]
    assert [f.identifier for f in found.frames] == ["0", "1", "3", "0"]
    assert [(f.identifier, why) for f, why in found.failures] == [("2", "no self-consistency")]
    again = labelling.label(wanted, labeler, tmp_path)
    assert labeler.calls == ["0", "1", "2", "3"]
    assert again.computed == 0
    for one, other in zip(found.frames, again.frames, strict=False):
        # JSON keeps every digit of a double.
        assert one.energy == other.energy
        np.testing.assert_array_equal(one.forces, other.forces)
    np.testing.assert_array_equal(again.frames[0].forces, np.sin(wanted[0].system.positions))


def test_other_settings_are_other_labels(tmp_path):
    first, second = Counting(), Counting(settings={"kind": "counting", "cutoff": 400})
    labelling.label(frames(1), first, tmp_path)
    assert labelling.label(frames(1), second, tmp_path).computed == 1
    written = sorted(json.loads(p.read_text()).get("cutoff", 0) for p in tmp_path.glob("*/s*.json"))
    assert written == [0, 400]


def test_interrupted_labelling_goes_on(tmp_path):
    class Killed(BaseException):
        pass

    def kill(done, total):
        if done == 2:
            raise Killed

    labeler = Counting()
    with pytest.raises(Killed):
        labelling.label(frames(), labeler, tmp_path, observe=kill)
    assert labelling.label(frames(), labeler, tmp_path).computed == 2
    assert labeler.calls == ["0", "1", "2", "3"]


def test_damaged_record_is_computed_again(tmp_path):
    labelling.label(frames(2), Counting(), tmp_path)
    records = [p for p in tmp_path.glob("*/*.json") if p.stem != "settings"]
    records[0].write_text(records[0].read_text()[:40])
    assert labelling.label(frames(2), Counting(), tmp_path).computed == 1


HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


def test_a_claim_of_another_process_is_respected_and_dies_with_it(tmp_path):
    labeler, wanted = Counting(), frames(1)
    place, _ = labelling._place(labeler, tmp_path)
    path = place / f"{structure_digest(wanted[0].system)}.lock"
    program = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with labelling._claimed(path) as mine:
            assert not mine
        other.kill()
    assert labelling.label(wanted, labeler, tmp_path).computed == 1


@pytest.mark.parametrize("kind", kinds("active.labelers"))
def test_every_kind_builds_from_its_example(kind, tmp_path):
    module = resolve("active.labelers", kind)
    built = module.build(module.example(), tmp_path)
    assert isinstance(built, Labeler)
    json.dumps(built.settings)


def test_oracle_gives_its_labels_and_refuses_the_rest(tmp_path):
    config = oracle.example()
    labels = read_frames(resolve_path(config.files[0], tmp_path))
    bare = [f._replace(energy=None, forces=None, stress=None) for f in labels]
    found = labelling.label([*bare, *frames(1)], oracle.build(config, tmp_path), tmp_path)
    assert [f.energy for f in found.frames] == [f.energy for f in labels]
    np.testing.assert_array_equal(found.frames[3].forces, labels[3].forces)
    assert "labels nothing new" in found.failures[0][1]


def test_oracle_refuses_two_energies_for_one_structure(tmp_path):
    frame = frames(1)[0]._replace(forces=np.ones((4, 3)))
    for name, energy in (("a", 1.0), ("b", 1.2)):
        write_frames(tmp_path / f"{name}.xyz", [frame._replace(energy=energy)])
    with pytest.raises(InputError, match="one energy for one structure"):
        oracle.build(oracle.Config(reference="x", files=("*.xyz",)), tmp_path)


def test_labels_of_a_calculator_are_the_calculators(tmp_path):
    config = ase.Config(reference="EMT", factory="ase.calculators.emt:EMT")
    wanted = frames(2, "Cu", 3.6)
    found = labelling.label([*wanted, *frames(1)], ase.build(config, tmp_path), tmp_path)
    for frame, own in zip(found.frames, wanted, strict=True):
        atoms = to_ase(own.system)
        atoms.calc = EMT()
        # A calculator that saw another structure before keeps its list of neighbours, and with it
        # another order of the sums: rounding of energies of some eV.
        assert frame.energy == pytest.approx(
            atoms.get_potential_energy(force_consistent=True), abs=1e-12
        )
        assert frame.forces is not None
        assert frame.stress is not None
        np.testing.assert_allclose(frame.forces, atoms.get_forces(), atol=1e-12)
        np.testing.assert_allclose(frame.stress, atoms.get_stress(voigt=False), atol=1e-12)
    assert "NotImplementedError" in found.failures[0][1]  # EMT does not know argon


class Magnet(Calculator):
    """Moments that shrink with the cell."""

    implemented_properties = ["energy", "forces", "magmoms"]

    def calculate(self, atoms=None, properties=(), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        assert atoms is not None
        start = atoms.get_initial_magnetic_moments()
        self.results = {
            "energy": 1.0,
            "forces": np.zeros((len(atoms), 3)),
            "magmoms": start * (atoms.cell[0, 0] > 5),
        }


def test_another_spin_state_is_no_label(tmp_path):
    config = ase.Config(
        reference="x",
        factory=f"{__name__}:Magnet",
        moments={"Cr": 4.0},
        least_moments={"Cr": 2.5},
    )
    wide, narrow = frames(1, "Cr", 5.3)[0], frames(1, "Cr", 4.3)[0]
    found = labelling.label([wide, narrow], ase.build(config, tmp_path), tmp_path)
    assert len(found.frames) == 1
    assert "another spin state" in found.failures[0][1]
    with pytest.raises(ValueError, match="Xy"):
        ase.Config(reference="x", factory="a:B", moments={"Xy": 1.0})


def test_teacher_labels_with_totals(tmp_path):
    pair = lennard_jones((18,), epsilon=0.02, sigma=3.3, cutoff=5.0)
    card = Card(
        name="argon", elements=("Ar",), model=pair.model.settings, reference="x",
        functional="none", dispersion=None, provenance={}, checksum="",
    )  # fmt: skip
    store.save(tmp_path / "teacher", pair, card)
    labeler = potential.build(potential.Config(reference="x", potential="teacher"), tmp_path)
    frame = frames(1)[0]

    def energy(step):
        places = frame.system.positions.copy()
        places[2, 1] += step
        system = frame.system._replace(positions=places)
        return labeler.label(frame._replace(system=system)).energy

    label = labeler.label(frame)
    assert label.energy < 0
    # Central difference with 1e-4 Å: error of third derivatives, below 1e-7 eV/Å.
    slope = (energy(1e-4) - energy(-1e-4)) / 2e-4
    assert label.forces[2, 1] == pytest.approx(-slope, abs=1e-6)
    with pytest.raises(LabelError, match="Cu"):
        labeler.label(frames(1, "Cu")[0])


def test_lennard_jones_of_ase_is_labelled_with_plain_arguments(tmp_path):
    config = ase.example()
    found = labelling.label(frames(1), ase.build(config, tmp_path), tmp_path)
    atoms = to_ase(frames(1)[0].system)
    atoms.calc = LennardJones(**config.arguments)
    assert found.frames[0].energy == pytest.approx(atoms.get_potential_energy(), rel=1e-12)


def test_one_reference_has_one_setting(tmp_path):
    first = Counting(settings={"reference": "PBE", "cutoff": 300})
    second = Counting(settings={"reference": "PBE", "cutoff": 400})
    other = Counting(settings={"reference": "PBE, 400 eV", "cutoff": 400})
    failing = Counting(settings={"reference": "PBE", "cutoff": 200}, fails=("0",))
    labelling.label(frames(1), failing, tmp_path)  # no label came of it
    labelling.label(frames(1), first, tmp_path)
    with pytest.raises(CompatibilityError, match="'PBE' with one setting"):
        labelling.label(frames(2), second, tmp_path)
    assert not second.calls
    assert labelling.label(frames(2), other, tmp_path).computed == 2
    assert labelling.label(frames(2), first, tmp_path).computed == 1


def test_labels_say_where_they_are_from(tmp_path):
    frame = frames(1)[0]._replace(source="pool.xyz frame 3")
    config = ase.example()
    found = labelling.label([frame], ase.build(config, tmp_path), tmp_path / "labels").frames[0]
    assert found.info["label_geometry"] == "pool.xyz frame 3"
    assert found.info["label_program"].startswith("ase 3.")
    assert (tmp_path / "labels" / found.info["label_settings"] / "settings.json").is_file()
    write_frames(tmp_path / "labelled.xyz", [found])
    assert read_frames(tmp_path / "labelled.xyz")[0].info == found.info


def test_workers_share_the_work(tmp_path):
    class Slow(Counting):
        def label(self, frame):
            time.sleep(0.02)
            return super().label(frame)

    labelers, wanted = [Slow() for _ in range(4)], frames(12)
    labelling.label(wanted[:1], Counting(), tmp_path)
    with ThreadPoolExecutor(4) as pool:  # a lock belongs to an open file, also within a process
        jobs = [pool.submit(labelling.label, wanted, one, tmp_path) for one in labelers]
        found = [job.result() for job in jobs]
    calls = [call for one in labelers for call in one.calls]
    assert sorted(calls) == sorted(frame.identifier for frame in wanted[1:])
    assert sum(one.computed for one in found) == 11
    assert all(len(one.frames) == 12 for one in found)


def test_another_interpreter_gives_the_same_labels(tmp_path):
    here = ase.example()
    there = here.model_copy(update={"python": sys.executable})
    wanted = frames(1)[0]
    one, other = ase.build(here, tmp_path), ase.build(there, tmp_path)
    assert one.settings == other.settings
    first, second = one.label(wanted), other.label(wanted)
    assert second.stress is not None
    assert second.energy == first.energy
    np.testing.assert_array_equal(second.forces, first.forces)
    np.testing.assert_array_equal(second.stress, first.stress)
    assert "ase 3." in second.about["program"]
    with pytest.raises(ValueError, match="not sent to another interpreter"):
        ase.Config.model_validate({**there.model_dump(), "moments": {"Cr": 4.0}})
