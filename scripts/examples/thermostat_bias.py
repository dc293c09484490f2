"""What a thermostat does to a thermal conductivity: solid argon, constant energy against Langevin.

    .venv/bin/python scripts/examples/thermostat_bias.py --out thermostat_bias.png

Runs 108 Lennard-Jones atoms at 60 K twice from equal preparation, once at constant energy and once
with the friction of 0.01 1/fs that is usual for equilibration, and draws the running conductivity
of both. The friction is faster than phonons decay, so the heat current forgets too early and the
conductivity comes out several times too small, with a small error bar. Writes a PNG and, beside
it, a JSON with the curves and settings.
"""

import argparse
import json
import platform
from pathlib import Path

import ase.build
import jax
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mlffjax.analysis.green_kubo import GreenKubo, green_kubo
from mlffjax.analysis.heat_currents import heat_currents
from mlffjax.config import validate
from mlffjax.dynamics.config import MdConfig
from mlffjax.dynamics.heat_flux import observe
from mlffjax.dynamics.preparation import Observer
from mlffjax.dynamics.run import run
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures.system import from_ase

ARGON = {"epsilon": 0.0103, "sigma": 3.405, "cutoff": 8.5}  # eV, Å
LATTICE = 5.34  # Å, about zero pressure at 60 K
TEMPERATURE_K = 60.0
TIMESTEP_FS = 8.0  # a period of the fastest vibration is 500 fs
EVERY = 2  # steps between samples
FLUX = Observer(EVERY, observe, "eV Å per internal time")
ENSEMBLES = {
    "constant energy": {"kind": "nve"},
    "Langevin, 0.01 1/fs": {"kind": "nvt_langevin", "friction_per_fs": 0.01},
}


def main() -> None:
    """Parse arguments, run, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--picoseconds", type=float, default=80.0, help="of each trajectory")
    parser.add_argument("--replicas", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3, help="cubic cells along each axis")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("thermostat_bias.png"))
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    found = {name: conductivity(section, arguments) for name, section in ENSEMBLES.items()}
    draw(found, arguments.out)
    arguments.out.with_suffix(".json").write_text(json.dumps(record(found, arguments), indent=1))
    for name, result in found.items():
        print(f"{name}: {result.conductivity:.3f} +- {result.error:.3f} W/mK at "
              f"{result.truncation_fs / 1000:.1f} ps")  # fmt: skip
    print(f"figure: {arguments.out}")


def conductivity(section: dict, arguments: argparse.Namespace) -> GreenKubo:
    """Run one ensemble and integrate."""
    crystal = ase.build.bulk("Ar", "fcc", a=LATTICE, cubic=True).repeat(arguments.repeats)
    settings = {
        "temperature_k": TEMPERATURE_K,
        "timestep_fs": TIMESTEP_FS,
        "equilibration": [{"ensemble": {"kind": "nvt_langevin"}, "steps": 2000}],
        "ensemble": section,
        "steps": round(arguments.picoseconds * 1000 / TIMESTEP_FS),
        "intervals": {"thermo": 20, "positions": 0},
        "replicas": arguments.replicas,
        "seed": arguments.seed,
        "precision": "float32",
        "skin": 1.2,
    }
    potential = lennard_jones((18,), **ARGON)
    config = validate(settings, MdConfig, where="thermostat_bias")
    result = run(potential, from_ase(crystal), config, observers={"heat_flux": FLUX})
    if not result.ok:
        raise SystemExit("; ".join(lane.reason for lane in result.lanes if not lane.ok))
    samples = [lane.samples["production"] for lane in result.lanes]
    records = np.stack([one["heat_flux"].values for one in samples])
    # The mean energy of an atom does not matter here: one element, centre of mass at rest.
    currents = heat_currents(records, np.zeros(1))
    return green_kubo(
        currents.heat,
        samples[0]["heat_flux"].times_fs,
        volume=crystal.get_volume(),
        temperature_k=np.array([one["temperature"].values.mean() for one in samples]),
        ensemble=section["kind"],
    )


def draw(found: dict[str, GreenKubo], path: Path) -> None:
    """Running conductivity and normalised autocorrelation, with bands of one standard error."""
    figure = Figure(figsize=(8.0, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, result in found.items():
        shown = result.lags_fs <= 10_000
        time = result.lags_fs[shown] / 1000
        running, error = result.running[shown], result.running_error[shown]
        (line,) = left.plot(time, running, label=name)
        left.fill_between(
            time, running - error, running + error, alpha=0.25, color=line.get_color()
        )
        right.plot(time, result.normalised[shown], color=line.get_color(), label=name)
    left.set(xlabel="time (ps)", ylabel="running conductivity (W/mK)")
    right.set(xlabel="time (ps)", ylabel="normalised autocorrelation", xlim=(0, 4))
    right.axhline(0, color="0.7", linewidth=0.8)
    left.legend()
    figure.savefig(path, dpi=150)


def record(found: dict[str, GreenKubo], arguments: argparse.Namespace) -> dict:
    """Curves, values and settings as plain data."""
    settings = vars(arguments) | {"out": None}
    versions = {"jax": jax.__version__, "matplotlib": matplotlib.__version__}
    curves = {
        name: {
            "conductivity": result.conductivity,
            "error": result.error,
            "interval": result.interval,
            "truncation_fs": result.truncation_fs,
            "flags": result.flags,
            "times_fs": result.lags_fs.tolist(),
            "running": result.running.tolist(),
            "running_error": result.running_error.tolist(),
        }
        for name, result in found.items()
    }
    return {
        "curves": curves,
        "settings": settings | {"argon": ARGON, "temperature_k": TEMPERATURE_K},
        "machine": platform.processor() or platform.machine(),
        "versions": versions,
    }


if __name__ == "__main__":
    main()
