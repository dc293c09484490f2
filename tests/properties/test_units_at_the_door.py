"""Numbers in the units of other programs: what reading notices, and what nobody could."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from mlffjax.errors import InputError
from mlffjax.structures.checks import UNITS, require_one_unit
from mlffjax.structures.files import read_frames

BOHR = 0.529177
KCAL = UNITS["kcal/mol"]


def crystals(count=6):
    """Rattled copper with energies, forces and stress; a constant per atom as real codes have."""
    images = []
    for seed in range(count):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.05, seed=seed)
        atoms.calc = EMT()
        labels = (
            atoms.get_potential_energy() - 1305.0 * len(atoms),
            atoms.get_forces(),
            atoms.get_stress(voigt=False),
        )
        plain = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
        images.append((plain, *labels))
    return images


def stored(path, *, length=1.0, energy=1.0, force=1.0, stress=1.0, only=None):
    """The crystals in other units, all or only one of them."""
    images = []
    for number, (atoms, e, f, s) in enumerate(crystals()):
        other = only is None or number == only
        scale = (length, energy, force, stress) if other else (1.0,) * 4
        atoms.set_cell(atoms.cell * scale[0], scale_atoms=True)
        atoms.info = {"REF_energy": e / scale[1], "REF_stress": (s / scale[3]).reshape(9)}
        atoms.arrays["REF_forces"] = f / scale[2]
        images.append(atoms)
    write(path, images, format="extxyz")
    return path


def test_the_right_units_pass(tmp_path):
    frames = read_frames(stored(tmp_path / "x.xyz"))
    require_one_unit(frames)
    assert len(frames) == 6


REFUSED = {
    "lengths in nm": ({"length": 0.1}, "0.3 Å apart"),
    "lengths in m": ({"length": 1e-10}, "thin|apart"),
    "lengths in pm, written as Å by mistake twice": ({"length": 1e-2}, "apart|thin"),
    "energies in meV": ({"energy": UNITS["meV"]}, "expected an energy in eV"),
    "energies in kJ/mol": ({"energy": UNITS["kJ/mol"]}, "expected an energy in eV"),
    "forces in meV/Å": ({"force": 1e-3 / 30}, "below 1000 eV/Å"),
    "stress in GPa": ({"stress": 1 / 160.2 / 60}, "160 GPa"),
    "stress in bar": ({"stress": 6.2e-7}, "160 GPa"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_units_that_no_structure_explains_are_refused_when_read(tmp_path, name):
    scales, message = REFUSED[name]
    with pytest.raises(InputError, match=message) as caught:
        read_frames(stored(tmp_path / "x.xyz", **scales))
    assert "frame 0" in str(caught.value)


@pytest.mark.parametrize("unit", ["hartree", "rydberg", "kcal/mol"])
def test_one_frame_in_another_unit_is_refused_by_name(tmp_path, unit):
    frames = read_frames(stored(tmp_path / "x.xyz", energy=UNITS[unit], only=3))
    with pytest.raises(InputError, match=rf"frame 3: .*{unit}"):
        require_one_unit(frames)


@pytest.mark.parametrize("scale", [{"energy": UNITS["hartree"]}, {"energy": KCAL},
                                   {"length": 1 / BOHR}])  # fmt: skip
def test_all_frames_in_one_wrong_unit_cannot_be_told_from_another_material(tmp_path, scale):
    """Stated, so that nobody relies on it: the whole file in hartree, kcal/mol or bohr is read."""
    frames = read_frames(stored(tmp_path / "x.xyz", **scale))
    require_one_unit(frames)
    assert np.isfinite([frame.energy for frame in frames]).all()
