"""Batches from disk, read by a thread ahead of their use."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from mlffjax.errors import TrainingError
from mlffjax.training import shards
from mlffjax.training.batches import Batch, Draw, Sample, in_order, join, shuffled
from mlffjax.training.feed import Placed, count_steps, positions
from mlffjax.training.shards import Layout, Shard

AHEAD = 4
"""Batches that wait on the host for their turn."""


class _Bucket(NamedTuple):
    """Where the samples of one shape are."""

    index: np.ndarray  # i4 [samples], positions, ascending
    file: np.ndarray  # i4 [samples], number of the shard
    row: np.ndarray  # i4 [samples], number of the record in it


class Streamed:
    """Samples on disk; of each, energy, weight and head are in memory.

    It hands out the same batches, bit by bit, as ``feed.Resident`` of the same samples.
    """

    def __init__(
        self,
        members: Sequence[Sample],
        layout: Layout,
        directory: Path,
        *,
        owner: object = None,
    ) -> None:
        """Prepare what is missing of the samples in the directory; see ``shards.prepare``.

        Args:
            members: the samples.
            layout: how they are padded.
            directory: where files are looked for and written.
            owner: kept as long as the feed, such as what removes the directory at its own end.
        """
        self._owner = owner
        self._layout = layout
        self._shards = shards.prepare(members, layout, directory)
        self._buckets, self._shapes = _locate(members, self._shards)
        energies = [0.0 if sample.energy is None else sample.energy for sample in members]
        self._energy = np.array(energies, layout.precision)
        self._weight = np.array([sample.weight for sample in members], layout.precision)
        self._has_energy = np.array([sample.energy is not None for sample in members])
        self._head = np.array([sample.head for sample in members], np.int32)

    def __len__(self) -> int:
        return len(self._energy)

    def steps(self, batch: int) -> int:
        """Number of batches of an epoch."""
        return count_steps(self._buckets, batch)

    def epoch(self, batch: int, *, seed: int, number: int, skip: int = 0) -> Iterator[Batch]:
        """All samples once, shuffled; see ``feed.Feed``."""
        draws = shuffled(self._buckets, batch, seed=seed, epoch=number)[skip:]
        return (placed.batch for placed in self._batches(draws))

    def in_order(self, batch: int) -> Iterator[Placed]:
        """All samples once, shape by shape."""
        return self._batches(in_order(self._buckets, batch))

    def _batches(self, draws: Sequence[Draw]) -> Iterator[Placed]:
        # The thread only reads: switches of JAX such as its precision belong to the calling one.
        reader = ThreadPoolExecutor(1, thread_name_prefix="training-data")
        coming = iter(draws)
        waiting: deque[tuple[Draw, Future[Batch]]] = deque()
        try:
            while True:
                while len(waiting) < AHEAD and (draw := next(coming, None)) is not None:
                    waiting.append((draw, reader.submit(self._read, draw)))
                if not waiting:
                    return
                draw, rows = waiting.popleft()
                batch = join(jax.device_put(rows.result()), draw.rows >= 0)
                yield Placed(batch, positions(self._buckets, draw))
        finally:
            reader.shutdown(cancel_futures=True)

    def _read(self, draw: Draw) -> Batch:
        """Rows of a draw, stacked, with NumPy leaves; empty places repeat the first sample."""
        bucket, number = self._buckets[draw.bucket], self._shapes[draw.bucket]
        rows = np.maximum(draw.rows, 0)
        records = np.empty(len(rows), shards.record_type(self._layout, number))
        content = records.view(np.uint8).reshape(len(rows), records.itemsize)
        for place, row in enumerate(rows):
            _read_record(self._shards[bucket.file[row]], int(bucket.row[row]), content[place])
        template = shards.template(self._layout, number)
        leaves = [np.ascontiguousarray(records[name]) for name in records.dtype.names or ()]
        chosen = bucket.index[rows][:, None]
        return jax.tree.unflatten(jax.tree.structure(template), leaves)._replace(
            energy=self._energy[chosen],
            weight=self._weight[chosen],
            has_energy=self._has_energy[chosen],
            head=self._head[chosen],
        )


def _locate(members: Sequence[Sample], files: Sequence[Shard]) -> tuple[list[_Bucket], list[int]]:
    """Places of the samples, shape by shape, and the numbers of the shapes that occur."""
    places = {
        name.tobytes(): (shard.shape, file, row)
        for file, shard in enumerate(files)
        for row, name in enumerate(shard.digests)
    }
    found = np.array([places[shards.digest(sample)] for sample in members], np.int32)
    numbers = sorted(set(found[:, 0].tolist()))
    buckets = []
    for number in numbers:
        index = np.flatnonzero(found[:, 0] == number).astype(np.int32)
        buckets.append(_Bucket(index, found[index, 1], found[index, 2]))
    return buckets, numbers


def _read_record(shard: Shard, row: int, content: np.ndarray) -> None:
    try:
        with open(shard.path, "rb", buffering=0) as file:
            file.seek(shard.start + row * content.nbytes)
            done = 0
            while done < content.nbytes and (more := file.readinto(content[done:].data)):
                done += more
    except OSError as error:
        raise TrainingError(
            f"{shard.path}: expected prepared training data, but they cannot be read "
            f"({error.strerror}); keep the directory while a run uses it, and start again"
        ) from error
    if done < content.nbytes:
        raise TrainingError(
            f"{shard.path}: expected {content.nbytes} bytes of record {row}, got {done}; the file "
            "was cut short: remove it and start again"
        )
