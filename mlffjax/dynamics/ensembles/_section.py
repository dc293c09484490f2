"""What every ensemble's ``Config`` says about it beyond its choices."""

from typing import ClassVar

from mlffjax import config
from mlffjax.errors import ConfigError
from mlffjax.structures.system import System

FEWEST_STEPS = 5.0
"""Shortest time of a bath in time steps."""


class Section(config.Config):
    """Base of the ``Config`` of every kind."""

    keeps_rotation: ClassVar[bool] = True
    """Whether a cluster that does not rotate will not begin to."""
    changes_cell: ClassVar[bool] = False
    needs_heat: ClassVar[bool] = False
    """Whether a temperature of zero makes no sense."""

    def check(self, system: System, cutoff: float) -> None:
        """Refuse structures that the ensemble has no meaning for; most have it for all.

        Raises:
            InputError: says what the structure lacks.
        """
        del system, cutoff

    def check_times(self, timestep_fs: float, temperature_k: float) -> None:
        """Refuse baths that are too fast for the time step, or have nothing to swing with.

        Raises:
            ConfigError: names the entry.
        """
        for name, value in self.model_dump().items():
            if name.endswith("time_fs") and value < FEWEST_STEPS * timestep_fs:
                raise ConfigError(
                    f"{name}: expected at least {FEWEST_STEPS:g} time steps of {timestep_fs:g} fs, "
                    f"got {value:g} fs; a bath that fast disturbs the motion, take some 100 steps"
                )
        if self.needs_heat and temperature_k == 0:
            raise ConfigError(
                f"{config.kind_of(self)} needs a temperature above 0 K; to cool a structure use "
                "nvt_langevin"
            )
