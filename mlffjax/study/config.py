"""What a study is asked to do: the contents of its YAML file."""

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any

import pydantic

from mlffjax.config import Config, by_kind, validate
from mlffjax.structures.datasets import DataConfig
from mlffjax.structures.selection import SelectionConfig
from mlffjax.structures.splits import SplitConfig
from mlffjax.study.judgement import VerdictConfig
from mlffjax.training.config import TrainingConfig
from mlffjax.training.strategies._section import Section

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"


class PathConfig(Config):
    """One file with the images of a path."""

    file: str = pydantic.Field(min_length=1)
    """Relative to the configuration file, or ``bundled:``."""
    closed: bool = False
    """The last image is the first, moved by lattice vectors."""
    unwrap: bool = True
    """Undo jumps across the cell boundary; false where steps exceed half a lattice vector."""
    optional: bool = False
    """If the file is missing, leave the path and its probes out, with a warning."""


class TrajectoryConfig(Config):
    """One file with a trajectory of another program, such as ab initio dynamics."""

    file: str = pydantic.Field(min_length=1)
    """Relative to the configuration file, or ``bundled:``."""
    interval_fs: float = pydantic.Field(gt=0)
    """Time from one frame of the file to the next, fs."""


class RunConfig(Config):
    """One candidate: a strategy on a part of the training frames, with one or more seeds."""

    name: str = pydantic.Field(pattern=NAME)
    strategy: Annotated[Section, by_kind("training.strategies")]
    data: SelectionConfig = SelectionConfig()
    """Which of the training frames to use; the test frames are the same for all runs."""
    seeds: tuple[int, ...] = pydantic.Field(default=(0,), min_length=1)
    training: dict[str, Any] = {}
    """Entries that differ from the study's ``training`` section."""

    @pydantic.field_validator("seeds")
    @classmethod
    def _seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds) or min(seeds) < 0:
            raise ValueError(f"expected different seeds of at least 0, got {list(seeds)}")
        return seeds


class StudyConfig(Config):
    """A study: data, models, runs, probes, thresholds."""

    name: str = pydantic.Field(pattern=NAME)
    data: DataConfig
    splits: SplitConfig = SplitConfig()
    model: Annotated[Config, by_kind("potential.sources")] | None = None
    """Architecture of what is trained from scratch."""
    foundation: str | None = None
    """Directory of a stored potential, relative to the configuration file, or ``bundled:``."""
    training: TrainingConfig = TrainingConfig()
    runs: tuple[RunConfig, ...] = pydantic.Field(min_length=1)
    paths: dict[str, PathConfig] = {}
    trajectories: dict[str, TrajectoryConfig] = {}
    """To compare molecular dynamics with."""
    probes: tuple[Annotated[Config, by_kind("probes")], ...] = pydantic.Field(min_length=1)
    verdict: VerdictConfig = VerdictConfig()

    @pydantic.model_validator(mode="after")
    def _belong_together(self) -> "StudyConfig":
        _require_distinct("runs", (run.name for run in self.runs))
        _require_distinct("probes", (probe.name for probe in self.probes))  # type: ignore[attr-defined]
        for run in self.runs:
            self.training_of(run)
        for probe in self.probes:
            path = getattr(probe, "path", None)
            if path is not None and path not in self.paths:
                raise ValueError(
                    f"probe {probe.name!r} asks for path {path!r}, "  # type: ignore[attr-defined]
                    f"which is not under 'paths' ({', '.join(self.paths) or 'empty'})"
                )
            other = getattr(probe, "trajectory", None)
            if other is not None and other not in self.trajectories:
                raise ValueError(
                    f"probe {probe.name!r} asks for trajectory "  # type: ignore[attr-defined]
                    f"{other!r}, which is not under 'trajectories' "
                    f"({', '.join(self.trajectories) or 'empty'})"
                )
        return self

    def training_of(self, run: RunConfig) -> TrainingConfig:
        """The training section with the run's own entries.

        Raises:
            ConfigError: an entry of the run is unknown or invalid.
        """
        merged = _merge(self.training.model_dump(mode="json"), run.training)
        return validate(merged, TrainingConfig, where=f"runs, {run.name}, training")


def _merge(base: Any, changes: Any) -> Any:
    """Sections are merged entry by entry, everything else is replaced."""
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    return base | {key: _merge(base.get(key), value) for key, value in changes.items()}


def _require_distinct(section: str, names: Iterable[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{section}: expected different names, got {', '.join(twice)} twice")
