"""Structure and motion at a temperature: radial distributions, diffusion, vibrations.

In-plane is x and y, out-of-plane z: layers are expected to lie in the plane of the first two cell
vectors. Replicas of equal length count as more atoms. "No diffusion seen" is an answer:
``diffusion_seen`` is 0 then, the coefficient is missing and its upper bound is given.

Production should be NVE: a thermostat acts on the very velocities that are correlated here.
"""

import fnmatch
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pydantic

from mlffjax import config as configuration
from mlffjax.analysis.diffusion import (
    CM2_PER_S,
    Diffusion,
    MeanSquareDisplacement,
    centre,
    diffusion_coefficient,
    mean_square_displacement,
)
from mlffjax.analysis.hops import count_hops
from mlffjax.analysis.inputs import symbol
from mlffjax.analysis.structure import radial_distribution
from mlffjax.analysis.vibrations import (
    check_sampling,
    density_of_states,
    velocity_autocorrelation,
)
from mlffjax.config import Config as Base
from mlffjax.dynamics.channels import Samples
from mlffjax.dynamics.config import Intervals, MdConfig
from mlffjax.errors import ConfigError, InputError
from mlffjax.potential.base import Potential
from mlffjax.probes import _dynamics
from mlffjax.probes._dynamics import STATUSES, Start, performed, recorded, together
from mlffjax.probes._motion_reference import (
    Reference,
    from_snapshots,
    from_trajectory,
    middles,
    reference_arrays,
    require_same_elements,
)
from mlffjax.probes._probe import Context, Probe, Section
from mlffjax.structures.elements import masses
from mlffjax.structures.system import System

DIRECTIONS = {"in_plane": "xy", "out_of_plane": "z"}
FEWEST = 40
"""Samples of positions that a diffusion coefficient needs."""
BINS = 120
PER_NS = 1e6  # fs

_UNITS = {"survived": "", "status": "", "temperature": "K"}
_RDF = {"rdf_difference": ""}
_VACF = {"vacf_difference": ""}
_HOPS = {"hop_count": "", "hop_rate": "1/ns", "hop_rate_low": "1/ns", "hop_rate_high": "1/ns"}


class Hops(Base):
    """Sites between which atoms of one element are followed."""

    element: str
    sites: tuple[tuple[float, float, float], ...] = pydantic.Field(min_length=1)
    """In units of the cell vectors of the structure that is simulated."""
    radius: float = pydantic.Field(gt=0)
    """Å around a site at which an atom has arrived."""


class Config(Section):
    """Molecular dynamics of one structure and what follows from its trajectory."""

    uses: ClassVar[frozenset[str]] = frozenset({"frames", "trajectories"})

    start: Start = Start()
    md: MdConfig
    r_max: float = pydantic.Field(default=8.0, gt=0)
    """Å; of radial distributions."""
    correlation_fs: float | None = pydantic.Field(default=None, gt=0)
    """Longest lag of the velocity autocorrelation; by default a tenth of production."""
    hop_length: float | None = pydantic.Field(default=None, gt=0)
    """Å between neighbouring sites; rattling in a cage is then not taken for diffusion."""
    hops: Hops | None = None
    reference_type: str | None = None
    """Kind of labelled frames, a pattern, whose radial distribution is the reference."""
    trajectory: str | None = None
    """Name of a trajectory of another program that is the reference, for velocities too."""

    @pydantic.model_validator(mode="after")
    def _records(self) -> "Config":
        for name in ("positions", "velocities"):
            if not getattr(self.md.intervals, name):
                raise ValueError(f"md.intervals.{name}: expected an interval, got 0 (never)")
        if self.reference_type is not None and self.trajectory is not None:
            raise ValueError("expected 'reference_type' or 'trajectory', got both")
        try:
            check_sampling(self.md.intervals.velocities * self.md.timestep_fs)
        except InputError as error:
            raise ValueError(f"md.intervals.velocities: {error}") from error
        return self


class _Task(NamedTuple):
    config: Config
    system: System
    reference: Reference


def example() -> tuple[Config, Context]:
    """Cold argon for two picoseconds, compared with the frames of the data set."""
    start, context = _dynamics.example_start()
    md = MdConfig(
        temperature_k=20,
        timestep_fs=5,
        steps=120,
        ensemble={"kind": "nve"},  # pyright: ignore[reportArgumentType]
        intervals=Intervals(thermo=2, positions=2, velocities=1),
    )
    config = Config(name="cold_motion", start=start, md=md, r_max=6.0, reference_type="kind1")
    return config, context


def build(config: Config, context: Context) -> Probe:
    """Find the structure and work out the reference.

    Raises:
        ConfigError: the data set has no such frame, the trajectory is not known, or an element
            whose hops are to be counted is absent.
        InputError: the reference differs in its elements or is too short.
    """
    system = _dynamics.starting_system(config.start, context)
    remedy = "give open directions a period with enough vacuum"
    _dynamics.require_periodic(config.name, system, remedy)
    elements = [symbol(int(number)) for number in np.unique(system.numbers)]
    if config.hops is not None and config.hops.element not in elements:
        raise ConfigError(
            f"probe {config.name}, hops: there is no {config.hops.element} in the structure, only "
            f"{', '.join(elements)}"
        )
    reference = _reference(config, context, system)
    task = _Task(config, system, reference)
    return Probe(
        name=config.name,
        measure=functools.partial(_measure, task),
        units=_UNITS | _RDF | _VACF | _HOPS | _diffusion_units(elements),
        compiled=False,
        keeps_files=True,
        constants=reference_arrays(reference),
        reasons=_reasons(config, reference),
        inspect=functools.partial(_dynamics.doubts, configuration.kind_of(config.md.ensemble)),
    )


def _diffusion_units(elements: Sequence[str]) -> dict[str, str]:
    return {
        f"{name}_{direction}/{element}": unit
        for element in elements
        for direction in DIRECTIONS
        for name, unit in (
            ("diffusion", "cm²/s"),
            ("diffusion_error", "cm²/s"),
            ("diffusion_bound", "cm²/s"),
            ("diffusion_seen", ""),
        )
    }


def _reasons(config: Config, reference: Reference) -> dict[str, str]:
    reasons: dict[str, str] = {}
    if reference.distribution is None:
        reasons |= dict.fromkeys(_RDF, "no reference frames or trajectory were named")
    if not len(reference.times_fs):
        reasons |= dict.fromkeys(_VACF, "no reference trajectory was named")
    if config.hops is None:
        reasons |= dict.fromkeys(_HOPS, "no sites were named")
    return reasons


def _reference(config: Config, context: Context, system: System) -> Reference:
    if config.trajectory is not None:
        other = context.trajectory(config.trajectory)
        require_same_elements(config.name, system, other.system)
        return from_trajectory(
            other, r_max=config.r_max, bins=BINS, longest_fs=config.correlation_fs
        )
    if config.reference_type is None:
        return Reference(None, np.zeros(0), np.zeros(0))
    kind = Start(config_type=config.reference_type)
    first = _dynamics.starting_system(kind, context)
    require_same_elements(config.name, system, first)
    frames = [f for f in context.frames if fnmatch.fnmatchcase(f.config_type, kind.config_type)]
    return from_snapshots(config.name, frames, first, r_max=config.r_max, bins=BINS)


def _measure(task: _Task, potential: Potential, workspace: Path | None = None) -> dict[str, Any]:
    result = performed(potential, task.system, task.config.md, workspace)
    first = _dynamics.worst(result)
    good = [recorded(lane) for lane in result.lanes if lane.ok]
    metrics: dict[str, Any] = {
        "survived": sum(lane.ok for lane in result.lanes) / len(result.lanes),
        "status": float(STATUSES.index(first.status)),
    }
    arrays: dict[str, np.ndarray] = {}
    if good:
        metrics["temperature"] = np.mean([h["temperature"].values.mean() for h in good])
        for part in (_distribution, _diffusion, _vibrations, _hopping):
            numbers, curves = part(task, good)
            metrics |= numbers
            arrays |= curves
    elements = [symbol(int(number)) for number in np.unique(task.system.numbers)]
    every = _UNITS | _RDF | _VACF | _HOPS | _diffusion_units(elements)
    reasons = _reasons(task.config, task.reference)
    filled = {name: float("nan") for name in every if name not in reasons} | metrics
    return {name: np.asarray(value) for name, value in filled.items()} | arrays


Found = tuple[dict[str, Any], dict[str, np.ndarray]]
Histories = Sequence[Mapping[str, Samples]]


def _distribution(task: _Task, good: Histories) -> Found:
    places = np.concatenate([history["positions"].values for history in good])
    cells = np.concatenate([_cells(history, task.system) for history in good])
    found = radial_distribution(
        places, task.system.numbers, cells, r_max=task.config.r_max, bins=BINS
    )
    arrays = {
        "rdf": found.g,
        "rdf_error": found.error,
        "rdf_pairs": found.pairs,
        "rdf_radii": middles(found),
    }
    if task.reference.distribution is None:
        return {}, arrays
    # Row 0 counts all atoms alike, so it exists for any composition.
    difference = np.abs(found.g[0] - task.reference.distribution.g[0]).mean()
    return {"rdf_difference": difference}, arrays


def _cells(history: Mapping[str, Samples], system: System) -> np.ndarray:
    """One cell per sample of the positions."""
    wanted = history["positions"].steps
    if "cell" not in history:
        return np.tile(system.cell, (len(wanted), 1, 1))
    return history["cell"].values[np.isin(history["cell"].steps, wanted)]


def _diffusion(task: _Task, good: Histories) -> Found:
    numbers = task.system.numbers
    times, places = together(good, "positions")  # [samples, lanes, atoms, 3]
    weights = masses(numbers)
    for lane in range(places.shape[1]):
        places[:, lane] -= centre(places[:, lane], weights)[:, None]
    metrics, arrays = {}, {}
    for number in np.unique(numbers):
        own = places[:, :, numbers == number].reshape(len(times), -1, 3)
        msd = mean_square_displacement(own, times)
        element = symbol(int(number))
        arrays |= {
            f"msd_{direction}/{element}": msd.along(axes) for direction, axes in DIRECTIONS.items()
        } | {"msd_fs": msd.times_fs}
        metrics |= _coefficients(task.config, msd, element)
    return metrics, arrays


def _coefficients(config: Config, msd: MeanSquareDisplacement, element: str) -> dict[str, float]:
    if int(msd.frames) < FEWEST:
        return {}
    metrics = {}
    for direction, axes in DIRECTIONS.items():
        found: Diffusion = diffusion_coefficient(msd, axes=axes, hop_length=config.hop_length)
        end = f"{direction}/{element}"
        metrics |= {
            f"diffusion_{end}": float(found.coefficient) * CM2_PER_S,
            f"diffusion_error_{end}": float(found.error) * CM2_PER_S,
            f"diffusion_bound_{end}": float(found.upper_bound) * CM2_PER_S,
            f"diffusion_seen_{end}": float(found.seen),
        }
    return metrics


def _vibrations(task: _Task, good: Histories) -> Found:
    numbers = task.system.numbers
    times, velocities = together(good, "velocities")
    many = velocities.reshape(len(times), -1, 3)
    weights = np.tile(masses(numbers), velocities.shape[1])
    longest = task.config.correlation_fs
    found = velocity_autocorrelation(many, weights, times, longest_fs=longest)
    states = density_of_states(
        many,
        weights,
        np.tile(numbers, velocities.shape[1]),
        times,
        longest_fs=longest,
        modes=3 * len(numbers) - 3,
    )
    arrays = {
        "vacf": found.value,
        "vacf_error": found.error,
        "vacf_fs": found.times_fs,
        "vdos_thz": states.frequency_thz,
        "vdos": states.total,
        "vdos_partial": states.partial,
        "vdos_species": states.species,
    }
    if not len(task.reference.times_fs):
        return {}, arrays
    end = min(found.times_fs[-1], task.reference.times_fs[-1])
    inside = found.times_fs <= end
    other = np.interp(
        found.times_fs[inside], task.reference.times_fs, task.reference.autocorrelation
    )
    return {"vacf_difference": np.abs(found.value[inside] - other).mean()}, arrays


def _hopping(task: _Task, good: Histories) -> Found:
    hops = task.config.hops
    if hops is None:
        return {}, {}
    system = task.system
    chosen = np.array([symbol(int(number)) == hops.element for number in system.numbers])
    times, places = together(good, "positions")
    weights = masses(system.numbers)
    moving = []
    for lane in range(places.shape[1]):
        # Sites are fixed to the host, which drifts as a whole.
        drift = centre(places[:, lane], weights, ~chosen)
        moving.append(places[:, lane, chosen] - (drift - drift[0])[:, None])
    cells = _cells(good[0], system)
    followed = np.concatenate(moving, axis=1)
    sites = np.array(hops.sites) @ cells[0]
    found = count_hops(followed, times, sites, cells, radius=hops.radius)
    low, high = found.rate_interval * PER_NS
    return {
        "hop_count": float(found.count.sum()),
        "hop_rate": float(found.rate) * PER_NS,
        "hop_rate_low": float(low),
        "hop_rate_high": float(high),
    }, {}
