"""Lattice thermal conductivity by Green and Kubo, with the exact heat flux of message passing.

In-plane is x and y, cross-plane z. Production must be NVE: Langevin friction of 0.01 1/fs cuts the
correlation of heat currents off within 100 fs and with it most of the conductivity. Two estimates
stand side by side: the running integral where the correlation has died out, and the cepstral one,
in which the currents of diffusing species are taken out. ``pairwise_error`` and ``edge_error`` are
relative errors of two approximate fluxes that are in use, at the end of production.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
import pydantic

from mlffjax import config as configuration
from mlffjax import trees, units
from mlffjax.analysis.cepstral import cepstral
from mlffjax.analysis.green_kubo import CROSS_PLANE, IN_PLANE, green_kubo
from mlffjax.analysis.heat_currents import HeatCurrents, heat_currents, independent_currents
from mlffjax.dynamics.config import Intervals, MdConfig
from mlffjax.dynamics.flux_forms import form_errors
from mlffjax.dynamics.heat_flux import mean_energies, observe
from mlffjax.dynamics.preparation import Observer
from mlffjax.dynamics.run import LaneResult
from mlffjax.errors import InputError
from mlffjax.graphs.batching import build as build_graph
from mlffjax.potential.base import Potential
from mlffjax.probes import _dynamics
from mlffjax.probes._dynamics import STATUSES, Start, performed, recorded
from mlffjax.probes._probe import Context, Probe, Section
from mlffjax.structures.system import System

AXES = {"in_plane": IN_PLANE, "cross_plane": CROSS_PLANE}
CHANNEL = "heat_flux"
FEWEST = 1000
"""Samples of the heat flux."""
SLOWEST_FS = 20.0
"""Between samples; beyond, optical modes would be folded onto low frequencies."""

_UNITS = {
    "survived": "",
    "status": "",
    "temperature": "K",
    "pairwise_error": "",
    "edge_error": "",
} | {
    f"{name}_{axis}": unit
    for axis in AXES
    for name, unit in (
        ("conductivity", "W/mK"),
        ("conductivity_error", "W/mK"),
        ("cepstral", "W/mK"),
        ("cepstral_error", "W/mK"),
        ("truncation", "fs"),
        ("pieces", ""),
        ("doubts", ""),
    )
}


class Config(Section):
    """Molecular dynamics of one structure with its heat flux recorded."""

    uses: ClassVar[frozenset[str]] = frozenset({"frames"})

    start: Start = Start()
    md: MdConfig
    every: int = pydantic.Field(default=5, ge=1)
    """Steps between samples of the heat flux."""
    truncation_fs: float | None = pydantic.Field(default=None, gt=0)
    """Where the running integral is read; by default where the correlation has died out."""
    lowpass_thz: float | None = pydantic.Field(default=None, gt=0)
    """Cepstral analysis of frequencies below this only."""

    @pydantic.model_validator(mode="after")
    def _sampled_well(self) -> "Config":
        interval, samples = self.every * self.md.timestep_fs, self.md.steps // self.every
        if interval > SLOWEST_FS:
            raise ValueError(
                f"every: expected the heat flux at least every {SLOWEST_FS:g} fs, got every "
                f"{interval:g} fs, too coarse for optical modes"
            )
        if samples < FEWEST:
            raise ValueError(
                f"md.steps: expected {FEWEST} samples of the heat flux or more, got {samples}; "
                "run longer or sample more often"
            )
        return self


def example() -> tuple[Config, Context]:
    """Cold argon, some picoseconds."""
    start, context = _dynamics.example_start()
    md = MdConfig(
        temperature_k=20,
        timestep_fs=5,
        steps=1200,
        ensemble={"kind": "nve"},  # pyright: ignore[reportArgumentType]
        intervals=Intervals(thermo=10, positions=0),
        replicas=2,
    )
    return Config(name="heat", start=start, md=md, every=1, truncation_fs=200), context


def build(config: Config, context: Context) -> Probe:
    """Find the structure.

    Raises:
        ConfigError: the data set has no such frame, or it is not periodic in three directions.
    """
    system = _dynamics.starting_system(config.start, context)
    _dynamics.require_periodic(config.name, system, "a conductivity needs a volume")
    return Probe(
        name=config.name,
        measure=functools.partial(_measure, config, system),
        units=_UNITS,
        requires=frozenset({"heat_flux"}),
        compiled=False,
        keeps_files=True,
        inspect=functools.partial(_inspect, configuration.kind_of(config.md.ensemble)),
    )


def _measure(
    config: Config, system: System, potential: Potential, workspace: Path | None = None
) -> dict[str, Any]:
    observers = {CHANNEL: Observer(config.every, observe, "eV Å/t*")}
    result = performed(potential, system, config.md, workspace, observers)
    good = [lane for lane in result.lanes if lane.ok]
    metrics = dict.fromkeys(_UNITS, float("nan")) | {
        "survived": len(good) / len(result.lanes),
        "status": float(STATUSES.index(_dynamics.worst(result).status)),
    }
    arrays: dict[str, np.ndarray] = {}
    if good:
        histories = [recorded(lane) for lane in good]
        temperatures = np.array([h["temperature"].values.mean() for h in histories])
        metrics["temperature"] = float(temperatures.mean())
        forms, means = _last_state(potential, good[0])
        metrics |= forms
        records = np.stack([history[CHANNEL].values for history in histories])
        currents = heat_currents(records, means)
        common = {
            "times_fs": histories[0][CHANNEL].times_fs,
            "volume": float(abs(np.linalg.det(good[0].system.cell))),
            "temperature_k": temperatures,
            "ensemble": configuration.kind_of(config.md.ensemble),
        }
        for axis in AXES:
            numbers, curves = _along(config, currents, common, axis)
            metrics |= numbers
            arrays |= curves
    return {name: np.asarray(value) for name, value in metrics.items()} | arrays


_errors_of_forms = jax.jit(form_errors)
_mean_energies = jax.jit(mean_energies)


def _last_state(potential: Potential, lane: LaneResult) -> tuple[dict[str, float], np.ndarray]:
    """Errors of approximate fluxes at the end, and mean energies of the elements there, eV."""
    potential = trees.cast(potential, np.float64)
    graph = build_graph([lane.system], potential.elements, potential.cutoff, dtype=np.float64)
    velocities = np.zeros_like(graph.positions)
    velocities[: len(lane.velocities)] = lane.velocities / units.FS
    found = _errors_of_forms(potential, graph, velocities)
    errors = {"pairwise_error": float(found.pairwise), "edge_error": float(found.edge)}
    return errors, np.asarray(_mean_energies(potential, graph))


def _along(
    config: Config, currents: HeatCurrents, common: Mapping[str, Any], axis: str
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Both estimates along one direction."""
    axes = AXES[axis]
    running = green_kubo(currents.heat, axes=axes, truncation_fs=config.truncation_fs, **common)
    metrics = {
        "conductivity": running.conductivity,
        "conductivity_error": running.error,
        "truncation": running.truncation_fs,
        "pieces": float(running.pieces),
        "doubts": float(len(running.flags)),
    }
    arrays = {
        f"lags_fs_{axis}": running.lags_fs,
        f"hfacf_{axis}": running.normalised,
        f"running_{axis}": running.running,
        f"running_error_{axis}": running.running_error,
    }
    try:
        smooth = cepstral(
            currents.heat,
            axes=axes,
            others=_others(currents.species, len(axes)),
            lowpass_thz=config.lowpass_thz,
            **common,
        )
    except InputError:  # too little of the spectrum: the other estimate stands alone
        smooth = None
    if smooth is not None:
        metrics |= {"cepstral": smooth.conductivity, "cepstral_error": smooth.error}
        arrays |= {
            f"spectrum_thz_{axis}": smooth.frequencies_thz,
            f"spectrum_{axis}": smooth.spectrum,
            f"spectrum_smooth_{axis}": smooth.smoothed,
        }
    return {f"{name}_{axis}": float(value) for name, value in metrics.items()}, arrays


def _others(species: np.ndarray, axes: int) -> np.ndarray | None:
    """Currents to take out, if there are samples enough per frequency to do so."""
    others = independent_currents(species)
    enough = others.shape[2] < others.shape[0] * axes
    return others if others.shape[2] and enough else None


def _inspect(ensemble: str, metrics: Mapping[str, float]) -> list[str]:
    said = _dynamics.doubts(ensemble, metrics)
    for axis in AXES:
        if metrics[f"doubts_{axis}"] > 0:
            said.append(
                f"{axis}: the running integral is in doubt (not converged, or few independent "
                "pieces); compare with the cepstral estimate and run longer"
            )
    return said
