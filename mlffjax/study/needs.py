"""What the runs of a study need, and whether it is there: starts, paths, generic structures."""

from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath

import numpy as np

from mlffjax import config as configuration
from mlffjax.errors import ConfigError, InputError
from mlffjax.structures import datasets
from mlffjax.structures.datasets import Dataset
from mlffjax.structures.generic import bundled
from mlffjax.structures.paths import Path, energies
from mlffjax.structures.system import Frame, System
from mlffjax.study.config import RunConfig, StudyConfig


def check_starts(config: StudyConfig) -> None:
    """Refuse runs whose start, or whose judge of frames, and probes whose peer is missing.

    Raises:
        ConfigError: names the run or the probe, and the section.
    """
    for run in config.runs:
        kind = configuration.kind_of(run.strategy)
        section = run.strategy.starts_from
        if getattr(config, section) is None and not run.has_own_start:
            raise ConfigError(
                f"run {run.name!r}: strategy {kind} starts from the section {section!r}, which is "
                "missing; add it"
            )
        if by_uncertainty(run) and config.foundation is None:
            raise ConfigError(
                f"run {run.name!r}: selection by uncertainty asks how far the foundation is off, "
                "but the section 'foundation' is missing; add it or choose another method"
            )
    for probe in config.probes:
        if "foundation" in probe.uses and config.foundation is None:  # type: ignore[attr-defined]
            raise ConfigError(
                f"probe {probe.name!r} compares with the foundation, but the section "  # type: ignore[attr-defined]
                "'foundation' is missing; add it or leave the probe out"
            )


def check_learned_paths(config: StudyConfig, paths: Mapping[str, Path]) -> tuple[str, ...]:
    """Warnings about runs that are trained on what a probe measures.

    Raises:
        ConfigError: a path to learn from is left out, or no measured path with labels stays apart.
    """
    measured = {p.path: paths[p.path] for p in config.probes if getattr(p, "path", "") in paths}  # type: ignore[attr-defined]
    labelled = [name for name, path in measured.items() if energies(path) is not None]
    warnings = []
    for run in config.runs:
        names = run.strategy.path_names()
        if missing := [name for name in names if name not in paths]:
            raise ConfigError(
                f"run {run.name!r} learns from path {missing[0]!r}, whose file is missing; add "
                "the file or take the path out of the strategy"
            )
        seen = [name for name in labelled if name in learned_paths(names, paths)]
        if seen and len(seen) == len(labelled):
            raise ConfigError(
                f"run {run.name!r} learns from every path that a probe compares with labels "
                f"({', '.join(seen)}), so that nothing would be predicted; leave out a path, best "
                "one with another mechanism, or measure one more"
            )
        if seen:
            rest = ", ".join(name for name in labelled if name not in seen)
            warnings.append(
                f"run {run.name!r} was trained on images of {', '.join(seen)}: its errors there "
                f"are of a fit; only {rest} is predicted"
            )
    return tuple(warnings)


def learned_paths(names: Sequence[str], paths: Mapping[str, Path]) -> tuple[str, ...]:
    """Paths most of whose images are in those named: the named ones, and copies of them.

    Paths of other mechanisms may share minima.
    """
    known = {_key(frame.system) for name in names for frame in paths[name].frames}
    shared = {name: [_key(f.system) in known for f in path.frames] for name, path in paths.items()}
    return tuple(name for name, images in shared.items() if 2 * sum(images) > len(images))


def generic_data(config: StudyConfig, base: FilePath) -> Dataset | None:
    """Structures of other materials, if a run needs them; labels, if a run learns from those.

    Raises:
        InputError: the files cannot be used.
    """
    needs = {run.strategy.generic for run in config.runs} - {None}
    if not needs:
        return None
    try:
        return datasets.load(config.generic or bundled(), base, labels="labels" in needs)
    except InputError as error:
        raise InputError(f"generic: {error}") from error


def by_uncertainty(run: RunConfig) -> bool:
    """Whether the run takes the frames on which the foundation is worst."""
    return run.data.method == "uncertainty"


def shared_structures(frames: Sequence[Frame], paths: Mapping[str, Path]) -> tuple[str, ...]:
    """Warnings about paths whose images are in the data set."""
    known = {_key(frame.system) for frame in frames}
    shared = {
        name: sum(_key(image.system) in known for image in path.frames)
        for name, path in paths.items()
    }
    return tuple(
        f"{count} images of path {name!r} are frames of the data set as well; runs may have been "
        "trained on them, so errors on this path say little about prediction"
        for name, count in shared.items()
        if count
    )


def _key(system: System) -> bytes:
    """Equal for structures that agree to 1e-6 Å in the same order of atoms."""
    arrays = (np.round(system.positions, 6) + 0.0, np.round(system.cell, 6) + 0.0, system.numbers)
    return b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
