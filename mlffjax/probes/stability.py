"""Whether a potential survives molecular dynamics, and what temperature, pressure and cell do.

An exploding trajectory is a result: ``survived`` is the fraction of replicas that got to the end,
``time`` how long the first one to stop lasted, ``status`` why (``_dynamics.STATUSES``). Quantities
that need an equilibrated run are taken from replicas that finished.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mlffjax import config as configuration
from mlffjax import units
from mlffjax.analysis.thermodynamics import displacement_growth, energy_drift, lattice, pressure
from mlffjax.analysis.uncertainty import mean_with_error
from mlffjax.dynamics.channels import Samples
from mlffjax.dynamics.config import Intervals, MdConfig
from mlffjax.potential.base import Potential
from mlffjax.probes import _dynamics
from mlffjax.probes._dynamics import PER_PS, STATUSES, Start, performed, recorded, spread
from mlffjax.probes._probe import Context, Probe, Section
from mlffjax.structures.elements import masses
from mlffjax.structures.system import System

FEWEST = 20
"""Samples of a series below which it gives no mean with an error."""

_UNITS = {
    "survived": "",
    "status": "",
    "time": "ps",
    "temperature": "K",
    "temperature_error": "K",
    "rmsd": "Å",
    "rmsd_rate": "Å/ps",
}
_PRESSURE = {"pressure": "GPa", "pressure_error": "GPa"}
_DRIFT = {"energy_drift": "meV/atom/ns"}
_CELL = {"volume_change": "", "length_a": "Å", "length_b": "Å", "length_c": "Å"}
"""Of the mean over production; the change is relative to the start."""


class Config(Section):
    """Molecular dynamics of one structure."""

    uses: ClassVar[frozenset[str]] = frozenset({"frames"})

    start: Start = Start()
    md: MdConfig


def example() -> tuple[Config, Context]:
    """Cold argon for a hundred steps."""
    start, context = _dynamics.example_start()
    md = MdConfig(
        temperature_k=20,
        timestep_fs=5,
        steps=60,
        ensemble={"kind": "nve"},  # pyright: ignore[reportArgumentType]
        intervals=Intervals(thermo=2, positions=2),
    )
    return Config(name="cold", start=start, md=md), context


def build(config: Config, context: Context) -> Probe:
    """Find the structure.

    Raises:
        ConfigError: the data set has no such frame.
    """
    system = _dynamics.starting_system(config.start, context)
    return Probe(
        name=config.name,
        measure=functools.partial(_measure, config.md, system),
        units=_UNITS | _PRESSURE | _DRIFT | _CELL,
        compiled=False,
        keeps_files=True,
        reasons=_reasons(config.md, system),
        inspect=_inspect,
    )


def _reasons(md: MdConfig, system: System) -> dict[str, str]:
    reasons: dict[str, str] = {}
    if not system.pbc.all():
        reasons |= dict.fromkeys(_PRESSURE, "the structure is not periodic in three directions")
    if configuration.kind_of(md.ensemble) != "nve":
        reasons |= dict.fromkeys(_DRIFT, "energy is conserved in nve only")
    if not md.ensemble.changes_cell:
        reasons |= dict.fromkeys(_CELL, "the ensemble keeps the cell")
    return reasons


def _measure(
    md: MdConfig, system: System, potential: Potential, workspace: Path | None = None
) -> dict[str, Any]:
    result = performed(potential, system, md, workspace)
    first = _dynamics.worst(result)
    histories = [recorded(lane) for lane in result.lanes]
    good = [h for h, lane in zip(histories, result.lanes, strict=True) if lane.ok]
    before = sum(stage.steps for name, stage in md.stages[: result.stages.index(first.stage)])
    metrics = {
        "survived": sum(lane.ok for lane in result.lanes) / len(result.lanes),
        "status": float(STATUSES.index(first.status)),
        "time": (before + first.step) * md.timestep_fs / PER_PS,
        **_temperature(good),
        **_motion(good, system),
        **(_pressure(good) if system.pbc.all() else {}),
        **_drift(md, good, len(system.numbers)),
        **(_cell(good, system) if md.ensemble.changes_cell else {}),
    }
    return {name: np.asarray(value) for name, value in metrics.items()} | _arrays(histories)


def _temperature(good: Sequence[Mapping[str, Samples]]) -> dict[str, float]:
    means = [_mean(history, "temperature") for history in good]
    value, error = spread([mean for mean, _ in means])
    return {
        "temperature": value,
        "temperature_error": error if len(means) > 1 else float(means[0][1]) if means else np.nan,
    }


def _mean(history: Mapping[str, Samples], channel: str) -> tuple[float, float]:
    if channel not in history or len(history[channel].values) < FEWEST:
        return float("nan"), float("nan")
    found = mean_with_error(history[channel].values)
    return float(found.mean), float(found.error)


def _motion(good: Sequence[Mapping[str, Samples]], system: System) -> dict[str, float]:
    weights = masses(system.numbers)
    ends, rates = [], []
    for history in good:
        if "positions" in history and len(history["positions"].values) >= FEWEST:
            _, times, places = history["positions"]
            growth = displacement_growth(places, weights, times)
            ends.append(float(growth.rmsd[-1]))
            rates.append(float(growth.rmsd_trend.slope) * PER_PS)
    return {"rmsd": spread(ends)[0], "rmsd_rate": spread(rates)[0]}


def _pressure(good: Sequence[Mapping[str, Samples]]) -> dict[str, float]:
    found = [
        pressure(h["pressure"].values)
        for h in good
        if "pressure" in h and len(h["pressure"].values) >= FEWEST
    ]
    value, error = spread([float(each.mean) / units.GPA for each in found])
    if len(found) == 1:
        error = float(found[0].error) / units.GPA
    return {"pressure": value, "pressure_error": error}


def _drift(md: MdConfig, good: Sequence[Mapping[str, Samples]], atoms: int) -> dict[str, float]:
    if configuration.kind_of(md.ensemble) != "nve":
        return {}
    slopes = []
    for history in good:
        if "conserved" in history and len(history["conserved"].values) >= FEWEST:
            _, times, energies = history["conserved"]
            slopes.append(float(energy_drift(energies, times, atoms).slope))
    return {"energy_drift": spread(slopes)[0]}


def _cell(good: Sequence[Mapping[str, Samples]], system: System) -> dict[str, float]:
    cells = [h["cell"].values for h in good if "cell" in h and len(h["cell"].values) >= FEWEST]
    if not cells:
        return dict.fromkeys(_CELL, float("nan"))
    found = [lattice(each) for each in cells]
    lengths = np.mean([each.lengths.mean for each in found], axis=0)
    volume = np.mean([float(each.volume.mean) for each in found])
    change = volume / abs(np.linalg.det(system.cell)) - 1
    names = ("length_a", "length_b", "length_c")
    return {"volume_change": float(change)} | dict(zip(names, map(float, lengths), strict=True))


def _arrays(histories: Sequence[Mapping[str, Samples]]) -> dict[str, np.ndarray]:
    """Time series of all replicas [replicas, samples]; NaN after one has stopped."""
    arrays: dict[str, np.ndarray] = {}
    for channel in ("temperature", "potential_energy", "pressure"):
        known = [h[channel] for h in histories if channel in h]
        if len(known) < len(histories) or not known:
            continue
        longest = max(known, key=lambda samples: len(samples.steps))
        rows = np.full((len(known), *longest.values.shape[:1]), np.nan)
        for row, samples in zip(rows, known, strict=True):
            values = samples.values
            if channel == "pressure":
                values = np.trace(values, axis1=1, axis2=2) / (3 * units.GPA)
            row[: len(values)] = values
        arrays |= {f"series_{channel}": rows, f"series_{channel}_fs": longest.times_fs}
    return arrays


def _inspect(metrics: Mapping[str, float]) -> list[str]:
    if metrics["survived"] == 1:
        return []
    return [
        f"{1 - metrics['survived']:.0%} of the trajectories did not get to the end; the first "
        f"stopped after {metrics['time']:.3g} ps: {STATUSES[int(metrics['status'])]}"
    ]
