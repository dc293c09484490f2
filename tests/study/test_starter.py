"""A drafted configuration says what is in the files, and a study plans it as it is."""

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write as write_atoms
from study import small

from mlffjax.errors import CompatibilityError, InputError
from mlffjax.structures.paths import read_path
from mlffjax.structures.system import to_ase
from mlffjax.study import starter
from mlffjax.study.starter import Wishes


@pytest.fixture(scope="module")
def argon(tmp_path_factory):
    folder = tmp_path_factory.mktemp("argon")
    small.write_inputs(folder)
    return folder


@pytest.fixture(scope="module")
def copper(tmp_path_factory):
    """Frames labelled by EMT without stress, and the ends of a hop in another order of writing."""
    folder = tmp_path_factory.mktemp("copper")
    crystal = bulk("Cu", "fcc", a=3.61, cubic=True).repeat((2, 1, 1))
    rng = np.random.default_rng(0)
    frames = []
    for index in range(20):
        atoms = crystal.copy()
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
        atoms.calc = EMT()
        atoms.info |= {"config_type": "md_900K", "REF_energy": atoms.get_potential_energy()}
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.calc = None
        atoms.info["step"] = index
        frames.append(atoms)
    write_atoms(folder / "md.extxyz", frames)
    start = crystal.copy()
    del start[0]
    end = start.copy()
    end.positions[0] = 0.0
    end.positions += end.cell[0]  # the same up to lattice vectors
    write_atoms(folder / "start.extxyz", start)
    write_atoms(folder / "end.extxyz", end)
    return folder


def drafted(folder, monkeypatch, **wishes):
    monkeypatch.chdir(folder)
    wishes = {"files": ("md.extxyz",), "out": folder / "new" / "my.yaml", "size": "tiny"} | wishes
    return starter.draft(Wishes(**wishes))


def test_frames_alone_give_a_learning_curve_from_scratch(copper, monkeypatch, tmp_path):
    found = drafted(copper, monkeypatch, reference="EMT")
    starter.write(found, copper / "new" / "alone.yaml")
    config = yaml.safe_load((copper / "new" / "alone.yaml").read_text())
    assert config["data"]["files"] == ["../md.extxyz"]  # as seen from the configuration
    assert (config["data"]["reference"], config["data"]["functional"]) == ("EMT", "not stated")
    (run,) = config["runs"]
    assert run["strategy"] == {"kind": "scratch", "reference_energies": "least_squares"}
    assert run["fractions"] == [0.25, 0.5, 1.0]  # of 12 frames, the smallest part is 3
    assert config["foundation"] is None
    assert config["model"]["r_max"] == 5.0  # twice 2.5 Å
    assert config["training"]["loss"] == {"stress": 0}
    dynamics = config["probes"][-1]
    assert (dynamics["kind"], dynamics["md"]["temperature_k"]) == ("stability", 900)
    notes = "\n".join(found.notes)
    for word in (
        "does not know Cu",
        "isolated atom of Cu",
        "has a stress",
        "functional",
        "no path",
    ):
        assert word in notes


def test_two_ends_become_a_path_without_labels(copper, monkeypatch):
    found = drafted(copper, monkeypatch, ends=("start.extxyz", "end.extxyz"), images=5)
    out = copper / "new" / "my.yaml"
    starter.write(found, out)
    path = read_path(out.with_name("my_path.extxyz"), "path")
    assert len(path.frames) == 5
    assert path.frames[0].energy is None
    first, last = (to_ase(path.frames[i].system).positions for i in (0, -1))
    # The hop goes to a neighbouring site, a/sqrt(2) away; all else stays, whatever the images.
    moved = np.linalg.norm(last - first, axis=1)
    assert moved.max() == pytest.approx(3.61 / np.sqrt(2), abs=1e-6)
    assert np.sort(moved)[-2] == pytest.approx(0, abs=1e-6)
    kinds = [probe["kind"] for probe in yaml.safe_load(out.read_text())["probes"]]
    assert kinds == ["accuracy", "fixed_path", "relaxed_neb", "stability"]
    assert "path 'path' has no reference energies" in "\n".join(found.notes)
    with pytest.raises(InputError, match=r"my_path.extxyz exists already|my.yaml exists already"):
        starter.write(found, out)
    starter.write(found, out, force=True)


def test_a_foundation_is_compared_with_and_paths_are_recognised(argon, monkeypatch):
    found = drafted(
        argon, monkeypatch, files=("frames.xyz",), foundation="foundation",
        paths=("hop.xyz", "slide.xyz"),
    )  # fmt: skip
    out = argon / "new" / "argon.yaml"
    starter.write(found, out)
    config = yaml.safe_load(out.read_text())
    assert config["foundation"] == "../foundation"
    names = [run["name"] for run in config["runs"]]
    assert names == ["Foundation", "Scratch", "Fine-tuned", "Fine-tuned-equal"]
    assert config["paths"]["slide"] == {"file": "../slide.xyz", "closed": True}
    kinds = {probe["name"]: probe["kind"] for probe in config["probes"]}
    assert (kinds["hop"], kinds["hop_relaxed"]) == ("fixed_path", "relaxed_neb")
    assert kinds["slide"] == "sliding"


def test_a_foundation_without_the_elements_is_refused(copper, monkeypatch):
    with pytest.raises(CompatibilityError, match="the frames have Cu too"):
        drafted(copper, monkeypatch, foundation="bundled:generalist")


def test_ends_that_do_not_belong_together_are_refused(copper, monkeypatch):
    with pytest.raises(InputError, match="expected another structure"):
        drafted(copper, monkeypatch, ends=("start.extxyz", "start.extxyz"))
    with pytest.raises(InputError, match="expected the atoms of"):
        drafted(copper, monkeypatch, ends=("start.extxyz", "md.extxyz"))


def test_labels_under_other_names_are_pointed_out(tmp_path, monkeypatch):
    atoms = Atoms("Cu2", [[0, 0, 0], [2.5, 0, 0]])
    atoms.info["dft_energy"] = -1.0
    write_atoms(tmp_path / "odd.xyz", [atoms], format="extxyz")
    with pytest.raises(InputError, match=r"the files have dft_energy, which are not read"):
        drafted(tmp_path, monkeypatch, files=("odd.xyz",))
