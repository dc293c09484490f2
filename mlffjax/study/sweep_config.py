"""What a sweep is asked to do: the contents of its YAML file, and the variants it asks for."""

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pydantic

from mlffjax import config as configuration
from mlffjax.config import Config
from mlffjax.errors import ConfigError
from mlffjax.study.config import NAME, RunConfig, StudyConfig

SECTIONS = ("training", "strategy", "data")
LONGEST_NAME = 80

Value = bool | int | float | str | None | list[Any]
Values = dict[str, Value]
"""Entries of a run by dotted path, such as ``training.learning_rate``."""


class Range(Config):
    """A number between two bounds, drawn by a search."""

    low: float
    high: float
    log: bool = False
    """Even in the logarithm."""
    integer: bool = False

    @pydantic.model_validator(mode="after")
    def _in_order(self) -> "Range":
        if not self.low < self.high:
            raise ValueError(f"expected low below high, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range needs positive bounds, got {self.low}")
        if self.integer and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError(f"expected whole bounds, got {self.low} and {self.high}")
        return self


class Choices(Config):
    """One of several values, drawn by a search."""

    choices: tuple[bool | int | float | str | None, ...] = pydantic.Field(min_length=2)


class Objective(Config):
    """The number that ranks variants: its mean over seeds."""

    probe: str | None = None
    """None: the lowest force MAE on the validation frames, eV/Å."""
    metric: str | None = None
    goal: Literal["small", "least", "most"] = "small"
    """``small``: close to zero, right for errors with a sign; ``least`` and ``most`` mean it."""

    @pydantic.model_validator(mode="after")
    def _both_or_neither(self) -> "Objective":
        if (self.probe is None) != (self.metric is None):
            raise ValueError("probe and metric belong together; give both or neither")
        return self

    @property
    def label(self) -> str:
        """What it is, in words."""
        if self.probe is None:
            return "lowest validation force MAE (eV/Å)"
        return f"{self.probe}: {'|' if self.goal == 'small' else ''}{self.metric}" + (
            "|" if self.goal == "small" else ""
        )

    def cost(self, value: float) -> float:
        """The value, such that less is better."""
        return {"small": abs(value), "least": value, "most": -value}[self.goal]


class SearchConfig(Config):
    """Variants chosen by optuna, in batches that are trained together."""

    sampler: Literal["tpe", "random"] = "tpe"
    trials: int = pydantic.Field(default=32, ge=1)
    batch: int = pydantic.Field(default=8, ge=1)
    """Trials asked for, and trained, at a time."""
    space: dict[str, Range | Choices] = pydantic.Field(min_length=1)
    """By dotted path into the run, such as ``training.learning_rate``."""
    seed: int = pydantic.Field(default=0, ge=0)


class SweepConfig(Config):
    """Variants of one run of a study."""

    name: str = pydantic.Field(pattern=NAME)
    study: str = pydantic.Field(min_length=1)
    """A study's file, relative to this one, or the name of a packaged study."""
    change: dict[str, Any] = {}
    """Entries of the study by dotted path, such as ``training.epochs``, that differ for all."""
    run: str
    """Name of the entry under ``runs`` that is varied."""
    along: tuple[str, ...] = ()
    """Names of other entries that take part as they are."""
    seeds: tuple[int, ...] | None = pydantic.Field(default=None, min_length=1)
    """Of every variant; None: those of the run."""
    grid: dict[str, tuple[Value, ...]] = {}
    """Values by dotted path into the run; every combination is a variant."""
    search: SearchConfig | None = None
    objective: Objective = Objective()

    @pydantic.model_validator(mode="after")
    def _one_way(self) -> "SweepConfig":
        if bool(self.grid) == (self.search is not None):
            raise ValueError(
                "expected either a grid or a search, got " + ("both" if self.grid else "neither")
            )
        paths = self.grid or (self.search.space if self.search else {})
        for path in paths:
            head, _, rest = path.partition(".")
            if head not in SECTIONS or not rest:
                raise ValueError(
                    f"{path!r}: expected an entry of a run, its dotted path beginning with "
                    f"{', '.join(SECTIONS)}; seeds have an entry of their own"
                )
        for path, values in self.grid.items():
            texts = [json.dumps(value) for value in values]
            if not values or len(set(texts)) < len(texts):
                raise ValueError(f"grid, {path}: expected different values, got {list(values)}")
        return self

    @property
    def combinations(self) -> tuple[Values, ...]:
        """All points of the grid; the last path changes fastest."""
        product = itertools.product(*self.grid.values())
        return tuple(dict(zip(self.grid, point, strict=True)) for point in product)


class Base(NamedTuple):
    """The study whose run is varied."""

    config: StudyConfig
    folder: Path
    """Directory that its relative paths start from."""


class Variant(NamedTuple):
    """One way to train the run."""

    name: str
    values: Values


def read_base(sweep: SweepConfig, folder: Path) -> Base:
    """The study of a sweep with its changes.

    Args:
        sweep: the sweep.
        folder: directory of its file.

    Raises:
        ConfigError: there is no such study, it cannot be used, or a run is not in it.
    """
    local = folder / Path(sweep.study).expanduser()
    path = configuration.locate(local if local.is_file() else sweep.study)
    config = configuration.read(path, StudyConfig, _overrides(sweep.change))
    names = [run.name for run in config.runs]
    for name in (sweep.run, *sweep.along):
        if name not in names:
            raise ConfigError(f"{name!r} is not a run of {path}; its runs: {', '.join(names)}")
    if sweep.objective.probe is not None:
        probes = [getattr(probe, "name", "") for probe in config.probes]
        if sweep.objective.probe not in probes:
            raise ConfigError(
                f"objective.probe: {sweep.objective.probe!r} is not a probe of {path}; its probes: "
                f"{', '.join(probes)}"
            )
    return Base(config, path.parent)


def variants(sweep: SweepConfig) -> tuple[Variant, ...]:
    """The points of the grid with names that tell their values.

    Names depend on the values only, so that a sweep which grows keeps what it has finished.
    """
    labels = _labels(tuple(sweep.grid))
    made = []
    for values in sweep.combinations:
        parts = [sweep.run, *(f"{labels[path]}-{_text(v)}" for path, v in values.items())]
        name = "_".join(parts)
        if len(name) > LONGEST_NAME:
            name = f"{sweep.run}_{configuration.fingerprint(values)}"
        made.append(Variant(name, values))
    return tuple(made)


def study_of(sweep: SweepConfig, base: Base, chosen: Sequence[Variant]) -> StudyConfig:
    """The study that trains and probes the variants; they are runs like any other.

    Raises:
        ConfigError: a path leads nowhere or a value is not allowed; the message names the variant.
    """
    by_name = {run.name: run for run in base.config.runs}
    plain = configuration.dump(by_name[sweep.run])
    plain |= {} if sweep.seeds is None else {"seeds": list(sweep.seeds)}
    runs = []
    for variant in chosen:
        entry = configuration.assemble(
            plain | {"name": variant.name},
            RunConfig,
            _overrides(variant.values),
            where=f"variant {variant.name}",
        )
        runs.append(configuration.dump(entry))
    runs += [configuration.dump(by_name[name]) for name in sweep.along]
    data = configuration.dump(base.config) | {"name": sweep.name, "runs": runs}
    return configuration.validate(data, StudyConfig, where=f"sweep {sweep.name}")


def _overrides(changes: Mapping[str, Any]) -> list[str]:
    """JSON is YAML, so values survive as they are."""
    return [f"{path}={json.dumps(value)}" for path, value in changes.items()]


def _labels(paths: Sequence[str]) -> dict[str, str]:
    """The last part of each path where that is unique, otherwise all of it."""
    last = [path.rpartition(".")[2] for path in paths]
    return {p: word if last.count(word) == 1 else p for p, word in zip(paths, last, strict=True)}


def _text(value: Value) -> str:
    """A value as a part of a name."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.10g}".replace("+", "")
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", str(value)).strip("_") or "none"
