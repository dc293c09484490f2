"""Samples that several runs share: each lies on the device once, and every run draws its own rows.

Runs of a sweep mostly learn from the same structures with the same labels. A pool holds every
different sample once; a ``View`` says which rows belong to one run, in the order of that run, so
that it meets exactly the batches it would meet alone.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np

from mlffjax.training.batches import EMPTY, Bucket, Sample, in_order, shuffled

Collect = Callable[[Sequence[Sample]], tuple[Bucket, ...]]


class View(NamedTuple):
    """The part of a pool that belongs to one run; one entry for every bucket it would have alone.

    Several entries are of one bucket of the pool if that holds all structures in a single shape.
    """

    numbers: tuple[int, ...]  # of the buckets in the pool
    rows: tuple[np.ndarray, ...]  # i4, of those buckets, in the order of the run's samples
    index: tuple[np.ndarray, ...]  # i4, positions of the same rows among the run's samples


class Draws(NamedTuple):
    """Batches to come, of one run or stacked."""

    bucket: np.ndarray  # i4 [..., steps]
    rows: np.ndarray  # i4 [..., steps, batch], ``EMPTY`` where there is no structure
    steps: np.ndarray  # i4 [...], how many of the entries count


def labels_and_structure(sample: Sample) -> Hashable:
    """Equal for samples from which a run learns the same.

    Arrays are compared by identity: equal copies are kept twice, which costs memory only.
    """
    labels = (id(sample.forces), id(sample.stress), sample.energy, sample.weight, sample.head)
    return structure(sample), labels


def structure(sample: Sample) -> tuple[int, ...]:
    """Equal for samples of one structure, whatever the labels."""
    return tuple(map(id, sample.system))


def pooled(
    runs: Sequence[Sequence[Sample]],
    collect: Collect,
    *,
    same: Callable[[Sample], Hashable],
    into_one: Collect | None = None,
) -> tuple[tuple[Bucket, ...], tuple[View, ...]]:
    """Every different sample once, and a view for every run.

    Args:
        runs: the samples of each run, in its order.
        collect: ``batches.collect`` with everything but the samples given.
        same: a key that is equal for samples which are to be kept once.
        into_one: the same for a single shape that holds all samples. The pool then has one bucket,
            but batches still hold structures of one of the shapes of ``collect``.
    """
    places: dict[Hashable, int] = {}
    kept: list[Sample] = []
    positions = []
    for samples in runs:
        for sample in samples:
            if same(sample) not in places:
                places[same(sample)] = len(kept)
                kept.append(sample)
        positions.append(np.array([places[same(sample)] for sample in samples], np.int32))
    buckets = collect(kept)
    shape_of, row_of = _where(buckets, len(kept))
    views = [_view(shape_of[own], row_of[own]) for own in positions]
    if into_one is None or len(buckets) == 1:
        return buckets, tuple(views)
    single = into_one(kept)
    _, row_of = _where(single, len(kept))
    return single, tuple(
        View((0,) * len(view.numbers), tuple(row_of[own[i]] for i in view.index), view.index)
        for view, own in zip(views, positions, strict=True)
    )


def _where(buckets: Sequence[Bucket], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Number of the bucket and row in it of every sample."""
    number, row = (np.empty(count, np.int32) for _ in range(2))
    for index, bucket in enumerate(buckets):
        number[bucket.index] = index
        row[bucket.index] = np.arange(len(bucket.index))
    return number, row


def _view(buckets: np.ndarray, rows: np.ndarray) -> View:
    numbers = tuple(int(number) for number in np.unique(buckets))
    index = tuple(np.flatnonzero(buckets == number).astype(np.int32) for number in numbers)
    return View(numbers, tuple(rows[chosen] for chosen in index), index)


def count_steps(view: View, batch: int) -> int:
    """Batches in an epoch of the run."""
    return sum(-(-len(rows) // batch) for rows in view.rows)


def epoch(
    pool: Sequence[Bucket], view: View, batch: int, *, seed: int, number: int, skip: int = 0
) -> Draws:
    """The batches of an epoch, as ``batches.shuffled`` gives them to a run that is alone.

    The first ``skip`` are left out.
    """
    own = [Bucket(pool[b].rows, rows) for b, rows in zip(view.numbers, view.rows, strict=True)]
    draws = shuffled(own, batch, seed=seed, epoch=number)[skip:]
    return Draws(
        bucket=np.array([view.numbers[draw.bucket] for draw in draws], np.int32),
        rows=_stacked([_in_pool(view, draw.bucket, draw.rows) for draw in draws], batch),
        steps=np.array(len(draws), np.int32),
    )


def everything(pool: Sequence[Bucket], view: View, batch: int) -> tuple[Draws, ...]:
    """All samples of a run in order, for every bucket of the pool apart; some may be empty."""
    own = [Bucket(pool[b].rows, rows) for b, rows in zip(view.numbers, view.rows, strict=True)]
    draws = in_order(own, batch)
    made = []
    for number in range(len(pool)):
        rows = [_in_pool(view, d.bucket, d.rows) for d in draws if view.numbers[d.bucket] == number]
        made.append(
            Draws(
                bucket=np.full(len(rows), number, np.int32),
                rows=_stacked(rows, batch),
                steps=np.array(len(rows), np.int32),
            )
        )
    return tuple(made)


def joined(draws: Sequence[Draws], steps: int) -> Draws:
    """Draws of several runs along a leading axis, filled up to a number of steps."""

    def filled(array: np.ndarray, value: int) -> np.ndarray:
        missing = np.full((steps - len(array), *array.shape[1:]), value, np.int32)
        return np.concatenate([array, missing])

    return Draws(
        bucket=np.stack([filled(entry.bucket, 0) for entry in draws]),
        rows=np.stack([filled(entry.rows, EMPTY) for entry in draws]),
        steps=np.stack([entry.steps for entry in draws]),
    )


def _stacked(rows: Sequence[np.ndarray], batch: int) -> np.ndarray:
    """Also none at all."""
    return np.array(rows, np.int32).reshape(-1, batch)


def _in_pool(view: View, bucket: int, rows: np.ndarray) -> np.ndarray:
    return np.where(rows >= 0, view.rows[bucket][np.maximum(rows, 0)], EMPTY).astype(np.int32)
