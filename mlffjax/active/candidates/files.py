"""Structures of files: a pool that was collected elsewhere, with or without labels."""

import pydantic

from mlffjax.active.candidates._candidates import Given, Section
from mlffjax.structures import datasets
from mlffjax.structures.checks import is_isolated
from mlffjax.structures.files import read_frames
from mlffjax.structures.system import Frame


class Config(Section):
    """Where the pool is."""

    files: tuple[str, ...] = pydantic.Field(min_length=1)
    """Paths or glob patterns, relative to the configuration file or ``bundled:``. Labels in them
    are not looked at."""


def example() -> Config:
    """The bundled dynamics."""
    return Config(files=("bundled:cr_sb2te3_pbe/md_*.xyz",))


def propose(config: Config, given: Given) -> list[Frame]:
    """All structures but free atoms, in the order of files and frames.

    Raises:
        InputError: a pattern matches nothing, or a file cannot be read.
    """
    paths = datasets.expand(config.files, given.base)
    named = zip(paths, datasets.file_labels(paths), strict=True)
    frames = [frame for path, label in named for frame in read_frames(path, label=label)]
    return [frame for frame in frames if not is_isolated(frame)]
