"""A million steps of dynamics: memory stays flat, the energy stays what it was.

    python scripts/endurance/long_dynamics.py --steps 1000000 --out long_dynamics.json

Argon (Lennard-Jones, 32 atoms, float64, NVE, 4 fs) with a trajectory and checkpoints on disk, as a
user runs it, in one process. Memory is the resident set, looked at after every checkpoint. Ends
with an error if it grows by more than GROWTH between the first tenth and the end, or if the
conserved energy drifts by more than DRIFT over the whole run.
"""

import argparse
import gc
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ase.build import bulk

from mlffjax import startup, trees
from mlffjax.analysis.thermodynamics import energy_drift
from mlffjax.dynamics.config import MdConfig
from mlffjax.dynamics.run import run
from mlffjax.dynamics.trajectory import read
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures.system import from_ase

GROWTH = 16.0
"""MB; the system hands out memory in larger pieces than leaks have, so a leak must exceed this."""
DRIFT = 1e-5
"""eV per atom over the run, a thousandth of the thermal energy."""


def measured(steps: int, folder: Path) -> dict[str, Any]:
    """Run, and look at memory, buffers and files on the way."""
    potential = trees.cast(lennard_jones((18,), epsilon=0.0104, sigma=3.4, cutoff=6.0), np.float64)
    system = from_ase(bulk("Ar", "fcc", a=5.4, cubic=True) * (2, 2, 2))
    every = max(steps // 100, 1)
    settings = MdConfig.model_validate(
        {
            "temperature_k": 40,
            "timestep_fs": 4.0,
            "ensemble": {"kind": "nve"},
            "steps": steps,
            "skin": 0.3,
            "checkpoint_every": every,
            "intervals": {"thermo": 100, "positions": 1000},
        }
    )
    looks: list[dict[str, float]] = []

    def look(stage: str, step: int, of: int) -> None:
        del stage, of
        looks.append({"step": step, "mb": resident(), "buffers": len(jax.live_arrays()),
                      "files": len(os.listdir("/proc/self/fd"))})  # fmt: skip

    start = time.process_time()
    result = run(potential, system, settings, directory=folder, progress=look)
    seconds = time.process_time() - start
    series = read(folder / "production.h5md").series["conserved"]
    atoms = len(system.numbers)
    line = energy_drift(series[:], series.times_fs, atoms)
    tenth = looks[len(looks) // 10 :]
    return {
        "steps": steps,
        "atoms": atoms,
        "status": [lane.status for lane in result.lanes],
        "cpu_seconds": seconds,
        "neighbor_lists": result.rebuilds,
        "samples": len(series),
        "energy_change_ev_per_atom": float(np.ptp(blocks(series[:])) / atoms),
        "energy_noise_ev_per_atom": float(np.std(series[:]) / atoms),
        "drift_mev_per_atom_ns": float(line.slope),
        "mb_growth": max(entry["mb"] for entry in tenth) - tenth[0]["mb"],
        "buffers": [tenth[0]["buffers"], tenth[-1]["buffers"]],
        "files": [tenth[0]["files"], tenth[-1]["files"]],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "looks": looks[:: max(len(looks) // 20, 1)],
    }


def blocks(values: np.ndarray) -> np.ndarray:
    """Means of ten blocks: what a drift would spread, while noise averages out."""
    return np.array([part.mean() for part in np.array_split(values, 10)])


def resident() -> float:
    """MB of memory that this process has now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Read the command line, run, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=Path("long_dynamics.json"))
    options = parser.parse_args()
    startup.set_up()
    with tempfile.TemporaryDirectory() as folder:
        found = measured(options.steps, Path(folder) / "md")
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    looks = found.pop("looks")
    sys.stdout.write(json.dumps(found, indent=1) + f"\n{len(looks)} looks in {options.out}\n")
    sound = found["status"] == ["finished"] and found["mb_growth"] <= GROWTH
    sound = sound and found["energy_change_ev_per_atom"] <= DRIFT
    sound = sound and found["buffers"][0] == found["buffers"][1]
    sys.exit(0 if sound and found["files"][0] == found["files"][1] else 1)


if __name__ == "__main__":
    main()
