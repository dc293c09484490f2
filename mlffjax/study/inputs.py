"""What commands for single structures read from their configuration, and what they put on record.

A configuration names a structure by file and frame, and a model either as a stored potential or as
a section ``kind: ase``; ``mlffjax md``, ``neb`` and ``slide`` mean the same by it.
"""

import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np

import mlffjax
from mlffjax import config as configuration
from mlffjax.config import Config, by_kind
from mlffjax.errors import InputError
from mlffjax.potential import store
from mlffjax.potential.base import Potential
from mlffjax.potential.card import Card
from mlffjax.registry import resolve
from mlffjax.structures.files import read_frames
from mlffjax.structures.system import Frame

Calculator = Annotated[Config, by_kind("potential.sources")]
"""A section ``kind: ase``; see ``require_ase``."""


class Model(NamedTuple):
    """A model that is ready.

    Attributes:
        potential: as stored, or a calculator's.
        card: of a stored potential; None for a calculator.
    """

    potential: Potential
    card: Card | None

    @property
    def described(self) -> Any:
        """For reports: the name of a stored potential, the settings of a calculator."""
        return self.potential.model.settings if self.card is None else self.card.name

    @property
    def identity(self) -> Any:
        """Equal for equal models, also when a directory gets other contents."""
        return self.described if self.card is None else [self.card.name, self.card.checksum]


def require_ase(calculator: Config | None) -> None:
    """Refuse a calculator of another kind; for validators.

    Raises:
        ValueError: it needs weights.
    """
    kind = "ase" if calculator is None else configuration.kind_of(calculator)
    if kind != "ase":
        raise ValueError(f"calculator: expected kind ase, which needs no weights, got {kind}")


def model_of(
    potential: str, calculator: Config | None, base: Path, elements: Iterable[int]
) -> Model:
    """The calculator, or else the stored potential.

    Args:
        potential: directory, relative to ``base``, or ``bundled:``.
        calculator: a section ``kind: ase``, or None.
        base: directory that relative paths start from.
        elements: atomic numbers that a calculator will meet.

    Raises:
        ConfigError: the potential is not there, or cannot be used.
    """
    if calculator is None:
        return Model(*store.load(configuration.resolve_path(potential, base)))
    known = tuple(int(number) for number in np.unique(np.fromiter(elements, int)))
    source = resolve("potential.sources", configuration.kind_of(calculator))
    model = source.energy_model(calculator, known)
    return Model(Potential(model.init(key=jax.random.key(0)), model), None)


def frame_of(file: str, number: int, base: Path) -> Frame:
    """One frame of a file, counted from 0.

    Raises:
        InputError: the file cannot be read, or has fewer frames.
    """
    frames = read_frames(configuration.resolve_path(file, base))
    if number >= len(frames):
        raise InputError(f"{file}: expected a frame below {len(frames)}, got {number}")
    return frames[number]


def versions() -> dict[str, str]:
    """Of what numbers depend on."""
    return {
        "mlffjax": mlffjax.__version__,
        "jax": jax.__version__,
        "python": platform.python_version(),
    }
