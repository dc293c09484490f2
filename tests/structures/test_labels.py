import ase
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from mlffjax.errors import InputError
from mlffjax.structures.files import read_frames
from mlffjax.structures.labels import read_labels

STRESS = np.array([[0.01, 0.002, 0.003], [0.002, -0.02, 0.004], [0.003, 0.004, 0.03]])


def strained_cell() -> ase.Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(
        atoms.cell.array @ np.array([[1.02, 0.01, 0], [0, 0.99, 0], [0, 0, 1.03]]),
        scale_atoms=True,
    )
    atoms.rattle(0.05, seed=1)
    return atoms


def energy_under_strain(atoms: ase.Atoms, strain: np.ndarray) -> float:
    moved = atoms.copy()
    moved.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    moved.calc = EMT()
    return moved.get_potential_energy()


def stress_by_differences(atoms: ase.Atoms, step: float = 1e-4) -> np.ndarray:
    stress = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            strain = np.zeros((3, 3))
            strain[i, j] += step / 2
            strain[j, i] += step / 2
            plus, minus = (energy_under_strain(atoms, sign * strain) for sign in (1, -1))
            stress[i, j] = (plus - minus) / (2 * step * atoms.get_volume())
    return stress


@pytest.mark.parametrize("spelling", ["stress9", "stress6", "virials9", "virials6", "both", "ase"])
def test_stress_is_the_derivative_by_strain_however_it_is_written(tmp_path, spelling):
    atoms = strained_cell()
    expected = stress_by_differences(atoms)
    atoms.calc = EMT()
    voigt, volume = atoms.get_stress(), atoms.get_volume()
    full = atoms.get_stress(voigt=False)
    if spelling != "ase":
        atoms.info["REF_energy"] = atoms.get_potential_energy()
        atoms.calc = None
    if spelling in ("stress9", "both"):
        atoms.info["REF_stress"] = full.ravel()
    if spelling == "stress6":
        atoms.info["REF_stress"] = voigt
    if spelling in ("virials9", "both"):
        atoms.info["REF_virials"] = -full * volume
    if spelling == "virials6":
        atoms.info["REF_virials"] = -voigt * volume
    write(tmp_path / "a.xyz", atoms, format="extxyz")
    (frame,) = read_frames(tmp_path / "a.xyz")
    # Central differences with a step of 1e-4 are good to about 1e-8 relative to stiffness ~1 eV/Å³.
    assert np.allclose(np.asarray(frame.stress), expected, atol=1e-6)
    assert abs(expected).max() > 1e-2


def test_reference_keys_are_not_mixed_with_other_results():
    atoms = bulk("Cu")
    atoms.info["REF_energy"] = -3.0
    atoms.calc = SinglePointCalculator(
        atoms, energy=-4.0, forces=np.ones((1, 3)), stress=np.ones(6)
    )
    labels = read_labels(atoms, "a frame 0")
    assert labels.energy == -3.0
    assert labels.forces is None
    assert labels.stress is None


def test_free_energy_is_preferred_among_results():
    atoms = bulk("Cu")
    atoms.calc = SinglePointCalculator(atoms, energy=-4.0, free_energy=-4.1)
    assert read_labels(atoms, "a frame 0").energy == -4.1


def test_free_energy_is_taken_from_the_contributions_of_a_log():
    """ASE's reader of GPAW's log gives the energy at zero width; forces belong to the other."""
    atoms = bulk("Cu")
    calculator = SinglePointCalculator(atoms, energy=-4.0)
    atoms.calc = calculator
    parts = {"entropy (-st)": -0.2, "free energy": -8.2, "extrapolated": -8.1}
    calculator.energy_contributions = parts  # type: ignore[attr-defined]
    assert read_labels(atoms, "a").energy == pytest.approx(-4.1, abs=1e-12)
    calculator.energy_contributions = {"kinetic": 1.0}  # type: ignore[attr-defined]
    assert read_labels(atoms, "a").energy == -4.0


def test_plain_virial_is_read_without_reference_keys():
    atoms = bulk("Cu")
    atoms.info["virial"] = STRESS
    stress = np.asarray(read_labels(atoms, "a").stress)
    assert np.allclose(stress, -STRESS / atoms.get_volume(), rtol=1e-14)


def test_no_labels():
    assert read_labels(bulk("Cu"), "a frame 0") == (None, None, None)


@pytest.mark.parametrize(
    ("info", "arrays", "message"),
    [
        ({"REF_energy": "high"}, {}, "expected numbers for energy"),
        ({"REF_energy": [1.0, 2.0]}, {}, "expected one energy"),
        ({}, {"REF_forces": np.zeros((2, 2))}, r"expected forces of shape \(2, 3\)"),
        ({}, {"REF_forces": np.zeros(2)}, r"expected forces of shape \(2, 3\)"),
        ({"REF_stress": np.zeros(5)}, {}, "expected stress as 3x3 or as six"),
        ({"REF_stress": np.arange(9.0)}, {}, "expected a symmetric stress"),
        ({"REF_virials": np.zeros((2, 3))}, {}, "expected virials as 3x3 or as six"),
        ({"REF_stress": STRESS, "REF_virials": STRESS * 216.0}, {}, "stress = -virials / volume"),
    ],
)
def test_malformed_labels(info, arrays, message):
    atoms = ase.Atoms("Cu2", positions=[[0, 0, 0], [2, 0, 0]], cell=[6, 6, 6], pbc=True)
    atoms.info.update(info)
    atoms.arrays.update(arrays)
    with pytest.raises(InputError, match=f"file frame 7: .*{message}"):
        read_labels(atoms, "file frame 7")


def test_virials_without_a_volume():
    atoms = ase.Atoms("Cu", info={"REF_virials": STRESS})
    with pytest.raises(InputError, match="need a cell of finite volume"):
        read_labels(atoms, "a frame 0")
