"""What is read from frames, against crystals whose distances are known and names that tell."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

from mlffjax.errors import InputError
from mlffjax.structures.survey import REACH, label_keys, spacing, survey, temperature
from mlffjax.structures.system import Frame, from_ase


def frame(atoms, kind="Default", index=0, *, energy=-1.0, stress=None, **info):
    forces = np.zeros((len(atoms), 3))
    name = f"{kind}{index}"
    return Frame(
        from_ase(atoms), energy, forces, stress, kind, kind, float(index), name, name, info
    )


def test_counts_kinds_and_free_atoms():
    salt = bulk("NaCl", "rocksalt", a=5.64)
    frames = [
        frame(salt, "aimd_300K", 0, stress=np.zeros((3, 3))),
        frame(salt.repeat((2, 1, 1)), "aimd_600K", 0),
        frame(salt.repeat((2, 1, 1)), "aimd_600K", 1),
        frame(Atoms("Na"), "IsolatedAtom", 0, energy=-0.2),
    ]
    found = survey(frames)
    assert (found.frames, found.elements, found.isolated) == (3, ("Na", "Cl"), ("Na",))
    assert found.kinds == {"aimd_300K": 1, "aimd_600K": 2}
    assert found.temperatures == {"aimd_300K": 300.0, "aimd_600K": 600.0}
    assert found.mixed == {}
    assert (found.atoms, found.sizes, found.trajectories, found.stressed) == ((2, 4), 2, 2, 1)
    assert found.spacing == pytest.approx(2.82)  # half the cube
    assert found.lightest == pytest.approx(22.99, abs=0.01)


@pytest.mark.parametrize(
    ("kind", "infos", "kelvin"),
    [
        ("md_600K", [{}], 600.0),
        ("NVT 1200 K", [{}], 1200.0),
        ("heated_300K_to_600K", [{}], None),
        ("rattled_0.1K2", [{}], None),
        ("K3Sb_bulk", [{}], None),
        ("anything", [{"temperature": 77.0}, {"temperature": 77.0}], 77.0),
        ("md_600K", [{"temperature": 590.0}, {"temperature": 610.0}], 600.0),
        ("md", [{"temperature": 590.0}, {}], None),
    ],
)
def test_temperatures_are_taken_where_they_are_told(kind, infos, kelvin):
    atoms = Atoms("Ar")
    frames = [frame(atoms, kind, i, **info) for i, info in enumerate(infos)]
    assert temperature(kind, frames) == kelvin


def test_an_atom_alone_has_no_neighbour():
    assert spacing([from_ase(Atoms("Ar", cell=[20, 20, 20], pbc=True))]) == REACH


def test_free_atoms_that_contradict_each_other_are_refused():
    frames = [frame(Atoms("Na"), "IsolatedAtom", i, energy=e) for i, e in enumerate((-0.2, -0.9))]
    with pytest.raises(Exception, match="one energy for the isolated Na atom"):
        survey([*frames, frame(bulk("Na"))])
    with pytest.raises(InputError, match="expected one atom"):
        survey([frame(Atoms("Na2", [[0, 0, 0], [3, 0, 0]]), "IsolatedAtom"), frame(bulk("Na"))])


def test_names_of_labels(tmp_path):
    atoms = bulk("Cu")
    atoms.info |= {"REF_energy": -1.0, "dft_energy": -2.0, "config_type": "x"}
    atoms.arrays["REF_forces"] = atoms.arrays["my_force"] = np.zeros((1, 3))
    write(tmp_path / "a.xyz", atoms, format="extxyz")
    read, others = label_keys(tmp_path / "a.xyz")
    assert read == ("REF_energy", "REF_forces")
    assert others == ("dft_energy", "my_force")


def test_a_kind_of_several_temperatures_is_noticed():
    frames = [frame(bulk("Cu"), "md", index, temperature=t) for index, t in enumerate((300, 600))]
    assert survey(frames).mixed == {"md": (300.0, 600.0)}
    assert survey(frames).temperatures == {}
