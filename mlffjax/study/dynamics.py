"""One structure, one potential, molecular dynamics: what is asked for, run and written.

``run`` writes into its directory

    production.h5md      the trajectory (H5MD); one file per replica and stage
    checkpoint.safetensors   from which the same command goes on
    summary.json         what was asked, how every replica ended, averages with errors

Replicas that could not go on are listed with the reason; they do not end the others.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pydantic

from mlffjax import config as configuration
from mlffjax import units
from mlffjax.analysis.thermodynamics import energy_drift
from mlffjax.analysis.uncertainty import mean_with_error
from mlffjax.config import Config
from mlffjax.dynamics.config import MdConfig
from mlffjax.dynamics.heat_flux import observe as heat_flux
from mlffjax.dynamics.preparation import Observer
from mlffjax.dynamics.run import LaneResult, MdResult
from mlffjax.dynamics.run import run as run_dynamics
from mlffjax.dynamics.trajectory import read
from mlffjax.potential.base import Potential
from mlffjax.structures.geometry import repeated
from mlffjax.structures.system import System
from mlffjax.study.inputs import Calculator, frame_of, model_of, require_ase, versions
from mlffjax.study.lock import locked
from mlffjax.study.records import number_or_none, write_json

SUMMARY = "summary.json"
FEWEST = 20
"""Samples below which a series gives no mean with an error."""
AVERAGED = ("temperature", "potential_energy", "kinetic_energy")

Observe = Callable[[str, int, int], None]
"""Called with the stage, the step reached and the steps of the stage."""
Count = Annotated[int, pydantic.Field(ge=1)]


class DynamicsConfig(Config):
    """Molecular dynamics of a structure."""

    structure: str = pydantic.Field(min_length=1)
    """A file with the structure, relative to the configuration, or ``bundled:``."""
    frame: int = pydantic.Field(default=0, ge=0)
    """Which frame of the file, counted from 0."""
    repeat: tuple[Count, Count, Count] = (1, 1, 1)
    """Cells along each lattice vector."""
    potential: str = "bundled:generalist"
    """Directory of a stored potential, relative to the configuration, or ``bundled:``."""
    calculator: Calculator | None = None
    """A section ``kind: ase`` in place of a stored potential."""
    heat_flux: int = pydantic.Field(default=0, ge=0)
    """Steps between samples of the heat flux; 0: none."""
    md: MdConfig

    @pydantic.model_validator(mode="after")
    def _one_model(self) -> "DynamicsConfig":
        require_ase(self.calculator)
        if self.calculator is not None and "potential" in self.model_fields_set:
            raise ValueError("a 'calculator' excludes 'potential'")
        return self


class DynamicsPlan(NamedTuple):
    """What a run amounts to."""

    atoms: int
    lanes: int
    steps: int  # of all stages
    picoseconds: float
    megabytes: float  # of the trajectories


def planned(config: DynamicsConfig, base: Path) -> DynamicsPlan:
    """Sizes of a run, from the structure and the intervals.

    Raises:
        InputError: the structure cannot be read or repeated.
    """
    system = _system(config, base)
    md, atoms = config.md, len(system.numbers)
    every = md.intervals
    vectors = 8 * (md.steps // every.positions if every.positions else 0)
    vectors += 4 * (md.steps // every.velocities if every.velocities else 0)
    scalars = 8 * 16 * (md.steps // every.thermo if every.thermo else 0)
    steps = sum(stage.steps for _, stage in md.stages)
    return DynamicsPlan(
        atoms=atoms,
        lanes=md.replicas,
        steps=steps,
        picoseconds=steps * md.timestep_fs / 1000,
        megabytes=md.replicas * (3 * atoms * vectors + scalars) / 1e6,
    )


def subject(config: DynamicsConfig, base: Path) -> tuple[Potential, System]:
    """The potential and the structure of a run.

    Raises:
        ConfigError, InputError, CompatibilityError: as ``run``.
    """
    system = _system(config, base)
    model = model_of(config.potential, config.calculator, base, system.numbers)
    return model.potential, system


def run(
    config: DynamicsConfig, base: Path, out: Path, *, observe: Observe | None = None
) -> dict[str, Any]:
    """Run, or go on with what a directory holds, and write the summary.

    Args:
        config: what to do.
        base: directory that its relative paths start from.
        out: output directory.
        observe: told about progress.

    Returns:
        Contents of ``summary.json``.

    Raises:
        ConfigError: the configuration cannot be used, or JAX is not set to 64 bits.
        InputError: the structure cannot be used, or another process works on ``out``.
        CompatibilityError: an element is unknown to the potential, or the directory holds another
            run (what differs is named).
    """
    system = _system(config, base)
    model = model_of(config.potential, config.calculator, base, system.numbers)
    observers = {"heat_flux": Observer(config.heat_flux, heat_flux, "eV Å/t*")}
    with locked(out):
        result = run_dynamics(
            model.potential,
            system,
            config.md,
            directory=out,
            observers=observers if config.heat_flux else None,
            progress=observe,
        )
        summary = {
            "config": configuration.dump(config),
            "potential": model.described,
            "atoms": len(system.numbers),
            "steps_per_second": number_or_none(result.steps_per_second),
            "neighbor_lists": result.rebuilds,
            "replicas": [_replica(lane, config.md, len(system.numbers)) for lane in result.lanes],
            "failures": _failures(result),
            "versions": versions(),
        }
        write_json(out / SUMMARY, summary)
    return summary


def _system(config: DynamicsConfig, base: Path) -> System:
    return repeated(frame_of(config.structure, config.frame, base).system, config.repeat)


def _failures(result: MdResult) -> list[str]:
    return [f"replica {lane.replica}: {lane.reason}" for lane in result.lanes if not lane.ok]


def _replica(lane: LaneResult, md: MdConfig, atoms: int) -> dict[str, Any]:
    """How a replica ended, and averages over its production."""
    about: dict[str, Any] = {
        "status": lane.status,
        "reason": lane.reason,
        "stage": lane.stage,
        "step": lane.step,
        "files": {stage: file.name for stage, file in lane.files.items()},
    }
    if "production" not in lane.files:
        return about
    series = read(lane.files["production"]).series
    means = {}
    for channel in AVERAGED:
        if channel in series and len(series[channel].steps) >= FEWEST:
            means[channel] = _estimate(series[channel][:])
    if "pressure" in series and len(series["pressure"].steps) >= FEWEST:
        trace = np.trace(series["pressure"][:], axis1=1, axis2=2) / 3
        means["pressure_gpa"] = _estimate(trace / units.GPA)
    if "cell" in series and len(series["cell"].steps) >= FEWEST:
        means["volume"] = _estimate(abs(np.linalg.det(series["cell"][:])))
    about["averages"] = means
    kept = "conserved" in series and len(series["conserved"].steps) >= FEWEST
    if kept and configuration.kind_of(md.ensemble) == "nve":
        line = energy_drift(series["conserved"][:], series["conserved"].times_fs, atoms)
        about["drift_mev_per_atom_ns"] = number_or_none(float(line.slope))
    return about


def _estimate(values: np.ndarray) -> Mapping[str, float | None]:
    found = mean_with_error(values)
    return {
        "mean": number_or_none(float(found.mean)),
        "error": number_or_none(float(found.error)),
    }
