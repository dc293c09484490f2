"""Files that exist whole or not at all, and reading back what damage or malice left of them.

Bytes are written aside, flushed to the disk, and renamed; then the folder is flushed too, so that
files appear in the order in which they were written even if the power fails. What a killed process
left aside is hidden by its name, and ``tidy`` removes it.
"""

import contextlib
import fcntl
import hashlib
import io
import json
import math
import os
import secrets
import zipfile
from pathlib import Path
from typing import Any

from mlffjax.errors import StorageError

ASIDE = ".tmp"
"""End of the names of files that are being written; they begin with a dot."""
SEAL = "seal"
"""Entry of sealed data: the checksum of all others."""
LIMIT = 4 * 1024**3
"""Bytes that the arrays of one file may have; compressed ones may be a thousand times shorter."""


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file; makes the directory if need be. Another one of that name is replaced.

    Raises:
        StorageError: it cannot be written; a file that was there stays as it was.
    """
    # Processes on two machines may have the same number.
    aside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{ASIDE}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(aside, "xb") as file:
                _claim(file.fileno())
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.replace(aside, path)  # while it is held: ``tidy`` takes what nobody holds
        except BaseException:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise unwritable(path, error) from error
    _flush(path.parent)


def unwritable(path: Path, error: OSError) -> StorageError:
    """The error to raise for a file or folder that cannot be written."""
    return StorageError(
        f"{path}: expected to write there, got: {error.strerror or error}; make room or give "
        "permission, then give the same command again: what was finished is kept"
    )


def tidy(directory: Path) -> None:
    """Remove what killed processes left aside in a directory and all below it.

    Whoever is writing holds its file, and the system lets go of those of the dead.
    """
    for aside in directory.rglob(f".*{ASIDE}"):
        with contextlib.suppress(OSError), open(aside, "rb") as file:
            if _claim(file.fileno()):
                aside.unlink()


def _claim(descriptor: int) -> bool:
    """Hold a file until it is closed; whether nobody else does, as far as can be known."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _flush(directory: Path) -> None:
    """Make names durable, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sealed(data: dict[str, Any]) -> dict[str, Any]:
    """JSON data with the checksum of its entries, so that ``unsealed`` sees when one is changed."""
    return data | {SEAL: _checksum(data)}


def unsealed(data: Any) -> Any:
    """The data without its checksum, if it has one.

    Raises:
        ValueError: an entry was changed, by damage or by hand.
    """
    if not isinstance(data, dict) or SEAL not in data:
        return data
    data = dict(data)
    if data.pop(SEAL) != _checksum(data):
        raise ValueError(f"entries differ from their checksum; remove {SEAL!r} if that is meant")
    return data


def _checksum(data: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()[:32]


def from_json(text: str | bytes) -> Any:
    """Plain data of a JSON text, all numbers finite.

    Raises:
        ValueError: it is no JSON, nested too deeply, or holds NaN or a number beyond all floats.
    """
    try:
        data = json.loads(text, parse_constant=_finite, parse_float=_finite)
        lower = text.lower()
        if (b"\\ud" in lower) if isinstance(lower, bytes) else ("\\ud" in lower):
            json.dumps(data, ensure_ascii=False).encode()  # half a character cannot be written
        return data
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def from_npz(content: bytes, *, limit: int = LIMIT) -> dict[str, Any]:
    """Arrays of an ``.npz`` file; nothing of it is run, and no more memory is used than allowed.

    Raises:
        ValueError: it is damaged, holds something else than plain arrays, or too large ones.
    """
    import numpy as np  # commands that read no arrays start faster without

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(max(info.file_size, _declared(archive, info)) for info in archive.infolist())
        if size > limit:
            raise ValueError(f"its arrays have {size} bytes, more than {limit}")
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except ValueError:
        raise
    except Exception as error:  # NumPy, zip and the inflation raise anything
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if not all(isinstance(array, np.ndarray) for array in found.values()):
        raise ValueError("it holds something else than arrays")
    return found


def _declared(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> int:
    """Bytes that an array says it has: NumPy asks for them before it looks whether they are there.

    Raises:
        ValueError: it is no array.
    """
    from numpy.lib import format as layout

    with archive.open(info) as stream:
        version = layout.read_magic(stream)
        if version == (1, 0):
            shape, _, dtype = layout.read_array_header_1_0(stream)
        else:
            shape, _, dtype = layout.read_array_header_2_0(stream)
    return math.prod(shape) * dtype.itemsize


def entries(data: Any) -> float:
    """Number of entries of plain data, each as often as it is repeated: infinite in a circle.

    Raises:
        ValueError: something in it is neither section, list, text nor a number of usual size.
    """
    return _count(data, {})


def _count(data: Any, known: dict[int, float]) -> float:
    if isinstance(data, dict | list):
        if id(data) not in known:
            known[id(data)] = math.inf  # as long as it is not known, which is forever in a circle
            parts = (*data, *data.values()) if isinstance(data, dict) else data
            known[id(data)] = 1 + sum(_count(part, known) for part in parts)
        return known[id(data)]
    if isinstance(data, int) and abs(data) >= 2**63:
        raise ValueError("expected whole numbers of at most 18 digits")
    if not isinstance(data, str | int | float | None):  # a date, a set, bytes
        raise ValueError(f"expected plain data, got {repr(data)[:60]}; put quotes around it")
    return 1


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:20]} is not finite")
    return number
