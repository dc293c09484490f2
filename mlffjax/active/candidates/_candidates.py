"""What kinds of candidates are given, and how they name what they propose."""

from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import NamedTuple

from mlffjax import config
from mlffjax.errors import ConfigError
from mlffjax.potential.base import Potential
from mlffjax.structures.paths import Path
from mlffjax.structures.system import Frame, System


class Section(config.Config):
    """Base of the ``Config`` of every kind."""

    def path_names(self) -> tuple[str, ...]:
        """Names of paths that structures are taken from, if they are named."""
        return ()


class Given(NamedTuple):
    """What structures may be taken from, or made with.

    Attributes:
        models: the present potentials; what is made by one is made by the first.
        paths: by name; those that are held out are not among them.
        base: directory that relative paths start from.
        seed: of random numbers.
        mark: of the round, for names of structures.
    """

    models: Sequence[Potential]
    paths: Mapping[str, Path]
    base: FilePath
    seed: int
    mark: str


def chosen_paths(names: Sequence[str], given: Given) -> dict[str, Path]:
    """The paths of these names; all of them if none is named.

    Raises:
        ConfigError: a path is not known, or held out.
    """
    unknown = [name for name in names if name not in given.paths]
    if unknown:
        raise ConfigError(
            f"candidates: expected names of paths that are not held out "
            f"({', '.join(given.paths) or 'there are none'}), got {', '.join(unknown)}"
        )
    return {name: given.paths[name] for name in names or given.paths}


def made(systems: Sequence[System], kind: str, name: str, given: Given) -> list[Frame]:
    """Frames of structures that a model made, in their sequence."""
    series = f"{kind}_{name}"
    return [
        Frame(
            system=system,
            energy=None,
            forces=None,
            stress=None,
            config_type=series,
            trajectory=f"{series}/{given.mark}",
            order=float(index),
            identifier=f"{series}_{given.mark}_{index}",
            source=f"{kind} {name}, {given.mark}, structure {index}",
            info={},
        )
        for index, system in enumerate(systems)
    ]
