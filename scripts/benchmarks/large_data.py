"""Memory that training takes when its data outgrow it: many frames of argon, streamed from disk.

    .venv/bin/python scripts/benchmarks/large_data.py --frames 20000 --atoms 120 --work DIRECTORY

Makes frames with Lennard-Jones labels once, streamed to an extended XYZ file, then reads, builds a
recipe (naive fine-tuning with reference energies estimated anew), prepares, trains and validates in
a process of its own, the way a study does. Prints one line of JSON: peak resident memory after
every stage (of the process, and of the largest of its ``helpers``; the latter counts the moment
before a helper becomes a program of its own, later it takes 0.2 GB), CPU seconds, bytes on disk.
The file cache, which the operating system gives up when asked to, is not counted.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

CUTOFF = 6.9  # Å; 42 neighbours in the perfect crystal
CHUNK = 100  # frames that are in memory while the file is written
LATTICE = 5.3  # Å


def main() -> None:
    """Parse arguments, make the frames, measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=20000)
    parser.add_argument("--atoms", type=int, default=120, help="a multiple of 4")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--storage", choices=["disk", "memory", "auto"], default="disk")
    parser.add_argument("--work", type=Path, required=True, help="directory for frames and data")
    parser.add_argument("--stage", choices=["make", "train"], help="do only this, here")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.stage is not None:
        STAGES[arguments.stage](arguments)
        return
    for stage in STAGES:  # each alone, so that one does not count for the other
        command = [sys.executable, __file__, *sys.argv[1:], "--stage", stage]
        subprocess.run(command, check=True)


def frames_file(arguments: argparse.Namespace) -> Path:
    """Where the frames are."""
    return arguments.work / f"argon_{arguments.frames}_{arguments.atoms}.xyz"


def make(arguments: argparse.Namespace) -> None:
    """Write the frames, few at a time, unless they are there."""
    import jax

    from mlffjax.graphs.batching import Shape, build
    from mlffjax.potential.derivatives import predict
    from mlffjax.structures.files import write_frames

    target = frames_file(arguments)
    if target.exists():
        return
    jax.config.update("jax_enable_x64", True)
    potential, label = _argon(0.0104, 3.40), jax.jit(predict)
    random = np.random.default_rng(0)
    part, whole = target.with_suffix(".part.xyz"), target.with_suffix(".unfinished")
    with whole.open("wb") as file:
        for first in range(0, arguments.frames, CHUNK):
            frames = []
            for index in range(first, min(first + CHUNK, arguments.frames)):
                system = _crystal(arguments.atoms, random)
                shape = Shape(arguments.atoms, 56, 1)
                graph = build([system], (18,), CUTOFF, shape=shape, dtype=np.float64)
                frames.append(_frame(system, jax.device_get(label(potential, graph)), index))
            write_frames(part, frames)
            file.write(part.read_bytes())
    part.unlink()
    whole.rename(target)


def train(arguments: argparse.Namespace) -> None:
    """Read, prepare, train, validate; print what it took."""
    clock, stages = time.perf_counter(), {}

    def note(stage: str) -> None:
        peak, helper = (
            resource.getrusage(who).ru_maxrss * 1024 / 1e9
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        stages[stage] = {"peak_gb": round(peak, 3), "largest_helper_gb": round(helper, 3)}
        stages[stage]["cpu_s"] = round(_cpu_seconds(), 1)
        stages[stage]["wall_s"] = round(time.perf_counter() - clock, 1)

    import jax

    from mlffjax.structures.datasets import DataConfig, load
    from mlffjax.training.config import LossConfig, TrainingConfig
    from mlffjax.training.fit import fit
    from mlffjax.training.ingredients import Ingredients
    from mlffjax.training.strategies import finetune
    from mlffjax.training.workers import helpers

    note("import")
    data = DataConfig(files=(str(frames_file(arguments)),), reference="LJ", functional="none")
    dataset = load(data, Path.cwd())
    frames = dataset.frames
    note("read")
    config = TrainingConfig(
        epochs=arguments.epochs,
        batch=arguments.batch,
        storage=arguments.storage,
        storage_directory=str(arguments.work / "prepared"),
        loss=LossConfig(energy=1e3, forces=1e2, stress=0),
    )
    held = len(frames) // 10
    dataset = dataset._replace(frames=frames[held:])
    foundation = _argon(0.0085, 3.34), _card()
    ingredients = Ingredients(dataset=dataset, training=config, foundation=foundation)
    recipe = finetune.build(finetune.Config(), ingredients, key=jax.random.key(0))
    note("reference energies")
    seen = []

    def observe(progress) -> None:
        if not seen:
            note("prepared, first steps")
        seen.append(progress)

    fitted = fit(recipe, frames[held:], frames[:held], config, seed=0, observe=observe)
    note("trained and validated")
    prepared = sum(path.stat().st_size for path in arguments.work.glob("prepared/*/*.rows"))
    first, last = fitted.history[0].validation, fitted.history[-1].validation
    result = {
        "frames": len(frames),
        "atoms": arguments.atoms,
        "storage": arguments.storage,
        "steps": math.ceil((len(frames) - held) / arguments.batch) * arguments.epochs,
        "validation_frames": held,
        "force_mae_ev_per_angstrom": [first.forces_mae, last.forces_mae],
        "prepared_gb": round(prepared / 1e9, 3),
        "helpers": helpers(),
        "stages": stages,
        "notes": fitted.notes,
    }
    print(json.dumps(result), flush=True)


def _cpu_seconds() -> float:
    usages = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _argon(epsilon: float, sigma: float):
    from mlffjax.potential.pair import lennard_jones

    return lennard_jones((18,), epsilon=epsilon, sigma=sigma, cutoff=CUTOFF)


def _card():
    from mlffjax.potential.card import Card

    return Card(
        name="wrong argon",
        elements=("Ar",),
        model={"kind": "lennard_jones"},
        reference="another",
        functional="none",
        dispersion=None,
        provenance={},
        checksum="",
    )


def _crystal(atoms: int, random: np.random.Generator):
    """A rattled face-centred cubic block as compact as the number of atoms allows."""
    from mlffjax.structures.system import System

    cells = atoms // 4
    repeats = min(
        (
            (a, b, cells // (a * b))
            for a in range(1, cells + 1)
            for b in range(1, cells // a + 1)
            if cells % (a * b) == 0
        ),
        key=max,
    )
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    places = np.array(list(np.ndindex(*repeats)))[:, None] + basis
    positions = LATTICE * places.reshape(-1, 3) + random.normal(scale=0.1, size=(4 * cells, 3))
    cell = LATTICE * np.diag(repeats).astype(float)
    return System(positions, np.full(4 * cells, 18, np.int32), cell, np.ones(3, bool))


def _frame(system, labels, index: int):
    from mlffjax.structures.system import Frame

    return Frame(
        system=system,
        energy=float(labels.energy[0]),
        forces=labels.forces,
        stress=labels.stress[0],
        config_type="argon",
        trajectory="argon",
        order=float(index),
        identifier=f"argon_{index}",
        source="",
        info={},
    )


STAGES = {"make": make, "train": train}

if __name__ == "__main__":
    main()
