"""Relaxation and molecular-dynamics frames on the teacher's own surface, in chunks and resumable.

    python scripts/data/generalist/explore.py --structures build/structures.xyz --out build/raw

Each chain starts from one generated structure: 25 FIRE steps (cell included for bulk), then a
random isotropic strain and 60 steps of 2 fs Langevin dynamics at 500-4000 K. Seven frames are kept:
two of the relaxation (config_type ``relaxed``) and five of the dynamics (``heated``). All frames of
a chain share the ``group`` of their parent structure, so that a split by group never separates
them.
"""

import argparse
import time
from collections import defaultdict
from itertools import chain
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.filters import FrechetCellFilter
from ase.io import read
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from ase.optimize import FIRE

import teacher
from label import write_whole
from variations import strain

FIXED_CELL = ("slab", "bilayer_slab", "cluster")  # vacuum must not relax away
PARENTS = (
    "intercalate",
    "compound",
    "binary",
    "ternary",
    "alloy",
    "intercalate",
    "defect",
    "nickeline",
    "sliding_stack",
    "packing",
    "bilayer_slab",
    "elemental",
    "slab",
    "cluster",
)


def parents(structures: list[Atoms]) -> list[Atoms]:
    """Starting structures of 2 to 18 atoms, one family after the other."""
    queues = defaultdict(list)
    for atoms in structures:
        if 2 <= len(atoms) <= 18:  # a lone atom has no dynamics
            queues[atoms.info["config_type"]].append(atoms)
    iterators = {family: iter(queues[family]) for family in PARENTS}
    longest = max(len(queue) for queue in queues.values())
    rounds = [[next(iterators[family], None) for family in PARENTS] for _ in range(longest)]
    return [atoms for atoms in chain.from_iterable(rounds) if atoms is not None]


def relaxed(atoms: Atoms, calculator: Calculator) -> list[Atoms]:
    """The structure after 6 and after 25 FIRE steps."""
    atoms = atoms.copy()
    atoms.calc = calculator
    fixed = atoms.info["config_type"] in FIXED_CELL
    optimizer = FIRE(atoms if fixed else FrechetCellFilter(atoms), logfile=None, maxstep=0.15)
    frames = []
    for steps in (6, 25):
        optimizer.run(fmax=0.01, steps=steps - optimizer.nsteps)
        frames.append(atoms.copy())
    return frames


def heated(atoms: Atoms, calculator: Calculator, rng: np.random.Generator) -> list[Atoms]:
    """Five frames, 24 fs apart, of a short trajectory at one temperature."""
    temperature = float(np.exp(rng.uniform(np.log(500), np.log(4000))))
    if atoms.info["config_type"] not in FIXED_CELL:
        atoms = strain(atoms, rng, low=-0.04, high=0.07)
    atoms = atoms.copy()
    atoms.calc = calculator
    # Half of the kinetic energy becomes potential energy within a few steps.
    MaxwellBoltzmannDistribution(atoms, temperature_K=2 * temperature, rng=rng)
    Stationary(atoms)
    dynamics = Langevin(
        atoms, 2 * units.fs, temperature_K=temperature, friction=0.02 / units.fs, rng=rng
    )
    frames = []
    for _ in range(5):
        dynamics.run(12)
        frames.append(atoms.copy())
        frames[-1].info["temperature"] = round(temperature)
    return frames


def explore(parent: Atoms, calculator: Calculator, rng: np.random.Generator) -> list[Atoms]:
    """Labelled frames of one chain; those that fail the teacher's checks are left out."""
    relaxation = relaxed(parent, calculator)
    trajectory = heated(relaxation[-1], calculator, rng)
    kept = []
    for kind, frames in (("relaxed", relaxation), ("heated", trajectory)):
        for frame in frames:
            frame.info |= {
                "config_type": kind,
                "source": f"{parent.info['config_type']} {parent.info['source']}",
            }
            labelled = teacher.attach(frame, calculator)
            if teacher.objection(labelled) is None:
                kept.append(labelled)
    return kept


def main() -> None:
    """Run chain after chain."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--structures", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the labelled chunks")
    parser.add_argument("--chains", type=int, default=112)
    parser.add_argument("--chunk", type=int, default=14, help="chains per file")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    starts = parents(read(arguments.structures, ":"))[: arguments.chains]
    calculator = teacher.load()
    for number, start in enumerate(range(0, len(starts), arguments.chunk)):
        path = arguments.out / f"explored_{number:04d}.xyz"
        if path.exists():
            continue
        began, frames = time.perf_counter(), []
        for index, parent in enumerate(starts[start : start + arguments.chunk], start):
            frames += explore(parent, calculator, np.random.default_rng([arguments.seed, index]))
        write_whole(path, frames)
        print(
            f"{path.name}: {len(frames)} frames in {time.perf_counter() - began:.0f} s", flush=True
        )


if __name__ == "__main__":
    main()
