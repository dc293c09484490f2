"""All frames that share one reference method, with the energies of isolated atoms."""

import difflib
import glob
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pydantic
from ase.data import chemical_symbols

from mlffjax.config import Config, resolve_path
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.structures.checks import (
    is_isolated,
    require_distinct,
    require_labels,
    require_one_unit,
)
from mlffjax.structures.files import read_frames
from mlffjax.structures.system import Frame


class DataConfig(Config):
    """Where the frames are and which method labelled them.

    Attributes:
        files: paths or glob patterns, relative to the configuration file or ``bundled:``.
        reference: code, functional, pseudopotentials and whatever else fixes the energy zero, as
            free text. Two data sets may be mixed only if their texts are equal.
        functional: exchange-correlation functional, such as ``PBE``.
        dispersion: dispersion correction contained in the labels, such as ``D3(BJ)``.
    """

    files: tuple[str, ...] = pydantic.Field(min_length=1)
    reference: str = pydantic.Field(min_length=1)
    functional: str = pydantic.Field(min_length=1)
    dispersion: str | None = None


class Dataset(NamedTuple):
    """Labelled frames of one reference method.

    Attributes:
        frames: everything but isolated atoms, in the order of files and frames.
        isolated: atomic number to energy of the free atom, eV; may lack elements.
        reference: the method, as configured.
        digest: 16 hexadecimal digits of the content; independent of where the files lie.
    """

    frames: tuple[Frame, ...]
    isolated: dict[int, float]
    reference: str
    digest: str


def load(config: DataConfig, base: Path, *, forces: bool = True, labels: bool = True) -> Dataset:
    """Read all files and check the frames against each other.

    Args:
        config: files and reference method.
        base: directory that relative paths start from.
        forces: whether every frame must have forces; a set to train on must.
        labels: whether labels matter at all; without, only structures are asked for.

    Raises:
        InputError: a pattern matches nothing, a file or frame cannot be used, labels are missing, a
            structure occurs twice, units differ, or nothing but isolated atoms is left.
        CompatibilityError: two energies are given for one isolated atom.
    """
    paths = expand(config.files, base)
    frames: list[Frame] = []
    for path, label in zip(paths, file_labels(paths), strict=True):
        frames.extend(read_frames(path, label=label))
    isolated = isolated_energies(frames)
    frames = [frame for frame in frames if not is_isolated(frame)]
    if not frames:
        raise InputError(
            f"{', '.join(config.files)}: expected frames to learn from, got isolated atoms only; "
            "add files with structures"
        )
    if labels:
        require_labels(frames, forces=forces)
        require_one_unit(frames)
    require_distinct(frames)
    return Dataset(
        frames=tuple(frames),
        isolated=isolated,
        reference=config.reference,
        digest=digest(frames, isolated, config.reference),
    )


def expand(patterns: Sequence[str], base: Path) -> tuple[Path, ...]:
    """Files that the patterns match: sorted within a pattern, each file once.

    Raises:
        InputError: a pattern matches no file; the message suggests the nearest names.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = resolve_path(pattern, base)
        matches = sorted(
            match for match in glob.glob(str(path), recursive=True) if os.path.isfile(match)
        )
        if not matches:
            near = _nearest(path)
            raise InputError(
                f"{pattern}: expected at least one file, got none at {path}; "
                + (f"nearest names: {', '.join(near)}" if near else "check the path")
            )
        found.update((Path(match), None) for match in matches)
    return tuple(found)


def file_labels(paths: Sequence[Path]) -> list[str]:
    """Names of the files: stems, or as much of the path as tells equal stems apart."""
    stems = [path.stem for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    root = Path(os.path.commonpath([path.parent for path in paths]))
    return [path.relative_to(root).with_suffix("").as_posix() for path in paths]


def isolated_energies(frames: Iterable[Frame]) -> dict[int, float]:
    """Energies of free atoms (eV) by atomic number, from frames of type ``IsolatedAtom``.

    Raises:
        InputError: such a frame holds several atoms or no energy.
        CompatibilityError: an element has two energies that differ by more than 1 meV.
    """
    energies: dict[int, float] = {}
    sources: dict[int, str] = {}
    for frame in filter(is_isolated, frames):
        if len(frame.system.numbers) != 1:
            raise InputError(
                f"{frame.source}: expected one atom in a frame of type IsolatedAtom, got "
                f"{len(frame.system.numbers)}; correct its config_type"
            )
        require_labels([frame], forces=False)
        number, energy = int(frame.system.numbers[0]), frame.energy
        assert energy is not None  # required above
        if abs(energies.setdefault(number, energy) - energy) > 1e-3:
            raise CompatibilityError(
                f"{frame.source}: expected one energy for the isolated {chemical_symbols[number]} "
                f"atom, got {energy:.6f} eV and, from {sources[number]}, "
                f"{energies[number]:.6f} eV; the files may stem from different methods, keep one"
            )
        sources.setdefault(number, frame.source)
    return dict(sorted(energies.items()))


def digest(frames: Iterable[Frame], isolated: dict[int, float], reference: str) -> str:
    """Sixteen hexadecimal digits of structures, labels, kinds and sequence of the frames."""
    content = hashlib.sha256(json.dumps([reference, sorted(isolated.items())]).encode())
    for frame in frames:
        texts = (frame.config_type, frame.trajectory, frame.identifier)
        content.update(json.dumps([*texts, frame.order, frame.energy]).encode())
        for array in (*frame.system, frame.forces, frame.stress):
            content.update(b"none" if array is None else array.tobytes())
    return content.hexdigest()[:16]


def _nearest(path: Path) -> list[str]:
    folder = path.parent
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return difflib.get_close_matches(path.name, names, 3, cutoff=0.5)
