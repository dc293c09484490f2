"""Padded structures on disk: files of fixed-size records, each whole or absent.

A record is one structure with neighbour list, forces and stress, padded to its shape. What differs
between the runs of a study, reference energies, weights and heads, is not in it: runs that see the
same structures through the same cutoff share their records, whatever their strategy. Records are
known by a digest of the structure and its labels, so a directory grows by what is missing, and
preparation that was killed goes on where it was.

Layout: ``<directory>/<fingerprint of cutoff, elements, shapes and precision>/<shape>-<name>.rows``.
A file holds two NumPy arrays one after the other, digests [records, 16] and records [records], and
is read by position. It is not mapped into memory: touched pages of a mapping count as memory of the
process, page faults stop all Python threads where reading stops none, and a mapped file that is cut
short kills the process. A data loader such as grain would add a dependency and processes of its own
to what is one read per structure.
"""

import contextlib
import errno
import functools
import hashlib
import io
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from mlffjax import durable, trees
from mlffjax.config import fingerprint
from mlffjax.errors import TrainingError
from mlffjax.graphs.batching import Shape
from mlffjax.structures.system import System
from mlffjax.training.batches import Batch, Sample, padded
from mlffjax.training.workers import answers, helpers

FORMAT = 1
"""To be raised when records of equal digest would differ."""
FILE_BYTES = 2**23
"""Size of a file, about; this much is lost if preparation is killed, by each process."""
WORTHWHILE = 8
"""Files to write from which on more processes than one are started; each takes seconds to start."""


class Layout(NamedTuple):
    """What decides how a structure is written."""

    elements: tuple[int, ...]  # atomic numbers the potential knows, in its order
    cutoff: float  # Å
    shapes: tuple[Shape, ...]
    precision: str

    def folder(self, directory: Path) -> Path:
        """Where files of this layout are, below a directory."""
        numbers = [list(shape) for shape in self.shapes]
        name = fingerprint(FORMAT, list(self.elements), self.cutoff, numbers, self.precision)
        return directory / name


class Shard(NamedTuple):
    """A file of records of one shape."""

    path: Path
    shape: int  # number of the shape in the layout
    start: int  # bytes before the first record
    digests: np.ndarray  # u1 [records, 16]


class _Task(NamedTuple):
    """Samples that one process writes at once."""

    folder: Path
    layout: Layout
    members: tuple[Sample, ...]
    positions: tuple[int, ...]


def prepare(members: Sequence[Sample], layout: Layout, directory: Path) -> list[Shard]:
    """Write what is not yet there of the samples; all files of the layout afterwards.

    Processes that prepare the same data at the same time take turns; the later ones find the work
    done.

    Raises:
        TrainingError: the directory cannot be written, or the disk has no space left.
        CapacityError: a structure fits into none of the shapes.
        CompatibilityError: a structure holds an element that is not among ``layout.elements``.
    """
    folder = layout.folder(directory)
    with _named(directory), _alone(folder):
        shards = read_shards(folder, layout)
        known = {row.tobytes() for shard in shards for row in shard.digests}
        missing: dict[bytes, int] = {}
        for position, sample in enumerate(members):
            name = digest(sample)
            if name not in known:
                missing.setdefault(name, position)
        if not missing:
            return shards
        wanted = sorted(missing.values())
        _require_space(folder, sum(record_bytes(members[i], layout) for i in wanted))
        tasks = _tasks(folder, members, wanted, layout)
        answers(_pack, tasks, helpers() if len(tasks) >= WORTHWHILE else 1)
        return read_shards(folder, layout)


def read_shards(folder: Path, layout: Layout) -> list[Shard]:
    """All files of a folder that are whole; damaged ones count as absent."""
    found = (_open(path, layout) for path in sorted(folder.glob("*.rows")))
    return [shard for shard in found if shard is not None]


def digest(sample: Sample) -> bytes:
    """Sixteen bytes that name what is written of a sample."""
    content = hashlib.sha256()
    for array in (*sample.system, sample.forces, sample.stress):
        plain = None if array is None else np.ascontiguousarray(array)
        content.update(b"none" if plain is None else str((plain.dtype, plain.shape)).encode())
        content.update(b"" if plain is None else plain.tobytes())
    return content.digest()[:16]


def record_bytes(sample: Sample, layout: Layout) -> int:
    """Bytes of a sample on disk, which are about those in memory; by its number of atoms."""
    atoms = len(sample.system.numbers)
    fitting = [shape for shape in layout.shapes if shape.atoms >= atoms]
    if not fitting:
        return 0  # to be refused when it is padded, with its number
    shape = min(fitting, key=lambda shape: shape.atoms * shape.slots)
    return record_type(layout, layout.shapes.index(shape)).itemsize


@functools.cache
def record_type(layout: Layout, number: int) -> np.dtype:
    """Type of the records of a shape."""
    named = trees.names(template(layout, number))
    return np.dtype([(name, leaf.dtype, leaf.shape) for name, leaf in named.items()])


@functools.cache
def template(layout: Layout, number: int) -> Batch:
    """A record of a shape as a tree: a lone atom."""
    atom = np.array(layout.elements[:1], np.int32)
    system = System(np.zeros((1, 3)), atom, np.zeros((3, 3)), np.zeros(3, bool))
    shape = layout.shapes[number]
    sample = Sample(system, None, np.zeros((1, 3)), None)
    return _kept(
        padded(sample, 0, layout.elements, layout.cutoff, [shape], dtype=layout.precision)[1]
    )


def _kept(row: Batch) -> Batch:
    """What is written of a padded sample; the rest differs between runs."""
    return row._replace(energy=(), weight=(), has_energy=(), head=())


def _tasks(
    folder: Path, members: Sequence[Sample], wanted: Sequence[int], layout: Layout
) -> list[_Task]:
    """Cut the work into files of about equal size."""
    tasks: list[_Task] = []
    chosen: list[int] = []
    filled = 0
    for position in wanted:
        chosen.append(position)
        filled += record_bytes(members[position], layout)
        if filled >= FILE_BYTES or position == wanted[-1]:
            own = tuple(members[i] for i in chosen)
            tasks.append(_Task(folder, layout, own, tuple(chosen)))
            chosen, filled = [], 0
    return tasks


def _pack(task: _Task) -> None:
    """Write the samples of a task, one file per shape that occurs."""
    layout = task.layout
    rows: dict[int, list[tuple[bytes, Batch]]] = {}
    for sample, position in zip(task.members, task.positions, strict=True):
        shape, row = padded(
            sample, position, layout.elements, layout.cutoff, layout.shapes, dtype=layout.precision
        )
        rows.setdefault(layout.shapes.index(shape), []).append((digest(sample), _kept(row)))
    for number, entries in rows.items():
        digests = np.frombuffer(b"".join(name for name, _ in entries), np.uint8).reshape(-1, 16)
        records = np.zeros(len(entries), record_type(layout, number))
        for place, (_, row) in enumerate(entries):
            for name, leaf in zip(records.dtype.names or (), jax.tree.leaves(row), strict=True):
                records[name][place] = leaf
        buffer = io.BytesIO()
        np.save(buffer, digests)
        np.save(buffer, records)
        name = hashlib.sha256(digests.tobytes()).hexdigest()[:16]
        durable.write_bytes(task.folder / f"{number}-{name}.rows", buffer.getvalue())


def _open(path: Path, layout: Layout) -> Shard | None:
    try:
        number = int(path.name.partition("-")[0])
        with path.open("rb") as file:
            digests = np.load(file)
            np.lib.format.read_magic(file)
            shape, _, kind = np.lib.format.read_array_header_1_0(file)
            start = file.tell()
            size = os.fstat(file.fileno()).st_size
    except (OSError, ValueError, EOFError):
        return None
    expected = record_type(layout, number) if number < len(layout.shapes) else None
    whole = kind == expected and shape == (len(digests),)
    if not whole or size != start + len(digests) * kind.itemsize:
        return None
    return Shard(path, number, start, digests)


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise TrainingError(
            f"{folder}: expected {needed / 1e9:.3g} GB of disk space for the prepared training "
            f"data, got {free / 1e9:.3g} GB; free some, name another training.storage_directory, "
            "or set training.storage to memory"
        )


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process prepares data in the folder, which is made if need be."""
    import fcntl  # which Windows lacks, where training from memory is to work

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released with the file, whatever ends the process
        for leftover in folder.glob(".*.tmp"):  # of a process that was killed
            leftover.unlink()
        yield


@contextlib.contextmanager
def _named(directory: Path) -> Iterator[None]:
    """Say what to do when the disk refuses."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        problem = "the disk is full" if full else f"it cannot be written ({error.strerror})"
        raise TrainingError(
            f"{directory}: expected a place for prepared training data, but {problem}; "
            "what is written stays: make room or get permission and start again, name another "
            "training.storage_directory, or set training.storage to memory"
        ) from error
