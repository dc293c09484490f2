"""A material that comes with nothing: a vacancy in copper, from structure files to a verdict.

    python scripts/examples/another_material.py [--out copper] [--epochs 40]

Copper and the EMT calculator of ASE stand for your material and your reference code. The script
writes what you would have - frames of molecular dynamics, the free atom, a path relaxed with the
reference - and then runs the two commands that you would run: ``mlffjax init``, which writes a
configuration for these files, and ``mlffjax study``, which trains models from scratch on growing
parts of the frames and says how good their barrier is. There is no foundation for copper here.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from ase.md.langevin import Langevin
from ase.mep import NEB
from ase.optimize import BFGS, FIRE

LATTICE = 3.61  # Å
TEMPERATURES = (300, 900)  # K
TIMESTEP = 5.0 * units.fs
BETWEEN = 20  # steps from one frame to the next


def main() -> None:
    """Parse arguments, make the files, run the commands."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("copper"), help="folder for everything")
    parser.add_argument("--frames", type=int, default=24, help="of each temperature")
    parser.add_argument("--images", type=int, default=7, help="of the path")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument(
        "--set", action="append", default=[], help="more entries to change, for the study"
    )
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    make_files(arguments.out, arguments.frames, arguments.images)
    config = arguments.out / "copper.yaml"
    run(
        "init", f"{arguments.out}/md_*.extxyz", f"{arguments.out}/atom.extxyz",
        "--path", f"{arguments.out}/hop.extxyz", "--out", str(config), "--size", "tiny",
        "--reference", "EMT of ASE", "--functional", "EMT", "--force",
    )  # fmt: skip
    changes = [f"training.epochs={arguments.epochs}", *arguments.set]
    options = [part for change in changes for part in ("--set", change)]
    run("study", str(config), "--out", str(arguments.out / "results"), *options)


def run(*arguments: str) -> None:
    """Run a command of mlffjax and show what it says."""
    print("\n$ mlffjax", *arguments, flush=True)
    code = subprocess.run([sys.executable, "-m", "mlffjax.cli.main", *arguments]).returncode
    if code:
        raise SystemExit(code)


def make_files(folder: Path, frames: int, images: int) -> None:
    """Write frames, the free atom and the path, labelled with EMT."""
    rng = np.random.default_rng(0)
    for kelvin in TEMPERATURES:
        write(folder / f"md_{kelvin}K.extxyz", dynamics(kelvin, frames, rng))
    atom = labelled(Atoms("Cu", cell=[12, 12, 12], pbc=True), "IsolatedAtom")
    write(folder / "atom.extxyz", atom)
    path = hop(images)
    barrier = max(image.info["REF_energy"] for image in path) - path[0].info["REF_energy"]
    write(folder / "hop.extxyz", path)
    print(f"{folder}: {len(TEMPERATURES) * frames} frames, a path of {len(path)} images; "
          f"barrier of the reference {barrier:.3f} eV")  # fmt: skip


def vacancy() -> Atoms:
    """Copper of 31 atoms with one missing at the origin."""
    crystal = bulk("Cu", "fcc", a=LATTICE, cubic=True).repeat(2)
    del crystal[0]
    return crystal


def labelled(atoms: Atoms, kind: str, **info: float) -> Atoms:
    """A copy with energy, forces and stress of the reference under the names that are read."""
    copy = atoms.copy()
    copy.calc = EMT()
    copy.info = {"config_type": kind, "REF_energy": copy.get_potential_energy(), **info}
    copy.arrays["REF_forces"] = copy.get_forces()
    if len(copy) > 1:
        copy.info["REF_stress"] = copy.get_stress(voigt=False)
    copy.calc = None
    return copy


def dynamics(kelvin: float, frames: int, rng: np.random.Generator) -> list[Atoms]:
    """Snapshots of molecular dynamics at constant temperature."""
    atoms = vacancy()
    atoms.calc = EMT()
    # Half of the energy goes into the potential.
    widths = np.sqrt(atoms.get_masses() * units.kB * 2 * kelvin)
    atoms.set_momenta(widths[:, None] * rng.normal(size=(len(atoms), 3)))
    motion = Langevin(
        atoms, TIMESTEP, temperature_K=kelvin, friction=0.02 / units.fs, fixcm=False, rng=rng
    )
    motion.run(5 * BETWEEN)
    found = []
    for step in range(frames):
        motion.run(BETWEEN)
        found.append(labelled(atoms, f"md_{kelvin}K", step=step))
    return found


def hop(images: int) -> list[Atoms]:
    """An atom that jumps into the vacancy: a band relaxed with the reference."""
    start = vacancy()
    end = start.copy()
    mover = int(np.argmin(np.linalg.norm(start.positions, axis=1)))
    end.positions[mover] = 0.0
    for one in (start, end):
        one.calc = EMT()
        BFGS(one, logfile=None).run(fmax=0.01)
    band = [start, *(start.copy() for _ in range(images - 2)), end]
    for image in band:
        image.calc = EMT()
    neb = NEB(band, climb=True, method="improvedtangent")
    neb.interpolate(mic=True)
    FIRE(neb, logfile=None).run(fmax=0.03, steps=300)
    return [labelled(image, "hop", image=number) for number, image in enumerate(band)]


if __name__ == "__main__":
    main()
