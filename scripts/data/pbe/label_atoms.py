"""Energies of isolated Cr, Sb and Te with the same functional, data sets and cut-off.

    GPAW_SETUP_PATH=SETUPS:... python label_atoms.py DIRECTORY

Writes DIRECTORY/labelled/isolated_atoms.xyz. Te (5p4): the one minority p electron is spread evenly
over the three p orbitals by fixed occupations, because the broken-symmetry atom does not converge.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write
from gpaw import GPAW, PW, FermiDirac

SETTINGS = json.loads((Path(__file__).parent / "settings.json").read_text())
MOMENTS = {"Cr": 6, "Sb": 3, "Te": 2}
BANDS = {"Cr": 14, "Sb": 9, "Te": 9}


def isolated(symbol: str, log: Path) -> Atoms:
    """One labelled atom in a box without symmetry."""
    atoms = Atoms(symbol, cell=[11.0, 11.3, 11.6], pbc=True)
    atoms.center()
    work = atoms.copy()
    work.set_initial_magnetic_moments([MOMENTS[symbol]])
    occupations = FermiDirac(0.01, fixmagmom=True)
    if symbol == "Te":
        empty = [0.0] * (BANDS["Te"] - 4)
        numbers = [[1.0] * 4 + empty, [1.0, 1 / 3, 1 / 3, 1 / 3, *empty]]
        occupations = {"name": "fixed", "numbers": numbers}
    work.calc = GPAW(
        mode=PW(SETTINGS["ecut"]),
        xc="PBE",
        setups=SETTINGS["setups"],
        spinpol=True,
        kpts=(1, 1, 1),
        nbands=BANDS[symbol],
        occupations=occupations,
        convergence={"density": 1e-4, "eigenstates": 1e-6, "energy": 1e-4},
        mixer={"method": "sum", "backend": "pulay", "beta": 0.05, "nmaxold": 5, "weight": 50},
        hund=False,
        symmetry="off",
        maxiter=300,
        txt=str(log),
    )
    atoms.info.update(
        config_type="IsolatedAtom",
        frame_id=f"iso_{symbol}",
        REF_energy=float(work.get_potential_energy()),
        total_magmom=float(work.get_magnetic_moment()),
        source="PBE isolated atom, Gamma, fixed total moment",
    )
    atoms.arrays["REF_forces"] = np.zeros((1, 3))
    return atoms


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    (directory / "labelled").mkdir(parents=True, exist_ok=True)
    frames = [isolated(symbol, directory / f"gpaw_{symbol}.txt") for symbol in MOMENTS]
    write(directory / "labelled" / "isolated_atoms.xyz", frames, format="extxyz")
