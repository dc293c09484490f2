"""What a comparison of representations is asked: models, structures, settings, all checked."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pydantic

from mlffjax import config as configuration
from mlffjax import trees
from mlffjax.config import Config
from mlffjax.dynamics.frames import from_frames
from mlffjax.dynamics.trajectory import Trajectory
from mlffjax.errors import ConfigError, InputError
from mlffjax.potential import store
from mlffjax.potential.base import Potential
from mlffjax.probes import representation
from mlffjax.probes._probe import Context
from mlffjax.probes.representation import Given
from mlffjax.structures import datasets
from mlffjax.structures.datasets import DataConfig, Dataset
from mlffjax.structures.files import write_frames
from mlffjax.structures.paths import Path as MigrationPath
from mlffjax.structures.paths import read_path
from mlffjax.structures.system import Frame
from mlffjax.study.compared import ERRORS
from mlffjax.study.config import NAME, PathConfig, TrajectoryConfig
from mlffjax.study.inputs import Calculator, model_of, require_ase
from mlffjax.study.plan import path_digest, trajectory_digest
from mlffjax.study.records import (
    SCHEMA,
    ProbeRecord,
    RunInfo,
    RunRecords,
    StudyRecords,
    load_study,
    read_arrays,
)

Name = Annotated[str, pydantic.Field(pattern=NAME)]


class Source(Config):
    """Where a model comes from: one of three."""

    potential: str | None = None
    """Directory of a stored potential, relative to the configuration file, or ``bundled:``."""
    calculator: Calculator | None = None
    """A section ``kind: ase``; it has forces, but no features."""
    features: str | None = None
    """File ``.npz`` with arrays ``layer1``, ``layer2`` ... [atoms, channels], and ``forces`` if
    there are any, at the structures of ``mlffjax represent CONFIG --structures FILE``, atom by atom
    in that order."""

    @pydantic.model_validator(mode="after")
    def _one(self) -> "Source":
        given = [self.potential, self.calculator, self.features]
        if sum(one is not None for one in given) != 1:
            raise ValueError("expected one of 'potential', 'calculator' and 'features'")
        if self.calculator is not None:
            require_ase(self.calculator)
        return self


class RepresentConfig(Config):
    """Models, structures, and how they are compared."""

    name: str = pydantic.Field(default="represent", pattern=NAME)
    models: dict[Name, Source] = {}
    study: str | None = None
    """Output directory of a study: all its potentials are compared too, its errors are set beside
    the drifts, and its data, paths and foundation are used where none are named here."""
    structures: tuple[str, ...] = ()
    """Files of frames, or patterns, relative to the configuration file or ``bundled:``; labels are
    not needed."""
    paths: dict[Name, PathConfig] = {}
    trajectories: dict[Name, TrajectoryConfig] = {}
    """That all models describe, for ``trajectory`` in mode ``paper``."""
    foundation: str | None = None
    """What drifts are measured from: a stored potential, as above."""
    comparisons: tuple[representation.Config, ...] = pydantic.Field(
        default=(representation.Config(),), min_length=1
    )
    """Sections of the probe ``representation``, of different names."""

    @pydantic.model_validator(mode="after")
    def _something(self) -> "RepresentConfig":
        if not self.models and self.study is None:
            raise ValueError("expected entries under 'models', or the directory of a 'study'")
        names = [section.name for section in self.comparisons]
        if len(set(names)) < len(names):
            raise ValueError(f"comparisons: expected different names, got {', '.join(names)}")
        return self


class Model(NamedTuple):
    """A potential in float64, or arrays instead of one."""

    info: RunInfo
    potential: Potential | None
    given: Given | None
    errors: tuple[ProbeRecord, ...] = ()
    """Of a study's run: what drifts are compared with, without arrays."""


class Inputs(NamedTuple):
    """Everything read and checked."""

    models: tuple[Model, ...]
    dataset: Dataset | None
    paths: Mapping[str, MigrationPath]
    trajectories: Mapping[str, Trajectory]
    foundation: Potential | None
    identity: str
    """Of the structures and the foundation."""


def read_inputs(config: RepresentConfig, base: Path) -> Inputs:
    """Read models and structures; nothing is computed.

    Args:
        config: what to do.
        base: directory that its relative paths start from.

    Raises:
        ConfigError: two models of one name, or a file that is not there.
        InputError: files that cannot be used, or a study without potentials.
    """
    study = None if config.study is None else load_study(_resolved(config.study, base))
    dataset, paths, start = _structures(config, study, base)
    trajectories = {
        name: from_frames(_resolved(one.file, base), timestep_fs=one.interval_fs)
        for name, one in config.trajectories.items()
    }
    models = [*_of_study(study), *_named(config, base, dataset, paths)]
    names = [model.info.id for model in models]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"models: expected different names, got {', '.join(twice)} twice")
    foundation, checksum = None, None
    if start is not None:
        potential, card = store.load(_resolved(start, base))
        foundation, checksum = trees.cast(potential, np.float64), card.checksum
    identity = configuration.fingerprint(
        SCHEMA,
        None if dataset is None else dataset.digest,
        {name: path_digest(path) for name, path in paths.items()},
        {name: trajectory_digest(one) for name, one in trajectories.items()},
        checksum,
    )
    return Inputs(tuple(models), dataset, paths, trajectories, foundation, identity)


def _resolved(text: str, base: Path) -> Path:
    return configuration.resolve_path(text, base)


def _structures(
    config: RepresentConfig, study: StudyRecords | None, base: Path
) -> tuple[Dataset | None, dict[str, MigrationPath], str | None]:
    """Frames, paths and foundation, as named here or else as the study has them."""
    theirs = {} if study is None else study.info.config
    files, sections = config.structures, config.paths
    if not files and not sections:
        files = tuple(theirs.get("data", {}).get("files", ()))
        sections = {n: PathConfig.model_validate(p) for n, p in theirs.get("paths", {}).items()}
    dataset = None
    if files:
        # Only structures matter, so the method of their labels, if they have any, does not.
        data = DataConfig(files=files, reference="none", functional="none")
        dataset = datasets.load(data, base, forces=False, labels=False)
    paths = {}
    for name, one in sections.items():
        file = _resolved(one.file, base)
        if file.is_file() or not one.optional:
            paths[name] = read_path(file, name, closed=one.closed, unwrap=one.unwrap)
    return dataset, paths, config.foundation or theirs.get("foundation")


def _of_study(study: StudyRecords | None) -> Iterator[Model]:
    """Runs that have a potential."""
    if study is None:
        return
    good = [run for run in study.runs if run.info.status == "ok"]
    if not good:
        raise InputError(f"{study.directory}: expected runs with a potential, got none")
    for run in good:
        potential = trees.cast(store.load(run.directory)[0], np.float64)
        yield Model(run.info, potential, None, tuple(_errors(run)))


def _errors(run: RunRecords) -> Iterator[ProbeRecord]:
    """Records of what drifts are compared with; their arrays stay where they are."""
    for record in run.probes.values():
        if record.probe.kind in ERRORS and record.status == "ok":
            yield record.model_copy(update={"arrays": None})


def _named(
    config: RepresentConfig,
    base: Path,
    dataset: Dataset | None,
    paths: Mapping[str, MigrationPath],
) -> Iterator[Model]:
    frames = [*(dataset.frames if dataset else ()), *(f for p in paths.values() for f in p.frames)]
    elements = sorted({int(z) for frame in frames for z in np.unique(frame.system.numbers)})
    for name, source in config.models.items():
        if source.features is not None:
            given = _given(_resolved(source.features, base))
            identity = _digest(given)
            yield Model(_info(name, "features", identity), None, given)
            continue
        model = model_of(source.potential or "", source.calculator, base, elements)
        strategy = "potential" if source.calculator is None else "calculator"
        identity = configuration.fingerprint(model.identity)
        yield Model(_info(name, strategy, identity), trees.cast(model.potential, np.float64), None)


def _digest(given: Given) -> str:
    """Of bytes, because arrays that diverged hold NaN, which plain data cannot."""
    parts = [*given.layers, *(() if given.forces is None else (given.forces,))]
    content = b"".join(
        repr((part.shape, part.dtype)).encode() + np.ascontiguousarray(part).tobytes()
        for part in parts
    )
    return hashlib.sha256(content).hexdigest()[:12]


def _info(name: str, strategy: str, identity: str) -> RunInfo:
    return RunInfo(id=name, name=name, strategy=strategy, seed=0, fingerprint=identity, status="ok")


def _given(file: Path) -> Given:
    """Arrays of another program.

    Raises:
        InputError: the file cannot be read, or has other arrays than are looked for.
    """
    arrays = read_arrays(file)
    if arrays is None:
        raise InputError(f"{file}: expected a file .npz of arrays, found none that can be read")
    layers = [f"layer{place}" for place in range(1, len(arrays) + 1)]
    known = [name for name in layers if name in arrays]
    strange = sorted(set(arrays) - {*known, "forces"})
    if strange or known != layers[: len(known)] or not arrays:
        raise InputError(
            f"{file}: expected arrays layer1, layer2 ... without a gap, and forces, got "
            f"{', '.join(sorted(arrays)) or 'none'}"
        )
    return Given(tuple(arrays[name] for name in known), arrays.get("forces"))


def write_structures(config: RepresentConfig, inputs: Inputs, file: Path) -> int:
    """Write the structures of the first like-for-like comparison, for other programs; their number.

    Raises:
        ConfigError: there is no such comparison, or it has no structures.
    """
    sections = [s for s in config.comparisons if s.mode == "like_for_like"]
    if not sections:
        raise ConfigError("expected a comparison of mode like_for_like, whose structures are fixed")
    kinds, systems = representation.structures(sections[0], context_of(inputs, None))
    frames = [
        Frame(
            system, None, None, None, kind, sections[0].name, float(order), f"{kind}:{order}",
            str(file), {},
        )
        for order, (kind, system) in enumerate(zip(kinds, systems, strict=True))
    ]  # fmt: skip
    write_frames(file, frames)
    return len(frames)


def context_of(inputs: Inputs, potential: Potential | None) -> Context:
    """What comparisons are built from; without a potential, as far as structures go."""
    frames = () if inputs.dataset is None else inputs.dataset.frames
    return Context(
        () if potential is None else potential.elements,
        0.0 if potential is None else potential.cutoff,
        frames=frames,
        paths=inputs.paths,
        trajectories=inputs.trajectories,
        foundation=inputs.foundation,
    )
