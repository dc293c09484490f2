"""What an active-learning campaign is asked to do: the contents of its YAML file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pydantic

from mlffjax import config as configuration
from mlffjax.active.acquisition import AcquisitionConfig
from mlffjax.active.candidates._candidates import Section as Candidates
from mlffjax.active.labelers._labeler import Section as Labeler
from mlffjax.config import Config, by_kind
from mlffjax.structures.datasets import DataConfig
from mlffjax.structures.selection import SelectionConfig
from mlffjax.structures.splits import SplitConfig
from mlffjax.study.config import NAME, PathConfig, StudyConfig
from mlffjax.study.executors import _executor, local
from mlffjax.training.config import TrainingConfig
from mlffjax.training.strategies._section import Section

Name = Annotated[str, pydantic.Field(pattern=NAME)]
MEMBER = "member"
"""Name of the runs of a round; its seeds are the members of the committee."""


class Arm(Config):
    """One way of choosing; arms are compared with each other."""

    candidates: tuple[Annotated[Candidates, by_kind("active.candidates")], ...] = pydantic.Field(
        min_length=1
    )
    """Where structures come from, made anew in every round."""
    acquisition: AcquisitionConfig
    """Which of them are labelled."""


class Settle(Config):
    """When a number has come to rest."""

    probe: str
    """Name of the probe."""
    metric: str = "barrier"
    """Of the probe, eV or another unit; its mean over the committee is watched."""
    change: float = pydantic.Field(default=0.02, gt=0)
    """Changes from round to round below this count as none."""
    times: int = pydantic.Field(default=2, ge=1)
    """So many rounds without change in a row end the arm."""


class Budget(Config):
    """When an arm ends in any case."""

    rounds: int = pydantic.Field(default=10, ge=1)
    """Of labelling and training; the training with the first frames is not counted."""
    labels: int | None = pydantic.Field(default=None, ge=1)
    """Calculations asked for, failed ones included; None: no limit."""


class CampaignConfig(Config):
    """Data to begin with, ways of choosing, a labeller, a way to train, probes.

    Sections that a study has too mean what they mean there.
    """

    name: str = pydantic.Field(pattern=NAME)
    data: DataConfig
    splits: SplitConfig = SplitConfig()
    """Of ``data``, once: validation and test frames stay the same through all rounds, and are
    never candidates."""
    start: SelectionConfig = SelectionConfig()
    """Which training frames have labels in the beginning; the random method draws others for
    every seed. The rest takes part only if ``candidates`` name its files."""
    paths: dict[Name, PathConfig] = {}
    held_out: tuple[str, ...] = ()
    """Paths whose images are neither trained on nor candidates, so that probes of them stay
    predictions."""
    strategy: Annotated[Section, by_kind("training.strategies")]
    """How every round trains, from its own beginning and with all labels there are."""
    model: Annotated[Config, by_kind("potential.sources")] | None = None
    foundation: str | None = None
    generic: DataConfig | None = None
    training: TrainingConfig = TrainingConfig()
    probes: tuple[Annotated[Config, by_kind("probes")], ...] = pydantic.Field(min_length=1)
    labeler: Annotated[Labeler, by_kind("active.labelers")]
    arms: dict[Name, Arm] = pydantic.Field(min_length=1)
    seeds: tuple[Annotated[int, pydantic.Field(ge=0)], ...] = pydantic.Field(
        default=(0,), min_length=1
    )
    """Of repetitions of the whole campaign."""
    committee: int = pydantic.Field(default=2, ge=1)
    """Potentials trained in every round, which differ by their seeds."""
    batch: int = pydantic.Field(default=5, ge=1)
    """Structures chosen in a round."""
    budget: Budget = Budget()
    settle: Settle | None = None
    """None: the budget alone ends an arm."""
    executor: Annotated[_executor.Section, by_kind("study.executors", default="local")] = (
        local.Config()
    )

    @pydantic.field_validator("seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"expected different seeds, got {list(seeds)}")
        return seeds

    @pydantic.model_validator(mode="after")
    def _belong_together(self) -> "CampaignConfig":
        if self.labeler.reference != self.data.reference:
            raise ValueError(
                f"labels of {self.labeler.reference!r} cannot join data of "
                f"{self.data.reference!r}; give labeler.reference and data.reference the same "
                "text if they are the same method, and the same settings if they are not"
            )
        if self.start.method == "uncertainty":
            raise ValueError("start.method: expected farthest_point or random, got uncertainty")
        free = set(self.paths) - set(self.held_out)
        for name in self.held_out:
            if name not in self.paths:
                raise ValueError(f"held_out: {name!r} is not under 'paths'")
        for label, arm in self.arms.items():
            for name in (name for one in arm.candidates for name in one.path_names()):
                if name not in free:
                    raise ValueError(
                        f"arm {label!r} takes candidates from path {name!r}, which is held out or "
                        "not under 'paths'"
                    )
            if "forces" in arm.acquisition.select.needs and self.committee < 2:
                raise ValueError(f"arm {label!r} compares a committee: expected at least 2, got 1")
        if any(name in self.held_out for name in self.strategy.path_names()):
            raise ValueError("the strategy learns from a path that is held out")
        names = [probe.name for probe in self.probes]  # type: ignore[attr-defined]
        if self.settle is not None and self.settle.probe not in names:
            raise ValueError(
                f"settle.probe: {self.settle.probe!r} is not a probe; there are {', '.join(names)}"
            )
        return self

    @property
    def lanes(self) -> Iterator[tuple[str, int]]:
        """Every arm with every seed, in the order in which they are done."""
        return ((arm, seed) for seed in self.seeds for arm in self.arms)


def round_study(config: CampaignConfig, seed: int, file: Path) -> StudyConfig:
    """The study that trains the committee of one round and probes it.

    Args:
        config: the campaign.
        seed: of the repetition.
        file: frames with labels, each saying which part it belongs to.

    Raises:
        ConfigError: sections do not belong together.
    """
    shared = ("name", "model", "foundation", "generic", "training", "paths", "probes", "executor")
    entries: dict[str, Any] = {name: getattr(config, name) for name in shared}
    seeds = tuple(seed * config.committee + member for member in range(config.committee))
    entries["data"] = config.data.model_copy(update={"files": (str(file),)})
    entries["splits"] = {"kind": "given"}
    entries["runs"] = ({"name": MEMBER, "strategy": config.strategy, "seeds": seeds},)
    return configuration.validate(entries, StudyConfig, where=config.name)
