"""Label queued structures with PBE (GPAW, plane waves), one setting for every frame.

    GPAW_SETUP_PATH=SETUPS:... python label.py DIRECTORY [NAME ...]

Reads DIRECTORY/queue/*.xyz (or the named ones, in that order), appends each labelled frame to
DIRECTORY/labelled/<out>.xyz, and skips frames that are there already: stop and start at will, one
process at a time. SETUPS holds ``Sb.5e.PBE`` of ``make_sb5e.py``. A 21-atom frame takes about a
minute on one core, a 41-atom slab twelve. Needs GPAW (22.8 was used) and ASE, not mlffjax.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.io import read, write
from ase.stress import voigt_6_to_full_3x3_stress
from gpaw import GPAW, PW, FermiDirac, KohnShamConvergenceError

SETTINGS = json.loads((Path(__file__).parent / "settings.json").read_text())


def calculator(atoms: Atoms, log: Path, *, careful: bool = False) -> Calculator:
    """GPAW with the one setting; ``careful`` mixes slowly, for frames that fail otherwise.

    A frame may carry its own ``kpts`` and ``gpts`` (``4x4x1``): slabs need their own grids.
    """
    symbols = atoms.get_chemical_symbols()
    electrons = sum(SETTINGS["valence"][symbol] for symbol in symbols)
    mixer = dict(SETTINGS["mixer"])
    if "Cr" in symbols:
        mixer["method"] = "sum"
    if careful:
        mixer.update(beta=0.05, weight=50)
    kpts = SETTINGS["kpts"]
    if "kpts" in atoms.info:
        kpts = {"size": grid(atoms.info["kpts"]), "gamma": False}
    return GPAW(
        mode=PW(SETTINGS["ecut"]),
        xc="PBE",
        setups=SETTINGS["setups"],
        kpts=kpts,
        gpts=grid(atoms.info["gpts"]) if "gpts" in atoms.info else SETTINGS["gpts"],
        nbands=math.ceil(electrons / 2) + SETTINGS["extra_bands"],
        occupations=FermiDirac(SETTINGS["smearing"]),
        convergence=SETTINGS["convergence"],
        symmetry={"point_group": False},
        mixer=mixer,
        experimental={"niter_fixdensity": 6 if careful else 0},
        spinpol="Cr" in symbols,
        maxiter=SETTINGS["maxiter"],
        txt=str(log),
    )


def grid(text: str) -> list[int]:
    """``"4x4x1"`` as numbers."""
    return [int(part) for part in text.split("x")]


def label(atoms: Atoms, calc: Calculator) -> Atoms:
    """The frame with REF_ labels: free energy, net-free forces, stress, and magnetic moments."""
    work = atoms.copy()
    chromium = [k for k, symbol in enumerate(atoms.get_chemical_symbols()) if symbol == "Cr"]
    if chromium:
        moments = np.zeros(len(atoms))
        moments[chromium] = SETTINGS["cr_initial_magmom"]
        work.set_initial_magnetic_moments(moments)
    work.calc = calc
    result = atoms.copy()
    result.info["REF_energy"] = float(work.get_potential_energy(force_consistent=True))
    result.info["REF_energy_sigma0"] = float(work.get_potential_energy())
    forces = work.get_forces()
    result.arrays["REF_forces"] = forces - forces.mean(axis=0)
    result.info["force_residual"] = float(np.linalg.norm(forces.sum(axis=0)))
    result.info["REF_stress"] = voigt_6_to_full_3x3_stress(work.get_stress()).reshape(9)
    if chromium:
        moments = work.get_magnetic_moments()
        result.arrays["REF_magmoms"] = moments
        result.info["cr_magmom"] = float(moments[chromium[0]])
        result.info["total_magmom"] = float(work.get_magnetic_moment())
    return result


def label_carefully(
    atoms: Atoms, calc: Calculator, log: Path
) -> tuple[Atoms | None, Calculator | None]:
    """Label; if the SCF fails or Cr loses its moment, once more from scratch and slowly.

    Returns:
        The labelled frame, flagged if Cr stays in a low moment, or ``None`` if the SCF fails twice;
        and the calculator if its wave functions are good enough to start the next frame from.
    """
    lowest = SETTINGS["cr_lowest_magmom"]
    result = None
    for attempt in (calc, None):
        try:
            result = label(atoms, attempt or calculator(atoms, log, careful=True))
        except KohnShamConvergenceError:
            continue
        if result.info.get("cr_magmom", lowest) >= lowest:
            return result, attempt
    if result is not None:
        result.info["low_spin_flag"] = True
    return result, None


def finished(directory: Path) -> set[str]:
    """Names of the frames that have labels."""
    files = sorted((directory / "labelled").glob("*.xyz"))
    return {atoms.info["frame_id"] for file in files for atoms in read(file, index=":")}


def main(directory: Path, names: list[str]) -> None:
    """Work through the queue; frames of one group and cell reuse their wave functions."""
    (directory / "labelled").mkdir(parents=True, exist_ok=True)
    queue = [directory / "queue" / f"{name}.xyz" for name in names]
    done, calc, key = finished(directory), None, None
    for file in queue or sorted((directory / "queue").glob("*.xyz")):
        for atoms in read(file, index=":"):
            name = atoms.info["frame_id"]
            if name in done:
                continue
            log = directory / "gpaw.txt"
            kind = (atoms.info["group"], str(atoms.symbols), atoms.cell.array.round(6).tobytes())
            if calc is None or kind != key:
                calc, key = calculator(atoms, log), kind
            result, calc = label_carefully(atoms, calc, log)
            if result is None:
                print(f"{name}: dropped, the SCF did not converge", flush=True)
                continue
            target = directory / "labelled" / f"{atoms.info['out']}.xyz"
            write(target, result, append=True, format="extxyz")
            print(f"{name}: {result.info['REF_energy']:.4f} eV", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    main(arguments.directory, arguments.names)
