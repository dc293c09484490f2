"""Sliding paths of a bilayer slab, pristine and with Cr in the gap; labels come later.

    python sliding_paths.py DIRECTORY

The upper quintuple layer is moved rigidly at the experimental interlayer distance. Pristine (1x1):
s = 0..3 slide vectors, a full lattice period in 13 images. Doped (2x2 with one Cr): s = 0..-1, from
the crystal's stacking to Te on top of Te (equivalent to 3..2) in 5 images, with only the position
of Cr relaxed by SevenNet-0. Needs ``pip install 'mlffjax[sevenn]'``.
"""

import argparse
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms
from ase.optimize import LBFGS
from frames import enqueue, frame
from sevenn.calculator import SevenNetCalculator

from mlffjax.structures import builders
from mlffjax.structures.system import to_ase

PRISTINE = {"kpts": "4x4x1", "gpts": "14x14x108"}
DOPED = {"kpts": "2x2x1", "gpts": "28x28x108"}


def pristine(calculator: SevenNetCalculator) -> list[Atoms]:
    """13 images of the rigid slide by three slide vectors."""
    frames = []
    for k, shift in enumerate(np.linspace(0, 3, 13)):
        atoms = to_ase(builders.bilayer(shift=shift))
        atoms.calc = calculator
        frames.append(
            frame(
                atoms,
                frame_id=f"slide_slab0_pristine_{k:02d}",
                config_type="slide_pristine",
                out="slide_bilayer_pristine",
                group="slide_slab",
                image=k,
                slide_s=float(shift),
                sevenn_energy=float(atoms.get_potential_energy()),
                source="bilayer slab, rigid slide, experimental interlayer distance, "
                "PBE single point",
                **PRISTINE,
            )
        )
    return frames


def doped(calculator: SevenNetCalculator) -> list[Atoms]:
    """5 images; Cr starts at the octahedral site and follows from image to image."""
    lift = np.array([0.0, 0.0, builders.C / 2 - builders.C / 6])
    chromium = builders.gap_sites().octahedral + lift
    frames = []
    for k, shift in enumerate(np.linspace(0, -1, 5)):
        atoms = to_ase(builders.intercalate(builders.bilayer(2, shift=shift), chromium))
        if k:
            atoms.positions[-1] += [0.07, 0.04, -0.05]  # leave the mirror line
        atoms.set_constraint(FixAtoms(range(len(atoms) - 1)))
        atoms.calc = calculator
        LBFGS(atoms, logfile=None, maxstep=0.05).run(fmax=0.03, steps=60)
        chromium = atoms.positions[-1].copy()
        frames.append(
            frame(
                atoms,
                frame_id=f"slide_slab_doped_{k:02d}",
                config_type="slide_doped",
                out="slide_bilayer_doped",
                group="slide_slab_doped",
                image=k,
                slide_s=float(shift),
                sevenn_energy=float(atoms.get_potential_energy()),
                source="bilayer slab, rigid slide at the experimental interlayer distance, Cr "
                "position relaxed by SevenNet-0, PBE single point",
                **DOPED,
            )
        )
    return frames


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    sevennet = SevenNetCalculator("7net-0", device="cpu")
    enqueue(directory, "slide_bilayer_pristine", pristine(sevennet))
    enqueue(directory, "slide_bilayer_doped", doped(sevennet))
