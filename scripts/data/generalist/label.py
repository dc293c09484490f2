"""Label structures with SevenNet-0, in chunks and resumable.

    python scripts/data/generalist/label.py --structures build/structures.xyz --out build/raw

Writes ``static_0000.xyz``, ``static_0001.xyz``, ... with REF_energy, REF_forces, REF_stress,
config_type, source and group. A chunk that exists is not computed again. One structure
at a time: batches of 8 to 16 were 1.7 times faster on one core, but these single points are a tenth
of the whole cost (dynamics, which cannot be batched this way, is the rest).
"""

import argparse
import time
from collections import Counter
from pathlib import Path

from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.io import read, write

import teacher


def label_all(structures: list[Atoms], calculator: Calculator) -> tuple[list[Atoms], Counter]:
    """Labelled structures that pass the checks, and how many were dropped for which reason."""
    kept, dropped = [], Counter()
    for atoms in structures:
        labelled = teacher.attach(atoms, calculator)
        reason = (
            None if atoms.info.get("config_type") == "IsolatedAtom" else teacher.objection(labelled)
        )
        if reason is None:
            kept.append(labelled)
        else:
            dropped[f"{atoms.info.get('config_type')}: {reason}"] += 1
    return kept, dropped


def write_whole(path: Path, frames: list[Atoms]) -> None:
    """Write a file so that it either exists complete or not at all."""
    partial = path.with_suffix(".partial")
    write(partial, frames, format="extxyz")
    partial.replace(path)


def main() -> None:
    """Label chunk after chunk."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--structures", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the labelled chunks")
    parser.add_argument("--name", default="static", help="beginning of the chunks' file names")
    parser.add_argument("--chunk", type=int, default=200)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    structures, calculator = read(arguments.structures, ":"), teacher.load()
    for number, start in enumerate(range(0, len(structures), arguments.chunk)):
        path = arguments.out / f"{arguments.name}_{number:04d}.xyz"
        if path.exists():
            continue
        began = time.perf_counter()
        kept, dropped = label_all(structures[start : start + arguments.chunk], calculator)
        write_whole(path, kept)
        print(
            f"{path.name}: {len(kept)} kept in {time.perf_counter() - began:.0f} s;",
            f"dropped {dict(dropped)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
