"""What a batch of bands is asked to do: paths, models, settings, all checked before the first."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import numpy as np
import pydantic

from mlffjax import config as configuration
from mlffjax import trees
from mlffjax.config import Config
from mlffjax.errors import CompatibilityError, ConfigError, InputError
from mlffjax.pathways.settings import Elastic, Strain
from mlffjax.pathways.transition import Options
from mlffjax.potential.base import Potential
from mlffjax.probes import relaxed_neb
from mlffjax.probes.relaxed_neb import Task
from mlffjax.structures import paths
from mlffjax.study.config import NAME
from mlffjax.study.inputs import Calculator, model_of, require_ase
from mlffjax.study.plan import path_digest

SUFFIXES = (".xyz", ".extxyz", ".traj")

Barrier = Literal["fixed", "matched", "relaxed"]
Name = Annotated[str, pydantic.Field(pattern=NAME)]


class PathSource(Config):
    """One file with the images of a path."""

    file: str = pydantic.Field(min_length=1)
    """Relative to the configuration file, or ``bundled:``."""
    unwrap: bool = True
    """Undo jumps across the cell boundary; false where steps exceed half a lattice vector."""


class ModelSource(Config):
    """A stored potential or a calculator."""

    potential: str | None = None
    """Directory of a stored potential, relative to the configuration file, or ``bundled:``."""
    calculator: Calculator | None = None
    """A section ``kind: ase`` in place of a stored potential."""

    @pydantic.model_validator(mode="after")
    def _one(self) -> "ModelSource":
        if (self.potential is None) == (self.calculator is None):
            raise ValueError("expected either 'potential' or 'calculator'")
        require_ase(self.calculator)
        return self


class NebConfig(Config):
    """Paths, models, and how bands are relaxed."""

    paths: dict[Name, PathSource] = {}
    folder: str | None = None
    """Directory, relative to the configuration file: every .xyz, .extxyz or .traj file in it is a
    path that is called by its stem."""
    models: dict[Name, ModelSource] = pydantic.Field(min_length=1)
    barriers: tuple[Barrier, ...] = pydantic.Field(
        default=("fixed", "matched", "relaxed"), min_length=1
    )
    """Which to compute; ``fixed`` alone is quick."""
    start: Literal["path", "linear", "idpp"] = "path"
    """Whether the images are the first guess, or an interpolation of the ends."""
    images: int | None = pydantic.Field(default=None, ge=3)
    """Number of images of relaxed bands; by default as many as the path has."""
    fixed: tuple[int, ...] = ()
    """Atoms that must not move, counted from 0."""
    layered: bool = False
    """Whether to find layers in the first image and watch the gaps between them."""
    lattice: Strain = "full"
    """Strains of the cell that are relaxed for the matched barrier."""
    relaxation: Elastic = Elastic()
    """Springs, tolerance, optimiser, ends, retry."""
    together: int | None = pydantic.Field(default=None, ge=1)
    """Pairs of a path and a model measured in one go, models of one architecture together; by
    default one on a CPU, which gains nothing from more, and as many as fill an accelerator there.
    What is unfinished of them is repeated after an interruption."""
    saddle: Options | None = None
    """Also refine the saddle of every relaxed band, and give its rate at some temperatures."""

    @pydantic.model_validator(mode="after")
    def _something(self) -> "NebConfig":
        if not self.paths and self.folder is None:
            raise ValueError("expected entries under 'paths', or a 'folder' of paths")
        if "matched" in self.barriers and self.lattice == "none":
            raise ValueError("the matched barrier needs a lattice that relaxes, got lattice: none")
        if self.saddle is not None and "relaxed" not in self.barriers:
            raise ValueError("a saddle is refined from a relaxed band; add relaxed to 'barriers'")
        return self


class NebPlan(NamedTuple):
    """What is to be done: every model on every path."""

    tasks: dict[str, Task]
    digests: dict[str, str]  # of the paths
    models: dict[str, Potential]  # float64
    identities: dict[str, Any]  # what tells a model from others, for fingerprints
    groups: list[tuple[str, ...]]  # models of one architecture, which share one compiled call

    @property
    def pairs(self) -> int:
        """Number of pairs."""
        return len(self.tasks) * len(self.models)


def planned(config: NebConfig, base: Path) -> NebPlan:
    """Read and check all paths and models; nothing is computed.

    Args:
        config: what to do.
        base: directory that its relative paths start from.

    Raises:
        ConfigError: no paths, two of one name, or a lattice asked of paths without periods.
        InputError: paths that cannot be used; all of them are named.
        CompatibilityError: an element that a model does not know.
    """
    tasks, digests, problems = {}, {}, []
    for name, source in _sources(config, base).items():
        try:
            path = paths.read_path(source[0], name, unwrap=source[1])
            tasks[name] = relaxed_neb.prepare(section_of(config, name), path)
        except InputError as error:
            problems.append(f"path {name!r}: {error}")
            continue
        digests[name] = path_digest(path)
    if problems:
        raise InputError("\n  ".join(["paths that cannot be used:", *problems]))
    numbers = {int(z) for task in tasks.values() for z in task.reference.numbers}
    models = {
        name: model_of(source.potential or "", source.calculator, base, numbers)
        for name, source in config.models.items()
    }
    for name, model in models.items():
        if numbers - set(model.potential.elements):
            raise _unknown_elements(name, model.potential, tasks)
    ready = {name: trees.cast(model.potential, np.float64) for name, model in models.items()}
    identities = {name: model.identity for name, model in models.items()}
    return NebPlan(tasks, digests, ready, identities, _groups(ready))


def _groups(models: Mapping[str, Potential]) -> list[tuple[str, ...]]:
    """Names of the models that can be stacked, in their order."""
    groups: dict[Any, list[str]] = {}
    for name, potential in models.items():
        shapes = tuple(np.shape(leaf) for leaf in jax.tree.leaves(potential))
        groups.setdefault((jax.tree.structure(potential), shapes), []).append(name)
    return [tuple(names) for names in groups.values()]


def _sources(config: NebConfig, base: Path) -> dict[str, tuple[Path, bool]]:
    """File of every path and whether to unwrap it."""
    found = {
        name: (configuration.resolve_path(source.file, base), source.unwrap)
        for name, source in config.paths.items()
    }
    if config.folder is None:
        return found
    folder = configuration.resolve_path(config.folder, base)
    if not folder.is_dir():
        raise ConfigError(f"folder: expected a directory with files of paths, got {folder}")
    files = sorted(f for f in folder.iterdir() if f.suffix in SUFFIXES and f.name[0] != ".")
    if not files:
        raise ConfigError(f"{folder}: expected files {', '.join(SUFFIXES)}, got none")
    for file in files:
        if file.stem in found:
            raise ConfigError(f"expected paths of different names, got {file.stem!r} twice")
        if not re.fullmatch(NAME, file.stem):
            raise ConfigError(
                f"{file}: expected a name of letters, digits, '_', '-' and '.', got "
                f"{file.stem!r}; rename it, or name the path under 'paths'"
            )
        found[file.stem] = (file, True)
    return found


def section_of(config: NebConfig, path: str) -> relaxed_neb.Config:
    """What the probe of the same kind would be asked."""
    return relaxed_neb.Config(
        name=path, path=path, start=config.start, images=config.images, fixed=config.fixed,
        layered=config.layered, relaxation=config.relaxation,
        lattice=config.lattice if "matched" in config.barriers else "none",
    )  # fmt: skip


def _unknown_elements(
    model: str, potential: Potential, tasks: Mapping[str, Task]
) -> CompatibilityError:
    missing = {
        path: sorted(set(task.reference.numbers.tolist()) - set(potential.elements))
        for path, task in tasks.items()
    }
    path, unknown = next((path, numbers) for path, numbers in missing.items() if numbers)
    return CompatibilityError(
        f"model {model!r}: expected atomic numbers among {list(potential.elements)}, got {unknown} "
        f"too in path {path!r}; leave the path or the model out"
    )
