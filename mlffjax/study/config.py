"""What a study is asked to do: the contents of its YAML file."""

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any

import pydantic

from mlffjax.config import Config, by_kind, kind_of, validate
from mlffjax.structures.datasets import DataConfig
from mlffjax.structures.selection import SelectionConfig
from mlffjax.structures.splits import SplitConfig
from mlffjax.study.executors import _executor, local
from mlffjax.study.judgement import VerdictConfig
from mlffjax.training.config import TrainingConfig
from mlffjax.training.strategies._section import Section

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
Fraction = Annotated[float, pydantic.Field(gt=0, le=1)]


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
    foundation: str | None = pydantic.Field(default=None, min_length=1)
    """A stored potential to start from instead of the study's foundation."""
    calculator: Annotated[Config, by_kind("potential.sources")] | None = None
    """A section ``kind: ase``: a foreign model in the place of the foundation, for strategies that
    train nothing (``zero_shot``)."""
    fractions: tuple[Fraction, ...] = ()
    """A learning curve: one run ``<name>-5pct`` for each fraction, here 0.05, of the frames."""
    family: str | None = pydantic.Field(default=None, pattern=NAME)
    """Runs of one family form a learning curve; set by ``fractions``."""

    @pydantic.field_validator("seeds")
    @classmethod
    def _seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds) or min(seeds) < 0:
            raise ValueError(f"expected different seeds of at least 0, got {list(seeds)}")
        return seeds

    @pydantic.model_validator(mode="after")
    def _own_start(self) -> "RunConfig":
        if self.calculator is not None and kind_of(self.calculator) != "ase":
            raise ValueError(
                f"calculator: expected kind ase, got {kind_of(self.calculator)}, which needs "
                "weights; name a stored potential under 'foundation'"
            )
        if self.foundation is not None and self.calculator is not None:
            raise ValueError("foundation and calculator exclude each other; give one of them")
        kind = kind_of(self.strategy)
        if self.has_own_start and self.strategy.starts_from != "foundation":
            raise ValueError(
                f"strategy {kind} starts from the section 'model'; leave out 'foundation' and "
                "'calculator', or choose a strategy that starts from a foundation"
            )
        if self.calculator is not None and self.strategy.trains:
            raise ValueError(
                f"strategy {kind} trains weights, and a calculator has none that could be "
                "trained; expected zero_shot"
            )
        return self

    @property
    def has_own_start(self) -> bool:
        """Whether it starts from something else than the study's sections say."""
        return self.foundation is not None or self.calculator is not None

    @pydantic.model_validator(mode="after")
    def _one_size(self) -> "RunConfig":
        if not self.fractions:
            return self
        if self.data.fraction is not None or self.data.count is not None:
            raise ValueError("fractions exclude data.fraction and data.count; give one of them")
        if len(set(self.fractions)) != len(self.fractions):
            raise ValueError(f"expected different fractions, got {list(self.fractions)}")
        return self

    def expanded(self) -> tuple["RunConfig", ...]:
        """One run for each of its fractions, by growing size; itself if it has none."""
        return tuple(
            self.model_copy(
                update={
                    "name": f"{self.name}-{100 * fraction:g}pct",
                    "data": self.data.model_copy(update={"fraction": fraction}),
                    "fractions": (),
                    "family": self.family or self.name,
                }
            )
            for fraction in sorted(self.fractions)
        ) or (self,)


class StudyConfig(Config):
    """A study: data, models, runs, probes, thresholds."""

    name: str = pydantic.Field(pattern=NAME)
    data: DataConfig
    splits: SplitConfig = SplitConfig()
    model: Annotated[Config, by_kind("potential.sources")] | None = None
    """Architecture of what is trained from scratch."""
    foundation: str | None = None
    """Directory of a stored potential, relative to the configuration file, or ``bundled:``."""
    generic: DataConfig | None = None
    """Structures of other materials, for strategies that learn from them too; those of Cr, Sb and
    Te that come with the package by default. Half of them are held out to measure with."""
    training: TrainingConfig = TrainingConfig()
    runs: tuple[RunConfig, ...] = pydantic.Field(min_length=1)
    paths: dict[str, PathConfig] = {}
    trajectories: dict[str, TrajectoryConfig] = {}
    """To compare molecular dynamics with."""
    probes: tuple[Annotated[Config, by_kind("probes")], ...] = pydantic.Field(min_length=1)
    verdict: VerdictConfig = VerdictConfig()
    executor: Annotated[_executor.Section, by_kind("study.executors", default="local")] = (
        local.Config()
    )
    """Where runs are computed; ``kind`` is ``local`` if not given."""

    @pydantic.field_validator("runs")
    @classmethod
    def _expand(cls, runs: tuple[RunConfig, ...]) -> tuple[RunConfig, ...]:
        """From here on there are plain runs only."""
        return tuple(one for run in runs for one in run.expanded())

    @pydantic.model_validator(mode="after")
    def _belong_together(self) -> "StudyConfig":
        _require_distinct("runs", (run.name for run in self.runs))
        _require_distinct("probes", (probe.name for probe in self.probes))  # type: ignore[attr-defined]
        for run in self.runs:
            self.training_of(run)
            for name in run.strategy.path_names():
                if name not in self.paths:
                    raise ValueError(
                        f"run {run.name!r} learns from path {name!r}, which is not under 'paths' "
                        f"({', '.join(self.paths) or 'empty'})"
                    )
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
