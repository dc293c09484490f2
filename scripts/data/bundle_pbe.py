"""Turn a directory of labelled frames into the bundled files.

    python scripts/data/bundle_pbe.py SOURCE

Every ``SOURCE/*.xyz`` becomes ``mlffjax/assets/cr_sb2te3_pbe/*.xyz``: sorted, freed of bookkeeping,
and the same bytes for the same input. The number of frames in the table of the README beside them
is brought up to date. Frames that fail the package's own checks are refused.
"""

import argparse
import json
import re
from pathlib import Path

import ase.io
from ase import Atoms

from mlffjax.structures import bundled
from mlffjax.structures.files import read_frames

# How long a label took, where it was written, and what other entries say already.
DROPPED = (
    "out", "kind", "dz", "cell_multiple", "scf_iterations",
    "label_cpu_s", "label_wall_s", "labeller_restart",
)  # fmt: skip
FIRST = ("frame_id", "config_type", "group", "temperature", "time_fs", "image", "segment")


def tidy(atoms: Atoms) -> Atoms:
    """The frame with its entries in one order; grids as ``4x4x1``, stress as nine numbers."""
    info = {key: value for key, value in atoms.info.items() if key not in DROPPED}
    for key in ("kpts", "gpts"):
        if f"{key}_json" in info:
            grid = json.loads(info.pop(f"{key}_json"))
            size = grid["size"] if isinstance(grid, dict) else grid
            info[key] = "x".join(str(number) for number in size)
    if "REF_stress" in info:
        info["REF_stress"] = info["REF_stress"].reshape(9)
    # The sampler's name for snapshots; no ab initio dynamics was run.
    info["config_type"] = info["config_type"].replace("aimd_", "md_")
    first = {key: info.pop(key) for key in FIRST if key in info}
    clean = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    clean.info = {**first, **dict(sorted(info.items()))}
    for key in sorted(key for key in atoms.arrays if key.startswith("REF_")):
        clean.arrays[key] = atoms.arrays[key]
    return clean


def rank(atoms: Atoms) -> tuple[str, float, str]:
    """Trajectory, place in it, name."""
    info = atoms.info
    return str(info.get("group", "")), float(info.get("image", 0)), str(info["frame_id"])


def count_in_readme(readme: Path, counts: dict[str, int]) -> None:
    """Write the number of frames into the table rows ``| `file.xyz` | N | ...``."""
    text = readme.read_text(encoding="utf-8")
    for name, count in counts.items():
        text, found = re.subn(rf"(\| `{re.escape(name)}` \|) *\d+ *\|", rf"\1 {count} |", text)
        if not found:
            print(f"{readme}: has no row for {name} ({count} frames); describe it there")
    readme.write_text(text, encoding="utf-8")


def main(source: Path, target: Path) -> None:
    """Rewrite all bundled files from ``source``."""
    files = sorted(source.glob("*.xyz"))
    if not files:
        raise SystemExit(f"{source}: expected labelled *.xyz files, found none")
    target.mkdir(parents=True, exist_ok=True)
    counts = {}
    for file in files:
        frames = [tidy(atoms) for atoms in sorted(ase.io.read(file, index=":"), key=rank)]
        ase.io.write(target / file.name, frames, format="extxyz")
        counts[file.name] = len(read_frames(target / file.name))
        print(f"{file.name}: {len(frames)} frames")
    if (target / "README.md").exists():
        count_in_readme(target / "README.md", counts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--target", type=Path, default=bundled.root())
    arguments = parser.parse_args()
    main(arguments.source, arguments.target)
