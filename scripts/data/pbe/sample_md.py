"""Sample snapshots of SevenNet-0 Langevin dynamics; PBE labels come later.

    python sample_md.py DIRECTORY --rounds 3

Each round continues every trajectory (pristine and doped at 300, 600 and 1200 K) by one chunk of
snapshots, so that stopping early leaves a balanced set. States are kept in DIRECTORY/states and a
later call goes on from there. Needs ``pip install 'mlffjax[sevenn]'``.
"""

import argparse
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from frames import doped, enqueue, frame, host
from sevenn.calculator import SevenNetCalculator

from mlffjax.structures import builders

TIMESTEP = {300: 3.0, 600: 3.0, 1200: 2.0}  # fs
STRIDE = {300: 50, 600: 40, 1200: 50}  # steps between snapshots: 150, 120, 100 fs
EQUILIBRATION = {300: 250, 600: 250, 1200: 300}  # steps
CHUNK = {"doped": 8, "pristine": 4}  # snapshots
FRICTION = 0.01  # 1/fs
TEMPERATURES = (600, 300, 1200)


def start(system: str, temperature: int, rng: np.random.Generator) -> Atoms:
    """Ideal structure with velocities of 1.6 T, of which the potential energy takes a part."""
    atoms = doped(builders.gap_sites().octahedral) if system == "doped" else host()
    MaxwellBoltzmannDistribution(atoms, temperature_K=1.6 * temperature, rng=rng)
    Stationary(atoms)
    atoms.info = {"step": 0, "chunk": 0}
    return atoms


def is_physical(atoms: Atoms) -> bool:
    """Whether the trajectory has not exploded: sane energy per atom and forces."""
    energy = atoms.get_potential_energy() / len(atoms)
    return bool(-6 < energy < -1 and abs(atoms.get_forces()).max() < 30)


def continue_trajectory(
    directory: Path, system: str, temperature: int, calculator: SevenNetCalculator
) -> None:
    """Run one chunk, enqueue its snapshots and save the state."""
    name = f"md_{system}_{temperature}"
    state = directory / "states" / f"{name}.xyz"
    state.parent.mkdir(parents=True, exist_ok=True)
    known = read(state) if state.exists() else None
    chunk = known.info["chunk"] if known else 0
    # Never the same stream twice: neither for another trajectory nor for another chunk.
    rng = np.random.default_rng([temperature, chunk, system == "doped"])
    atoms = known or start(system, temperature, rng)
    step = int(atoms.info["step"])
    atoms.calc = calculator
    dynamics = Langevin(
        atoms,
        TIMESTEP[temperature] * units.fs,
        temperature_K=temperature,
        friction=FRICTION / units.fs,
        rng=rng,
        fixcm=True,
    )
    if known is None:
        dynamics.run(EQUILIBRATION[temperature])
        step += EQUILIBRATION[temperature]
    snapshots = []
    for _ in range(CHUNK[system]):
        dynamics.run(STRIDE[temperature])
        step += STRIDE[temperature]
        if not is_physical(atoms):
            state.unlink(missing_ok=True)
            raise RuntimeError(f"{name} exploded before step {step}; its state is removed")
        snapshots.append(snapshot(atoms, system, temperature, step))
    enqueue(directory, f"{name}_c{chunk:03d}", snapshots)
    atoms.info = {"step": step, "chunk": chunk + 1}
    write(state, atoms, format="extxyz")


def snapshot(atoms: Atoms, system: str, temperature: int, step: int) -> Atoms:
    """The present structure as a frame for the labeller."""
    kind = f"md_{temperature}K" if system == "doped" else f"md_pristine_{temperature}K"
    return frame(
        atoms,
        frame_id=f"md_{system}_{temperature}_{step:06d}",
        config_type=kind,
        out=f"md_{system}_{temperature}K",
        group=f"md_{system}_{temperature}",
        temperature=temperature,
        image=step,
        time_fs=step * TIMESTEP[temperature],
        source="SevenNet-0 NVT Langevin snapshot, PBE single point",
        sevenn_energy=float(atoms.get_potential_energy()),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    sevennet = SevenNetCalculator("7net-0", device="cpu")
    for _ in range(arguments.rounds):
        for kelvin in TEMPERATURES:
            for content in ("doped", "pristine"):
                continue_trajectory(arguments.directory, content, kelvin, sevennet)
