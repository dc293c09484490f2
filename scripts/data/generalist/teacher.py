"""The teacher: SevenNet-0, its labels, and the checks a label has to pass.

SevenNet-0 (Park et al., J. Chem. Theory Comput. 20, 4857 (2024), doi:10.1021/acs.jctc.4c00190) was
trained on MPtrj, that is PBE with spin polarisation; its weights come with the package ``sevenn``.
"""

import warnings

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from variations import CLOSEST, separation

LARGEST_FORCE = 40.0  # eV/Å
ENERGY_RANGE = (-11.0, 3.0)  # eV per atom on the teacher's scale
LARGEST_STRESS = 1.5  # eV/Å^3
TEACHER = "SevenNet-0 (11Jul2024)"


def load() -> Calculator:
    """SevenNet-0 on one CPU thread."""
    import torch

    torch.set_num_threads(1)
    # e3nn < 0.5 keeps its constants in a file that newer torch only reads with this permission.
    torch.serialization.add_safe_globals([slice])
    warnings.filterwarnings("ignore")
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator("7net-0", device="cpu")


def attach(atoms: Atoms, calculator: Calculator) -> Atoms:
    """A copy with REF_energy (eV), REF_forces (eV/Å) and REF_stress (3x3, eV/Å^3, ASE sign)."""
    calculator.calculate(atoms)
    results = calculator.results
    labelled = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    xx, yy, zz, yz, xz, xy = (float(x) for x in results["stress"])
    labelled.info = {
        **atoms.info,
        "REF_energy": float(results["energy"]),
        "REF_stress": np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]),
        "reference": TEACHER,
    }
    labelled.arrays["REF_forces"] = np.array(results["forces"], dtype=float)
    return labelled


def objection(labelled: Atoms) -> str | None:
    """Why a labelled structure should not be learned from, or None if it is fine."""
    energy = labelled.info["REF_energy"] / len(labelled)
    forces, stress = labelled.arrays["REF_forces"], labelled.info["REF_stress"]
    if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()):
        return "not finite"
    if separation(labelled) < CLOSEST:
        return "atoms too close"
    if np.abs(forces).max() > LARGEST_FORCE:
        return "force too large"
    if not ENERGY_RANGE[0] < energy < ENERGY_RANGE[1]:
        return "energy out of range"
    if np.abs(stress).max() > LARGEST_STRESS:
        return "stress too large"
    return None
