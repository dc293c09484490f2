"""Strained cells: pristine isotropic, van der Waals gap opened, doped isotropic; labels come later.

    python strained_cells.py DIRECTORY

The doped cells start from image 0 of DIRECTORY/queue/neb_in_gap.xyz (the relaxed octahedral site),
so run ``migration_paths.py`` first.
"""

import argparse
from pathlib import Path

from ase import Atoms
from ase.io import read
from frames import enqueue, frame, host

ISOTROPIC = (-0.03, -0.02, -0.01, 0.0, 0.01, 0.02, 0.03)
GAP = (-0.02, 0.02, 0.04, 0.06)  # of the layer repeat
DOPED = (-0.02, -0.01, 0.01, 0.02, 0.03)


def isotropic(atoms: Atoms, strains: tuple[float, ...], name: str, group: str) -> list[Atoms]:
    """Cell and atoms scaled together."""
    frames = []
    for k, strain in enumerate(strains):
        scaled = atoms.copy()
        scaled.set_cell(atoms.cell.array * (1 + strain), scale_atoms=True)
        frames.append(strained(scaled, f"{name}_{k}", group, k, "isotropic", strain))
    return frames


def gap_opened(atoms: Atoms) -> list[Atoms]:
    """The stacking vector made longer along z; the atoms stay, so only the gap opens."""
    frames = []
    for k, strain in enumerate(GAP):
        opened = atoms.copy()
        opened.cell[2, 2] *= 1 + strain
        frames.append(strained(opened, f"strain_gap_{k}", "strain", k, "gap", strain))
    return frames


def strained(atoms: Atoms, name: str, group: str, image: int, kind: str, strain: float) -> Atoms:
    """A frame for the labeller."""
    return frame(
        atoms,
        frame_id=name,
        config_type="strain",
        out="strain",
        group=group,
        image=image,
        strain_kind=kind,
        strain=strain,
        source="homogeneous strain or opened gap, PBE single point",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    pristine = host()
    relaxed = read(directory / "queue" / "neb_in_gap.xyz", index=0)
    enqueue(
        directory,
        "strain",
        isotropic(pristine, ISOTROPIC, "strain_iso", "strain")
        + gap_opened(pristine)
        + isotropic(relaxed, DOPED, "strain_doped", "strain_doped"),
    )
