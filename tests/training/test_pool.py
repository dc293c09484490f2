import numpy as np
import pytest

from mlffjax.training import pool as pools
from mlffjax.training.batches import EMPTY, collect, plan, samples, shuffled


@pytest.fixture(scope="module")
def runs(frames, guess):
    """Three runs: some cells of both sizes, others in another order, the small ones alone."""
    chosen = ([0, 7, 1, 8, 2], [8, 2, 3, 9], [4, 5])
    return [samples([frames[i] for i in part], guess) for part in chosen]


@pytest.fixture(scope="module")
def place(frames, guess):
    shapes = plan([frame.system for frame in frames], guess.cutoff, most=2)
    assert len(shapes) == 2

    def call(members, shapes=shapes):
        return collect(members, guess.elements, guess.cutoff, shapes, dtype=np.float64)

    return call


@pytest.mark.parametrize("single", [False, True])
def test_every_run_meets_the_batches_it_meets_alone(runs, place, single):
    large = plan([s.system for run in runs for s in run], 5.5, most=1)
    into_one = (lambda members: place(members, large)) if single else None
    buckets, views = pools.pooled(runs, place, same=pools.labels_and_structure, into_one=into_one)
    assert len(buckets) == (1 if single else 2)
    # Eight different samples, although the runs have eleven.
    assert sum(len(bucket.index) for bucket in buckets) == 9
    for run, view in zip(runs, views, strict=True):
        own = place(run)
        alone = shuffled(own, 2, seed=3, epoch=5)
        draws = pools.epoch(buckets, view, 2, seed=3, number=5)
        assert pools.count_steps(view, 2) == len(alone) == draws.steps
        for draw, bucket, rows in zip(alone, draws.bucket, draws.rows, strict=True):
            np.testing.assert_array_equal(draw.rows == EMPTY, rows == EMPTY)
            real = draw.rows[draw.rows >= 0]
            theirs = own[draw.bucket].rows.energy[real]
            np.testing.assert_array_equal(buckets[bucket].rows.energy[rows[rows >= 0]], theirs)
        later = pools.epoch(buckets, view, 2, seed=3, number=5, skip=1)
        np.testing.assert_array_equal(later.rows, draws.rows[1:])
        assert later.steps == draws.steps - 1


def test_all_samples_come_in_order(runs, place):
    buckets, views = pools.pooled(runs, place, same=pools.structure)
    for run, view in zip(runs, views, strict=True):
        for number, draws in enumerate(pools.everything(buckets, view, 2)):
            rows = draws.rows.ravel()
            found = buckets[number].rows.energy[rows[rows >= 0]].ravel()
            index = [i for n, i in zip(view.numbers, view.index, strict=True) if n == number]
            wanted = [run[i].energy for part in index for i in part]
            np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_other_labels_are_other_samples(runs, place):
    changed = [sample._replace(energy=sample.energy + 1.0) for sample in runs[0]]
    members = [runs[0], changed]
    counts = [
        sum(len(bucket.index) for bucket in pools.pooled(members, place, same=same)[0])
        for same in (pools.labels_and_structure, pools.structure)
    ]
    assert counts == [2 * len(runs[0]), len(runs[0])]
