"""From a configuration to runs: data, splits, paths, and a fingerprint for every run."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import numpy as np

from mlffjax import config as configuration
from mlffjax.dynamics.frames import from_frames
from mlffjax.dynamics.trajectory import Trajectory
from mlffjax.errors import ConfigError, InputError
from mlffjax.potential.base import EnergyModel
from mlffjax.registry import resolve
from mlffjax.structures import datasets
from mlffjax.structures.datasets import Dataset
from mlffjax.structures.paths import Path, read_path
from mlffjax.structures.selection import select
from mlffjax.structures.splits import SplitConfig, split
from mlffjax.structures.system import Frame
from mlffjax.study import foundations
from mlffjax.study.config import RunConfig, StudyConfig
from mlffjax.study.foundations import Foundation
from mlffjax.study.needs import (
    by_uncertainty,
    check_learned_paths,
    check_starts,
    generic_data,
    learned_paths,
    shared_structures,
)
from mlffjax.study.records import SCHEMA
from mlffjax.study.uncertainty import force_disagreement
from mlffjax.training.config import TrainingConfig

Splits = dict[str, tuple[int, ...]]


class PlannedRun(NamedTuple):
    """One training to be done."""

    id: str
    config: RunConfig
    training: TrainingConfig
    seed: int
    fingerprint: str
    splits: Splits
    notes: tuple[str, ...]
    learned_paths: tuple[str, ...] = ()
    """Paths of the study that it is trained on."""

    @property
    def kind(self) -> str:
        """Kind of the strategy."""
        return configuration.kind_of(self.config.strategy)

    @property
    def from_nothing(self) -> bool:
        """Whether it starts from the architecture rather than from the foundation."""
        return self.config.strategy.starts_from == "model"


class Plan(NamedTuple):
    """Everything a study needs, read and checked."""

    config: StudyConfig
    fingerprint: str
    dataset: Dataset
    generic: Dataset | None
    """Structures of other materials, if a run needs them."""
    paths: Mapping[str, Path]
    trajectories: Mapping[str, Trajectory]
    probes: tuple[Any, ...]
    """Probe sections; those of missing optional paths are left out."""
    architecture: EnergyModel | None
    foundation: Foundation | None
    runs: tuple[PlannedRun, ...]
    warnings: tuple[str, ...]
    own: Mapping[str, Foundation] = {}
    """What runs start from instead of the foundation, by the name in their configuration."""

    def foundation_of(self, run: PlannedRun) -> Foundation | None:
        """The run's own foundation, or else that of the study."""
        return self.own.get(run.config.name, self.foundation)


def make_plan(config: StudyConfig, base: FilePath) -> Plan:
    """Read all inputs of a study and lay out its runs.

    Args:
        config: the study.
        base: directory that its relative paths start from.

    Raises:
        ConfigError: a section that a run needs is missing, or a file is not bundled.
        InputError: data, paths or the foundation cannot be used, or a selection is empty.
        CompatibilityError: the foundation does not know an element.
    """
    dataset = datasets.load(config.data, base)
    paths, warnings = _read_paths(config, base)
    trajectories = {
        name: from_frames(
            configuration.resolve_path(section.file, base), timestep_fs=section.interval_fs
        )
        for name, section in config.trajectories.items()
    }
    probes = tuple(p for p in config.probes if getattr(p, "path", None) in (None, *paths))
    check_starts(config)
    warnings += check_learned_paths(config, paths)
    generic = generic_data(config, base)
    met = (dataset.frames, *(path.frames for path in paths.values()))
    foundation = foundations.shared(config, base, (*met, () if generic is None else generic.frames))
    own = foundations.own(config, base, met)
    architecture = _architecture(config, dataset, paths)
    drawn = None if architecture is None else [architecture.settings, architecture.elements]
    given = {
        entry.name: _given(
            entry, dataset, generic, paths, foundations.starts(drawn, foundation, own, entry)
        )
        for entry in config.runs
    }
    parts = split(dataset.frames, config.splits)
    scores = _scores(config, dataset.frames, parts.train, foundation)
    runs = tuple(
        _run(
            entry, seed, _located(config.training_of(entry), base), chosen, given[entry.name]
        )._replace(learned_paths=learned_paths(entry.strategy.path_names(), paths))
        for entry, chosen in (
            (entry, _choose(entry, dataset.frames, parts, scores, config.splits))
            for entry in config.runs
        )
        for seed in entry.seeds
    )
    asked = configuration.dump(config)
    asked.pop("executor")  # where runs are computed does not matter
    fingerprint = configuration.fingerprint(SCHEMA, asked, dataset.digest, [run.id for run in runs])
    warnings += shared_structures(dataset.frames, paths)
    return Plan(
        config=config,
        fingerprint=fingerprint,
        dataset=dataset,
        generic=generic,
        paths=paths,
        trajectories=trajectories,
        probes=probes,
        architecture=architecture,
        foundation=foundation,
        runs=runs,
        warnings=warnings,
        own=own,
    )


def require_same(plan: Plan, fingerprint: str) -> None:
    """Refuse a plan other than that of the process that asks for help.

    Raises:
        InputError: the fingerprint is another one.
    """
    if plan.fingerprint != fingerprint:
        raise InputError(
            f"expected the study {fingerprint}, found {plan.fingerprint} when planning it here: "
            "the configuration or the files it reads differ between the machines, or have changed "
            "since the study was started"
        )


def used_frames(plan: Plan) -> tuple[int, ...]:
    """Indices of all frames that some run trains, validates or is tested on, ascending."""
    return tuple(sorted({i for run in plan.runs for part in run.splits.values() for i in part}))


def path_digest(path: Path) -> str:
    """Digest of images and labels of a path."""
    return datasets.digest(path.frames, {}, path.name)


def trajectory_digest(trajectory: Trajectory) -> str:
    """Digest of atoms, times and positions of a trajectory."""
    places = trajectory["positions"]
    parts = (trajectory.system.numbers, places.times_fs, places[:])
    return hashlib.sha256(b"".join(np.ascontiguousarray(x).tobytes() for x in parts)).hexdigest()


def _located(training: TrainingConfig, base: FilePath) -> TrainingConfig:
    """With the directory for prepared data as an absolute path."""
    if training.storage_directory is None:
        return training
    place = str(configuration.resolve_path(training.storage_directory, base))
    return training.model_copy(update={"storage_directory": place})


def _run(
    entry: RunConfig,
    seed: int,
    training: TrainingConfig,
    chosen: tuple[Splits, tuple[str, ...]],
    given: Sequence[Any],
) -> PlannedRun:
    splits, notes = chosen
    kind = configuration.kind_of(entry.strategy)
    fingerprint = configuration.fingerprint(
        SCHEMA,
        {"kind": kind} | configuration.dump(entry.strategy),
        training.essence(),
        given[0],
        seed,
        given[1],
        # The test frames decide nothing about a run; records of probes cover them.
        [splits["train"], splits["validation"]],
        *given[2:],
    )
    identifier = f"{entry.name}-s{seed}-{fingerprint}"
    return PlannedRun(identifier, entry, training, seed, fingerprint, splits, notes)


def _given(
    entry: RunConfig,
    dataset: Dataset,
    generic: Dataset | None,
    paths: Mapping[str, Path],
    start: Any,
) -> list[Any]:
    """What a strategy is given, as plain data for its fingerprint: start, data, and the like."""
    given = [start, dataset.digest]
    if entry.strategy.generic and generic is not None:
        given.append(generic.digest)
    if names := entry.strategy.path_names():
        given.append({name: path_digest(paths[name]) for name in names})
    return given


def _scores(
    config: StudyConfig,
    frames: Sequence[Frame],
    candidates: Sequence[int],
    foundation: Foundation | None,
) -> dict[int, float] | None:
    """Uncertainty of the candidates, if a run selects by it."""
    if foundation is None or not any(by_uncertainty(run) for run in config.runs):
        return None
    scores = force_disagreement(foundation[0], [frames[index] for index in candidates])
    return dict(zip(candidates, scores, strict=True))


def _choose(
    entry: RunConfig,
    frames: Sequence[Frame],
    parts: Any,
    scores: Mapping[int, float] | None,
    splits: SplitConfig,
) -> tuple[Splits, tuple[str, ...]]:
    """Frames of a run: what it selects, validation frames of the same kinds, all test frames.

    Of parts that are given all validation frames are used, whatever is trained on.
    """
    try:
        train = select(frames, parts.train, entry.data, scores=scores)
    except InputError as error:
        raise InputError(f"run {entry.name!r}, data: {error}") from error
    kinds = {frames[index].config_type for index in train}
    given = splits.kind == "given"
    validation = tuple(i for i in parts.validation if given or frames[i].config_type in kinds)
    notes: tuple[str, ...] = ()
    if not validation and parts.validation:
        validation = parts.validation
        notes = ("no validation frames of the kinds trained on; all validation frames are used",)
    if not validation:
        raise ConfigError(
            "splits.validation: expected some validation frames, which decide when to stop and "
            "what to keep, got none; set a fraction above 0"
        )
    return {"train": train, "validation": validation, "test": parts.test}, notes


def _read_paths(config: StudyConfig, base: FilePath) -> tuple[dict[str, Path], tuple[str, ...]]:
    paths, warnings = {}, []
    for name, section in config.paths.items():
        try:
            file = configuration.resolve_path(section.file, base)
        except ConfigError:
            file = None
            if not section.optional:
                raise
        if section.optional and (file is None or not file.is_file()):
            warnings.append(f"path {name!r} is left out: there is no file {section.file}")
        elif file is not None:
            paths[name] = read_path(file, name, closed=section.closed, unwrap=section.unwrap)
    return paths, tuple(warnings)


def _architecture(
    config: StudyConfig, dataset: Dataset, paths: Mapping[str, Path]
) -> EnergyModel | None:
    """A model for all elements that occur, in data or paths."""
    if config.model is None:
        return None
    groups = (dataset.frames, *(path.frames for path in paths.values()))
    elements = {int(z) for frames in groups for f in frames for z in np.unique(f.system.numbers)}
    source = resolve("potential.sources", configuration.kind_of(config.model))
    return source.energy_model(config.model, tuple(sorted(elements)))
