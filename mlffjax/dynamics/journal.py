"""Changes to one large binary file that happen whole or not at all, however the program ends.

HDF5 changes bytes in the middle of its file while data are appended; a program killed in between
leaves a file that nobody can open. A ``Transaction`` stands between HDF5 and the file: bytes beyond
the old end are written where they belong, since nothing refers to them yet, but changes of old
bytes are kept aside. ``commit`` writes these to a journal beside the file, then into the file, then
removes the journal. Whenever the program dies, the file is either as before the transaction, or a
complete journal says how to finish it, which ``recover`` does.
"""

import contextlib
import glob
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from mlffjax import durable
from mlffjax.errors import InputError

PAGE = 4096
_MAGIC = b"mlffjrn1"
_HEADER = struct.Struct("<8sQQQI")  # magic, size before, size after, pages, checksum


def journal_of(path: Path) -> Path:
    """Where the journal of a file lies while there is one."""
    return path.with_name(f".{path.name}.journal")


def journal_size(path: Path) -> int:
    """Bytes of the journal; 0 where there is none."""
    try:
        return journal_of(path).stat().st_size
    except FileNotFoundError:
        return 0


def recover(path: Path) -> None:
    """Finish a commit that was interrupted and remove what else it left; else nothing happens.

    Raises:
        InputError: the journal does not belong to the file.
        StorageError: the file cannot be written.
    """
    if journal_of(path).is_file():
        pages, size = _read_journal(path)
        try:
            _apply(path, pages, size)
        except OSError as error:
            raise durable.unwritable(path, error) from error
    for aside in path.parent.glob(f".{glob.escape(journal_of(path).name)}.*.tmp"):
        aside.unlink(missing_ok=True)


class Transaction(io.RawIOBase):
    """An existing file, opened for reading and writing as Python's file objects are.

    What is written can be read back at once from here, and is seen by others after ``commit``.
    Closing without committing leaves the file as it was.

    Writing never fails, since HDF5 takes no care of errors when it closes a file: what the disk
    refuses is kept in memory, and ``commit`` raises the error.
    """

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        if writable:
            recover(path)
        self._path = path
        try:
            self._file = open(path, "r+b" if writable else "rb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise durable.unwritable(path, error) from error
        self._writable = writable
        self._refused: OSError | None = None
        self._pages: dict[int, bytearray] = {}
        self._old = self._size = os.fstat(self._file.fileno()).st_size
        if not writable:
            with contextlib.suppress(FileNotFoundError):  # none, or its change is complete by now
                self._pages, self._size = _read_journal(path)
        self._at = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def writable(self) -> bool:
        """As it was opened."""
        return self._writable

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the place of the next read or write; returns it."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        """The place of the next read or write."""
        return self._at

    def readinto(self, buffer: Any) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Fill the buffer, with zeros beyond the end, which HDF5 may ask for."""
        view = memoryview(buffer).cast("B")
        content = os.pread(self._file.fileno(), len(view), self._at)
        view[: len(content)] = content
        view[len(content) :] = bytes(len(view) - len(content))
        if self._pages:
            self._patch(view)
        self._at += len(view)
        return len(view)

    def write(self, data: Any) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Write all of the data."""
        view = memoryview(data).cast("B")
        start, stop = self._at, self._at + len(view)
        done = max(0, min(stop, self._old) - start)
        if done:
            self._keep(start, view[:done])
        try:
            while done < len(view) and self._refused is None:
                done += os.pwrite(self._file.fileno(), view[done:], start + done)
        except OSError as error:
            self._refused = error
        if done < len(view):
            self._keep(start + done, view[done:])
        self._at = stop
        self._size = max(self._size, stop)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the size after ``commit``."""
        self._size = self._at if size is None else size
        return self._size

    def commit(self) -> None:
        """Make everything written so far part of the file.

        Raises:
            StorageError: the disk is full or gone; the file is as before.
        """
        try:
            if self._refused is not None:
                raise self._refused
            os.fsync(self._file.fileno())
        except OSError as error:
            raise durable.unwritable(self._path, error) from error
        indices = sorted(self._pages)
        body = b"".join(self._pages[index] for index in indices)
        table = np.array([(i, len(self._pages[i])) for i in indices], "<u8").tobytes()
        header = _HEADER.pack(
            _MAGIC, self._old, self._size, len(indices), zlib.crc32(body, zlib.crc32(table))
        )
        durable.write_bytes(journal_of(self._path), header + table + body)
        self._old = self._size  # from here on the change is decided, whoever completes it
        try:
            _apply(self._path, self._pages, self._size)
        except OSError as error:
            self._refused = error  # the next one to open the file tries again
        else:
            self._pages = {}

    def close(self) -> None:
        """Forget what was not committed."""
        if not self.closed:
            if self._writable and os.fstat(self._file.fileno()).st_size > self._old:
                with contextlib.suppress(OSError):  # a full disk needs the room
                    os.ftruncate(self._file.fileno(), self._old)
            self._file.close()
        super().close()

    def _keep(self, start: int, view: memoryview) -> None:
        """Change bytes in the pages kept aside: old ones, or new ones that the disk refused."""
        done = 0
        while done < len(view):
            index, offset = divmod(start + done, PAGE)
            page = self._pages.setdefault(index, bytearray())
            length = PAGE if start + done >= self._old else min(PAGE, self._old - index * PAGE)
            if len(page) < length:
                place, lacking = index * PAGE + len(page), length - len(page)
                found = os.pread(self._file.fileno(), lacking, place)
                page += found.ljust(lacking, b"\0")
            count = min(len(view) - done, len(page) - offset)
            page[offset : offset + count] = view[done : done + count]
            done += count

    def _patch(self, view: memoryview) -> None:
        """Put pages kept aside over bytes read from the file."""
        first, last = self._at // PAGE, (self._at + len(view) - 1) // PAGE
        for index in range(first, last + 1):
            page = self._pages.get(index)
            if page is None:
                continue
            start = max(self._at, index * PAGE)
            stop = min(self._at + len(view), index * PAGE + len(page))
            if stop > start:
                kept = page[start - index * PAGE : stop - index * PAGE]
                view[start - self._at : stop - self._at] = kept


def _apply(path: Path, pages: dict[int, bytearray], size: int) -> None:
    with open(path, "r+b") as file:
        for index, page in pages.items():
            file.seek(index * PAGE)
            file.write(page)
        file.truncate(size)
        file.flush()
        os.fsync(file.fileno())
    journal_of(path).unlink()


def _read_journal(path: Path) -> tuple[dict[int, bytearray], int]:
    content = journal_of(path).read_bytes()
    wrong = InputError(
        f"{journal_of(path)}: expected the unfinished change of {path.name}, got something else or "
        "one of another file; move it away if the file beside it is a copy that was complete"
    )
    if len(content) < _HEADER.size:
        raise wrong
    magic, before, after, count, checksum = _HEADER.unpack_from(content)
    end = _HEADER.size + 16 * count
    table = np.frombuffer(content[_HEADER.size : end], "<u8")
    if magic != _MAGIC or path.stat().st_size < before or len(table) != 2 * count:
        raise wrong
    if zlib.crc32(content[_HEADER.size :]) != checksum:
        raise wrong
    pages, at = {}, end
    for index, length in table.reshape(-1, 2).tolist():
        pages[index] = bytearray(content[at : at + length])
        at += length
    return pages, after
