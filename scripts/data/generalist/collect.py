"""Gather the labelled chunks into training and test sets, and print what is in them.

    python scripts/data/generalist/collect.py --labelled build/raw --out build

Writes ``train.xyz``, ``test.xyz`` (one group in twenty of every family; a structure and the
relaxation and dynamics that started from it stay together), ``generic_holdout.xyz`` (a small
balanced part of the test set, meant to measure forgetting after fine-tuning) and
``statistics.json``.
"""

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read, write

from prototypes import ELEMENTS

ONE_IN = 20


def is_test(atoms: Atoms) -> bool:
    """Whether the group of a structure belongs to the test set."""
    if atoms.info["config_type"] == "IsolatedAtom":
        return False
    return int(atoms.info["group"].rsplit("_", 1)[1]) % ONE_IN == 2


def balanced(frames: list[Atoms], count: int, *, largest: int = 24) -> list[Atoms]:
    """About equally many frames of each config_type, ``count`` together, one per group first."""
    queues = defaultdict(list)
    for atoms in frames:
        if len(atoms) <= largest:
            queues[atoms.info["config_type"]].append(atoms)
    for queue in queues.values():  # frames of one group follow each other: spread them
        seen = Counter()
        rank = []
        for atoms in queue:
            rank.append(seen[atoms.info["group"]])
            seen[atoms.info["group"]] += 1
        order = np.argsort(rank, kind="stable")
        queue[:] = [queue[i] for i in order]
    chosen = []
    for place in range(max(map(len, queues.values()))):
        chosen += [queue[place] for queue in queues.values() if place < len(queue)]
    return chosen[:count]


def statistics(frames: list[Atoms]) -> dict:
    """Counts, energies per atom, forces and compositions by config_type."""
    groups = defaultdict(list)
    for atoms in frames:
        groups[atoms.info["config_type"]].append(atoms)
    table = {}
    for name, members in sorted(groups.items()):
        energies = [atoms.info["REF_energy"] / len(atoms) for atoms in members]
        forces = np.concatenate(
            [np.linalg.norm(atoms.arrays["REF_forces"], axis=1) for atoms in members]
        )
        table[name] = {
            "frames": len(members),
            "atoms_median": float(np.median([len(atoms) for atoms in members])),
            "atoms_max": max(len(atoms) for atoms in members),
            "energy_ev_per_atom": [
                round(float(q), 3) for q in np.percentile(energies, [0, 50, 100])
            ],
            "force_ev_per_a": [round(float(q), 3) for q in np.percentile(forces, [50, 95, 100])],
        }
    chemistry = Counter(
        "-".join(e for e in ELEMENTS if e in atoms.get_chemical_symbols()) for atoms in frames
    )
    forces = np.concatenate(
        [np.linalg.norm(atoms.arrays["REF_forces"], axis=1) for atoms in frames]
    )
    counts, _ = np.histogram(forces, bins=[0, 0.03, 0.1, 0.3, 1, 3, 10, np.inf])
    return {
        "frames": len(frames),
        "atoms": sum(len(atoms) for atoms in frames),
        "by_config_type": table,
        "by_chemistry": dict(chemistry),
        "force_histogram_0_0.03_0.1_0.3_1_3_10_inf": counts.tolist(),
    }


def main() -> None:
    """Split and summarise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--labelled", type=Path, required=True, help="folder of the labelled chunks"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--holdout", type=int, default=80, help="size of generic_holdout.xyz")
    arguments = parser.parse_args()
    chunks = sorted(
        path for kind in ("static", "explored") for path in arguments.labelled.glob(f"{kind}_*.xyz")
    )
    frames = [atoms for path in chunks for atoms in read(path, ":")]
    test = [atoms for atoms in frames if is_test(atoms)]
    train = [atoms for atoms in frames if not is_test(atoms)]
    report = {"train": statistics(train), "test": statistics(test)}
    for name, part in (
        ("train", train),
        ("test", test),
        ("generic_holdout", balanced(test, arguments.holdout)),
    ):
        write(arguments.out / f"{name}.xyz", part, format="extxyz")
    (arguments.out / "statistics.json").write_text(json.dumps(report, indent=1))
    for name, row in report["train"]["by_config_type"].items():
        print(
            f"{name:18s} {row['frames']:5d} frames, {row['atoms_median']:.0f} atoms in the median"
        )
    print(f"train {len(train)} frames, test {len(test)} frames")


if __name__ == "__main__":
    main()
