"""What every probe is, and what it is built from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pydantic

from mlffjax import config
from mlffjax.arrays import Array, PyTree
from mlffjax.dynamics.trajectory import Trajectory
from mlffjax.errors import ConfigError
from mlffjax.potential.base import Potential
from mlffjax.structures.paths import Path
from mlffjax.structures.system import Frame

SPLITS = ("train", "validation", "test")

Metrics = dict[str, Array]
"""Scalars are metrics, everything else are arrays to be kept beside them."""


Name = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
"""Becomes the name of files, so it cannot lead out of their folder."""


class Section(config.Config):
    """Base of the ``Config`` of every kind."""

    uses: ClassVar[frozenset[str]] = frozenset()
    """Fields of ``Context`` that the probe reads: of {"frames", "splits", "paths",
    "trajectories", "foundation"}."""

    name: Name
    """Names the record; unique within a study."""


class Context(NamedTuple):
    """What a probe may be built from."""

    elements: tuple[int, ...]
    """Atomic numbers the potential knows, in its order."""
    cutoff: float
    """Å."""
    frames: tuple[Frame, ...] = ()
    """The data set."""
    splits: Mapping[str, tuple[int, ...]] = {}
    """Indices into ``frames`` by split, for the run to be probed."""
    paths: Mapping[str, Path] = {}
    trajectories: Mapping[str, Trajectory] = {}
    """Of other programs, to compare with."""
    foundation: Potential | None = None
    """What runs start from, in float64, if the study names one."""

    def trajectory(self, name: str) -> Trajectory:
        """A trajectory by name.

        Raises:
            ConfigError: there is none; the message lists the names.
        """
        if name not in self.trajectories:
            known = ", ".join(self.trajectories) or "none"
            raise ConfigError(
                f"no trajectory {name!r}; known trajectories: {known}; add it under 'trajectories'"
            )
        return self.trajectories[name]

    def path(self, name: str) -> Path:
        """A path by name.

        Raises:
            ConfigError: there is none; the message lists the names.
        """
        if name not in self.paths:
            known = ", ".join(self.paths) or "none"
            raise ConfigError(f"no path {name!r}; known paths: {known}; add it under 'paths'")
        return self.paths[name]


def bound(
    function: Callable[[Any, Potential], Metrics], data: PyTree
) -> Callable[[Potential], Metrics]:
    """``function`` with its first argument fixed, on the device, and visible to ``jit``.

    A closure would make the arrays constants of the compiled program: large, and compiled anew for
    every probe.
    """
    return jax.tree_util.Partial(function, jax.tree.map(jnp.asarray, data))


def _nothing_to_say(metrics: Mapping[str, float]) -> list[str]:
    del metrics  # most probes have no built-in self-test
    return []


@dataclass(frozen=True)
class Probe:
    """A question, ready to be asked."""

    name: str
    measure: Callable[..., Metrics]
    units: dict[str, str]
    """Unit of every metric, those in ``reasons`` included; empty text for a pure number."""
    requires: frozenset[str] = frozenset()
    """What ``EnergyModel.supports`` must contain."""
    compiled: bool = True
    """Whether ``measure`` can be traced; otherwise it is called with one potential at a time."""
    keeps_files: bool = False
    """Whether ``measure``, not compiled then, takes a second argument: a directory of its own for
    this potential, in which unfinished work survives a kill."""
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    """Arrays that do not depend on the potential, to be kept beside its own."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Metrics that cannot be had, and why."""
    inspect: Callable[[Mapping[str, float]], list[str]] = _nothing_to_say
    """Warnings about measured metrics, e.g. of a self-test that failed."""
