"""Relax the two migration paths of Cr with SevenNet-0 (climbing-image NEB); labels come later.

    python migration_paths.py DIRECTORY

in_gap: octahedral site -> tetrahedral hollow of the gap -> next octahedral site (9 images).
deep: octahedral site -> T1, inside the layer between outer Te and Sb -> T2, next to the central Te
plane (17 images, two segments that share T1). Needs ``pip install 'mlffjax[sevenn]'``.
"""

import argparse
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.mep import NEB
from ase.optimize import FIRE, LBFGS
from frames import doped, enqueue, frame
from sevenn.calculator import SevenNetCalculator

from mlffjax.structures import builders

HEIGHT_T1, HEIGHT_T2 = 2.55, 1.1  # Å above the central Te plane, before relaxation
SOURCE = "SevenNet-0 climbing-image NEB geometry, PBE single point"


def relax(atoms: Atoms, calculator: SevenNetCalculator) -> Atoms:
    """Relax all atoms in the fixed cell to 0.01 eV/Å."""
    atoms = atoms.copy()
    atoms.calc = calculator
    if not LBFGS(atoms, logfile=None, maxstep=0.1).run(fmax=0.01, steps=400):
        raise RuntimeError("an end point did not relax in 400 steps")
    return atoms


def band(
    first: Atoms, last: Atoms, calculator: SevenNetCalculator, middle: Atoms | None = None
) -> list[Atoms]:
    """Nine images, first without and then with a climbing image; through ``middle`` if given."""
    images = [first.copy() for _ in range(8)] + [last.copy()]
    if middle is None:
        NEB(images).interpolate(method="idpp")
    else:
        for k, image in enumerate(images):
            start, end = (first, middle) if k <= 4 else (middle, last)
            image.positions = start.positions + (end.positions - start.positions) * (k % 4 / 4)
        images[4].positions, images[8].positions = middle.positions, last.positions
    for image in images:
        image.calc = calculator
    for climb, fmax, maxstep in ((False, 0.1, 0.08), (True, 0.05, 0.05)):
        chain = NEB(images, climb=climb, k=0.3, allow_shared_calculator=True)
        converged = FIRE(chain, logfile=None, maxstep=maxstep).run(fmax=fmax, steps=300)
    if not converged:
        raise RuntimeError("the band did not converge in 300 steps")
    return images


def path_frames(name: str, bands: list[list[Atoms]]) -> list[Atoms]:
    """Frames of bands that follow each other; the image between two bands appears once."""
    chain = [(0, image) for image in bands[0]]
    for number, images in enumerate(bands[1:], start=1):
        chain += [(number, image) for image in images[1:]]
    frames, length = [], 0.0
    for k, (segment, image) in enumerate(chain):
        if k:
            length += float(np.linalg.norm(image.positions - chain[k - 1][1].positions))
        frames.append(
            frame(
                image,
                frame_id=f"{name}_{k:02d}",
                config_type=name,
                out=name,
                group=name,
                image=k,
                segment=segment,
                path_s=length,
                source=SOURCE,
                sevenn_energy=float(image.get_potential_energy()),
            )
        )
    return frames


def main(directory: Path) -> None:
    """Relax end points and bands, and enqueue the images."""
    calculator = SevenNetCalculator("7net-0", device="cpu")
    sites, (a1, a2) = builders.gap_sites(), builders.in_plane()
    tetrahedral = sites.under_te
    # Two of the three octahedral sites around the tetrahedral one, at a / sqrt(3).
    near = [
        site
        for i in range(-2, 3)
        for j in range(-2, 3)
        if np.linalg.norm((site := sites.octahedral + i * a1 + j * a2) - tetrahedral) < 2.6
    ]
    start, end = (relax(doped(site), calculator) for site in near[:2])
    hollow = relax(doped(tetrahedral), calculator)
    in_gap = band(start, end, calculator, middle=hollow)
    enqueue(directory, "neb_in_gap", path_frames("neb_in_gap", [in_gap]))
    inside = relax(doped(np.array([*tetrahedral[:2], HEIGHT_T1])), calculator)
    # T2 lies in the column of the nearest outer Te of the layer (where `over_te` is).
    columns = [sites.over_te + i * a1 + j * a2 for i in range(-2, 3) for j in range(-2, 3)]
    column = min(columns, key=lambda site: np.linalg.norm(site[:2] - tetrahedral[:2]))
    center = relax(doped(np.array([*column[:2], HEIGHT_T2])), calculator)
    deep = [band(start, inside, calculator), band(inside, center, calculator)]
    enqueue(directory, "neb_deep", path_frames("neb_deep", deep))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    main(parser.parse_args().directory)
