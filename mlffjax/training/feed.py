"""Where training and scoring get their batches: memory, disk or a single pass; the same batches.

A feed holds samples padded to a few shapes. Which of them meet in a batch is drawn from seed and
epoch by ``batches.shuffled``, whatever the feed, so a run gives the same bits from memory and from
disk.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

from mlffjax import trees
from mlffjax.graphs.batching import Shape
from mlffjax.training.batches import (
    EMPTY,
    Batch,
    Bucket,
    Draw,
    Indexed,
    Sample,
    gather,
    in_order,
    join,
    padded,
    shuffled,
)


class Placed(NamedTuple):
    """A batch and where its structures stand in the sequence the feed was made from."""

    batch: Batch
    positions: np.ndarray  # i4 [structures], ``EMPTY`` where there is none


@runtime_checkable
class Ordered(Protocol):
    """Samples in fixed shapes, handed out once, in batches on the device."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def in_order(self, batch: int) -> Iterator[Placed]:
        """All samples once; those of a batch have one shape and ascending positions."""
        ...


@runtime_checkable
class Feed(Ordered, Protocol):
    """Samples that can be trained on."""

    def steps(self, batch: int) -> int:
        """Number of batches of an epoch."""
        ...

    def epoch(self, batch: int, *, seed: int, number: int, skip: int = 0) -> Iterator[Batch]:
        """All samples once, in batches that depend on seed and number only.

        Args:
            batch: structures per batch; missing ones are masked.
            seed: of the run.
            number: of the epoch.
            skip: so many batches at the beginning are left out, unread.
        """
        ...


class Resident:
    """Samples that lie on the device, all at once."""

    def __init__(self, buckets: Sequence[Bucket]) -> None:
        self.buckets = tuple(buckets)

    def __len__(self) -> int:
        return sum(len(bucket.index) for bucket in self.buckets)

    def steps(self, batch: int) -> int:
        """Number of batches of an epoch."""
        return count_steps(self.buckets, batch)

    def epoch(self, batch: int, *, seed: int, number: int, skip: int = 0) -> Iterator[Batch]:
        """All samples once, shuffled; see ``Feed``."""
        for draw in shuffled(self.buckets, batch, seed=seed, epoch=number)[skip:]:
            yield gather(self.buckets[draw.bucket].rows, draw.rows)

    def in_order(self, batch: int) -> Iterator[Placed]:
        """All samples once, shape by shape."""
        for draw in in_order(self.buckets, batch):
            rows = self.buckets[draw.bucket].rows
            yield Placed(gather(rows, draw.rows), positions(self.buckets, draw))


class Passing:
    """Samples that are padded when their turn comes and then forgotten, for a single look."""

    def __init__(
        self,
        members: Sequence[Sample],
        elements: tuple[int, ...],
        cutoff: float,
        shapes: Sequence[Shape],
        *,
        dtype: Any = np.float32,
    ) -> None:
        """Take what ``batches.collect`` takes; nothing is computed yet."""
        self._members = members
        self._padded = functools.partial(
            padded, elements=elements, cutoff=cutoff, shapes=shapes, dtype=dtype
        )

    def __len__(self) -> int:
        return len(self._members)

    def in_order(self, batch: int) -> Iterator[Placed]:
        """All samples once, in the batches of ``Resident``; those of a shape when it has enough.

        Raises:
            CapacityError: a structure fits into none of the shapes.
            CompatibilityError: a structure holds an element that is not among the given ones.
        """
        waiting: dict[Shape, list[tuple[int, Batch]]] = {}
        for position, sample in enumerate(self._members):
            shape, row = self._padded(sample, position)
            rows = waiting.setdefault(shape, [])
            rows.append((position, row))
            if len(rows) == batch:
                yield _placed(waiting.pop(shape), batch)
        for rows in waiting.values():
            yield _placed(rows, batch)


def _placed(rows: Sequence[tuple[int, Batch]], batch: int) -> Placed:
    index = np.full(batch, EMPTY, np.int32)
    index[: len(rows)] = [position for position, _ in rows]
    filled = [row for _, row in rows] + [rows[0][1]] * (batch - len(rows))
    return Placed(join(jax.device_put(trees.stack(filled)), index >= 0), index)


def count_steps(buckets: Sequence[Indexed], batch: int) -> int:
    """Number of batches it takes to visit every sample of the buckets."""
    return sum(-(-len(bucket.index) // batch) for bucket in buckets)


def positions(buckets: Sequence[Indexed], draw: Draw) -> np.ndarray:
    """Position of each structure of a draw among the samples; i4 [batch], ``EMPTY`` for none."""
    index = buckets[draw.bucket].index
    return np.where(draw.rows >= 0, index[np.maximum(draw.rows, 0)], EMPTY).astype(np.int32)
