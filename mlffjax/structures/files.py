"""Frames from extended XYZ or anything else ASE reads, and back to extended XYZ."""

import bz2
import gzip
import io
import itertools
import lzma
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
from ase.io.extxyz import key_val_str_to_dict, read_xyz

from mlffjax.durable import write_bytes
from mlffjax.errors import InputError
from mlffjax.structures.checks import check_frame
from mlffjax.structures.labels import KEYS, read_labels
from mlffjax.structures.system import Frame, from_ase, to_ase

EXTENDED_XYZ = (".xyz", ".extxyz")
# Where the position of a frame inside its trajectory may be written, most telling first.
ORDER_KEYS = ("order", "time_fs", "image", "step")
MANY_COLUMNS = re.compile(r":\s*\+?[\d_]{4}")
"""What a count in ``Properties=species:S:1:pos:R:3`` looks like if it needs a closer look."""
PERIODS = re.compile(r"""(?:^|\s)pbc\s*=\s*("[^"]*"|'[^']*'|\{[^}]*\}|\[[^]]*\]|\S+)""")
_FLAG = "(?:T|F|True|False|true|false|TRUE|FALSE|0|1)"
FLAGS = re.compile(rf"""["'{{\[]?\s*{_FLAG}(?:[\s,]+{_FLAG}){{0,2}}\s*["'}}\]]?""")
COMPRESSED = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
LARGEST_RATIO, SMALL = 100, 2**24  # of unpacked to packed bytes, beyond the first ones
NAME_KEYS = ("frame_id", "identifier")
_OWN_KEYS = frozenset({"config_type", "group", "order", *NAME_KEYS})


def read_frames(path: str | Path, *, label: str | None = None) -> list[Frame]:
    """Read all frames of a file and check each by itself.

    Labels are ``REF_energy``, ``REF_forces`` and ``REF_stress`` or ``REF_virials``; a frame without
    any of them uses the results ASE found (``OUTCAR``, ``.traj``, plain ``energy=``). A frame
    without labels is returned as such: whether it may be is for the caller (``require_labels``).

    The trajectory of a frame is its ``group`` entry, or else the file and the ``config_type``; its
    order is the first of ``order``, ``time_fs``, ``image``, ``step`` that all frames of the
    trajectory have, or else the position in the file.

    Args:
        path: a file; ``.xyz`` and ``.extxyz`` are read as extended XYZ.
        label: what to call the file in names of trajectories and frames; its stem by default.

    Raises:
        InputError: the file is missing, empty or malformed, or a frame fails a check; the message
            names the file and the frame.
    """
    path = Path(path)
    label = path.stem if label is None else label
    frames = []
    for index, atoms in enumerate(_structures(path)):
        frame = _frame(atoms, index, source=f"{path} frame {index}", label=label)
        check_frame(frame)
        frames.append(frame)
    if not frames:
        raise InputError(f"{path}: expected at least one frame, got an empty file")
    return _ordered(frames)


def write_frames(path: str | Path, frames: Sequence[Frame]) -> None:
    """Write extended XYZ that ``read_frames`` reads back; an existing file is replaced whole.

    Positions and forces keep eight decimals, which is what ASE writes; energy, stress and order
    keep all digits.
    """
    text = io.StringIO()
    ase.io.write(text, [_atoms(frame) for frame in frames], format="extxyz")
    write_bytes(Path(path), text.getvalue().encode())


def _structures(path: Path) -> Iterator[ase.Atoms]:
    """One ASE object a frame; whatever goes wrong becomes an InputError naming the frame."""
    if not path.is_file():
        raise InputError(
            f"{path}: expected a file with structures, found "
            f"{'a directory' if path.is_dir() else 'nothing there'}; check the path"
        )
    reader = _extended_xyz(path) if path.suffix in EXTENDED_XYZ else ase.io.iread(path, index=":")
    index = 0
    while True:
        try:
            if path.suffix in COMPRESSED and not index:
                _check_inflated(path)
            atoms = next(reader)
        except StopIteration:
            return
        except InputError:
            raise
        except Exception as error:  # parsers of ASE raise anything
            raise InputError(
                f"{path} frame {index}: expected extended XYZ or a format ASE reads, but it cannot "
                f"be parsed ({type(error).__name__}: {error}); correct or convert the file"
            ) from error
        yield atoms
        index += 1


def _extended_xyz(path: Path) -> Iterator[ase.Atoms]:
    """Cut the file into frames ourselves, so that an error can name the frame it is in."""
    index = 0
    with path.open(encoding="utf-8") as handle:
        while header := handle.readline():
            if not header.strip():
                if handle.read().strip():
                    raise InputError(
                        f"{path} frame {index}: expected a number of atoms, got an empty line with "
                        "more text after it; remove the empty line"
                    )
                return
            source = f"{path} frame {index}"
            if not header.strip().isdecimal():
                raise InputError(
                    f"{source}: expected a number of atoms, got {header.strip()[:60]!r}; the count "
                    "of the frame before may not match its lines"
                )
            lines = list(itertools.islice(handle, int(header) + 1))  # as many as there are
            if len(lines) <= int(header) or not lines[-1].strip():
                raise InputError(
                    f"{source}: expected {header.strip()[:60]} atoms, but the file ends or has an "
                    f"empty line after {sum(bool(line.strip()) for line in lines[1:])}; it is "
                    "incomplete"
                )
            _check_columns(lines, source)
            _check_periods(lines[0], source)
            yield next(read_xyz(io.StringIO(header + "".join(lines)), 0))
            index += 1


def _check_columns(lines: Sequence[str], source: str) -> None:
    """Compare declared columns with the first atom where they are many: all of them are made."""
    if not MANY_COLUMNS.search(lines[0]):
        return
    properties = key_val_str_to_dict(lines[0].strip()).get("Properties", "")
    declared = sum(int(count) for count in str(properties).split(":")[2::3])
    if declared > (found := len(lines[1].split()) if len(lines) > 1 else 0):
        raise InputError(
            f"{source}: expected {declared} columns, as its Properties say, got {found} for the "
            "first atom; correct the file"
        )


def _check_periods(comment: str, source: str) -> None:
    """Refuse spellings of pbc that the reader takes for three times true, such as ``"f f f"``."""
    found = PERIODS.search(comment)
    if found and not FLAGS.fullmatch(found[1]):
        raise InputError(
            f'{source}: expected pbc as three of T and F, such as pbc="T T F", got '
            f"{found[1][:60]}; correct the file"
        )


def _check_inflated(path: Path) -> None:
    """Refuse what is compressed a hundred times: no structures are, but bombs."""
    limit = SMALL + LARGEST_RATIO * path.stat().st_size
    size = 0
    with COMPRESSED[path.suffix](path) as stream:
        while block := stream.read(2**20):
            size += len(block)
            if size > limit:
                raise InputError(
                    f"{path}: expected structures, got a file that is compressed more than "
                    f"{LARGEST_RATIO} times; unpack it if you trust it"
                )


def _frame(atoms: ase.Atoms, index: int, *, source: str, label: str) -> Frame:
    labels = read_labels(atoms, source)
    info = {key: _plain(value) for key, value in atoms.info.items() if key not in KEYS}
    config_type = str(info.get("config_type", "Default"))
    name = next((str(info[key]) for key in NAME_KEYS if key in info), f"{label}:{index}")
    return Frame(
        system=from_ase(atoms),
        energy=labels.energy,
        forces=labels.forces,
        stress=labels.stress,
        config_type=config_type,
        trajectory=str(info["group"]) if "group" in info else f"{label}/{config_type}",
        order=float(index),
        identifier=name,
        source=source,
        info=info,
    )


def _ordered(frames: list[Frame]) -> list[Frame]:
    """Set ``order`` from the first key that every frame of a trajectory has, and tidy ``info``."""
    members: dict[str, list[int]] = defaultdict(list)
    for index, frame in enumerate(frames):
        members[frame.trajectory].append(index)
    for indices in members.values():
        key = next((k for k in ORDER_KEYS if all(k in frames[i].info for i in indices)), None)
        for i in indices:
            order = frames[i].order if key is None else _number(frames[i], key)
            info = {k: v for k, v in frames[i].info.items() if k not in _OWN_KEYS}
            frames[i] = frames[i]._replace(order=order, info=info)
    return frames


def _number(frame: Frame, key: str) -> float:
    value = frame.info[key]
    if not isinstance(value, int | float) or not np.isfinite(value):
        raise InputError(
            f"{frame.source}: expected a finite number for {key}, got {value!r}; it orders the "
            "frames of a trajectory"
        )
    return float(value)


def _plain(value: Any) -> Any:
    """A value of ``Atoms.info`` without NumPy types; unknown objects become text."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, bool | int | float | str | list | dict) else str(value)


def _atoms(frame: Frame) -> ase.Atoms:
    atoms = to_ase(frame.system)
    atoms.info = {
        "frame_id": frame.identifier,
        "config_type": frame.config_type,
        "group": frame.trajectory,
        "order": frame.order,
        **frame.info,
    }
    if frame.energy is not None:
        atoms.info["REF_energy"] = frame.energy
    if frame.stress is not None:
        atoms.info["REF_stress"] = frame.stress.reshape(9)
    if frame.forces is not None:
        atoms.arrays["REF_forces"] = frame.forces
    return atoms
