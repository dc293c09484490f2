"""Settings of a run of molecular dynamics."""

from typing import Annotated, Literal

import pydantic

from mlffjax import config
from mlffjax.config import by_kind
from mlffjax.dynamics.ensembles._section import Section

LONGEST_TIMESTEP_FS = 50.0
HIGHEST_TEMPERATURE_K = 1e5


class Stage(config.Config):
    """A part of a run in one ensemble."""

    ensemble: Annotated[Section, by_kind("dynamics.ensembles")]
    steps: int = pydantic.Field(ge=1)
    temperature_k: float | None = pydantic.Field(default=None, ge=0, le=HIGHEST_TEMPERATURE_K)
    """K; None: that of the run."""


class Intervals(config.Config):
    """Every how many steps samples are taken; 0: never."""

    thermo: int = pydantic.Field(default=10, ge=0)
    """Energies, temperature, pressure, conserved quantity."""
    positions: int = pydantic.Field(default=50, ge=0)
    velocities: int = pydantic.Field(default=0, ge=0)


class Limits(config.Config):
    """What stops a trajectory, because its continuation would mean nothing."""

    temperature_k: float | None = pydantic.Field(default=None, gt=0)
    """K; None: five times the target plus 1000 K."""
    contact: float = pydantic.Field(default=0.5, ge=0, lt=1)
    """Shortest distance allowed, as a part of the sum of two covalent radii."""
    energy_per_atom: float = pydantic.Field(default=0.1, gt=0)
    """Largest change of the conserved quantity, eV per atom."""


class MdConfig(config.Config):
    """A run: equilibration, if any, then production."""

    temperature_k: float = pydantic.Field(ge=0, le=HIGHEST_TEMPERATURE_K)
    """Of initial velocities and thermostats, K."""
    ensemble: Annotated[Section, by_kind("dynamics.ensembles")]
    """Of production."""
    steps: int = pydantic.Field(ge=1)
    """Of production. May be raised to continue a run that has finished."""
    timestep_fs: float = pydantic.Field(default=1.0, gt=0, le=LONGEST_TIMESTEP_FS)
    equilibration: tuple[Stage, ...] = ()
    """Stages before production, in turn; of them only ``intervals.thermo`` is stored."""
    intervals: Intervals = Intervals()
    initial_velocities: Literal["thermal", "exact", "zero"] = "thermal"
    """Drawn at the temperature; drawn and scaled to exactly the temperature; none."""
    remove_rotation: bool = False
    """Start without angular momentum; clusters only."""
    seed: int = pydantic.Field(default=0, ge=0)
    replicas: int = pydantic.Field(default=1, ge=1)
    """Trajectories that differ in their random numbers, run together."""
    precision: Literal["float64", "float32"] = "float64"
    """In which the potential computes. Positions, velocities and sums are in double always."""
    skin: float = pydantic.Field(default=0.8, ge=0, le=10)
    """Å that lists of neighbours reach beyond the cutoff; changes only the speed."""
    checkpoint_every: int = pydantic.Field(default=1000, ge=1)
    """Steps; as many are lost at most if the program is killed."""
    limits: Limits = Limits()

    @pydantic.model_validator(mode="after")
    def _intervals_fit(self) -> "MdConfig":
        for name, every in self.intervals.model_dump().items():
            if every > self.steps:
                raise ValueError(
                    f"expected intervals within the run, got {name} every {every} of {self.steps} "
                    "steps; sample more often, run longer, or set it to 0 for never"
                )
        return self

    @property
    def stages(self) -> tuple[tuple[str, Stage], ...]:
        """All stages with their names, in order."""
        before = [(f"equilibration-{index}", each) for index, each in enumerate(self.equilibration)]
        return (*before, ("production", Stage(ensemble=self.ensemble, steps=self.steps)))
