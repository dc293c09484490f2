import gc
import threading
import time

import jax
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.errors import TrainingError
from mlffjax.training import shards, storage, stream
from mlffjax.training.batches import EMPTY, collect, plan, samples
from mlffjax.training.config import LossConfig, TrainingConfig
from mlffjax.training.feed import Feed, Resident
from mlffjax.training.fit import fit
from mlffjax.training.metrics import predict
from mlffjax.training.recipe import all_weights, standard
from mlffjax.training.shards import Layout
from mlffjax.training.stream import Streamed


@pytest.fixture(scope="module")
def members(frames, truth):
    """With every label missing somewhere, and unequal weights and heads."""
    bare = [frames[0]._replace(energy=None), frames[1]._replace(stress=None), *frames[2:]]
    return [
        sample._replace(weight=1.0 + number, head=number % 2)
        for number, sample in enumerate(samples(bare, truth))
    ]


@pytest.fixture(scope="module", params=["float32", "float64"])
def layout(request, frames, truth):
    shapes = plan([frame.system for frame in frames], truth.cutoff, most=3)
    return Layout(truth.elements, truth.cutoff, shapes, request.param)


@pytest.fixture(scope="module")
def resident(members, layout):
    elements, cutoff, shapes, precision = layout
    return Resident(collect(members, elements, cutoff, shapes, dtype=precision))


@pytest.fixture(scope="module")
def streamed(members, layout, tmp_path_factory):
    return Streamed(members, layout, tmp_path_factory.mktemp("prepared"))


def same(first, second):
    for name, leaf in trees.names(first).items():
        other = trees.names(second)[name]
        assert isinstance(other, jax.Array)
        assert leaf.dtype == other.dtype
        np.testing.assert_array_equal(leaf, other, err_msg=name)


@pytest.mark.parametrize("batch", [1, 4])
def test_disk_hands_out_the_batches_of_memory(resident, streamed, batch):
    """Bit by bit, types and masks of empty places included."""
    assert isinstance(streamed, Feed)
    assert len(streamed) == len(resident) == 11
    assert streamed.steps(batch) == resident.steps(batch)
    for number in (1, 2):
        ours = list(streamed.epoch(batch, seed=3, number=number))
        theirs = list(resident.epoch(batch, seed=3, number=number))
        assert len(ours) == len(theirs) == streamed.steps(batch)
        for one, other in zip(theirs, ours, strict=True):
            same(one, other)
    for one, other in zip(resident.in_order(batch), streamed.in_order(batch), strict=True):
        same(one.batch, other.batch)
        np.testing.assert_array_equal(one.positions, other.positions)


def test_positions_tell_where_a_structure_stood(streamed, members):
    seen = [int(i) for placed in streamed.in_order(4) for i in placed.positions]
    assert sorted(seen) == [EMPTY] * 5 + list(range(len(members)))  # 6 + 5 in batches of 4
    for placed in streamed.in_order(4):
        for place, position in enumerate(placed.positions):
            expected = 0.0 if position == EMPTY else members[position].weight
            assert float(placed.batch.weight[place]) == expected


def test_skipped_batches_are_not_read(resident, streamed, monkeypatch):
    whole = list(resident.epoch(4, seed=0, number=1))
    read = []
    original = Streamed._read
    monkeypatch.setattr(Streamed, "_read", lambda self, d: read.append(d) or original(self, d))
    for feed in (resident, streamed):
        rest = list(feed.epoch(4, seed=0, number=1, skip=1))
        assert len(rest) == len(whole) - 1
        for one, other in zip(whole[1:], rest, strict=True):
            same(one, other)
    assert len(read) == len(whole) - 1


def test_reading_runs_ahead_and_stops_with_the_reader(streamed, monkeypatch):
    read = []
    original = Streamed._read
    monkeypatch.setattr(Streamed, "_read", lambda self, d: read.append(d) or original(self, d))
    batches = streamed.in_order(1)
    next(batches)
    waiting = [thread for thread in threading.enumerate() if "training-data" in thread.name]
    assert len(waiting) == 1
    end = time.monotonic() + 30
    while len(read) < stream.AHEAD and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.05)  # it would go on at once
    assert len(read) == stream.AHEAD
    batches.close()
    assert not waiting[0].is_alive()
    assert len(read) == stream.AHEAD


def test_predictions_from_disk_equal_those_from_memory(resident, streamed, truth, layout):
    potential = trees.cast(truth, layout.precision)
    ours, theirs = (predict(potential, feed, batch=4) for feed in (streamed, resident))
    np.testing.assert_array_equal(ours.energies, theirs.energies)
    for one, other in zip(ours.forces, theirs.forces, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_training_from_disk_gives_the_bits_of_training_from_memory(
    guess, frames, tmp_path, precision
):
    def run(**choices):
        config = TrainingConfig(
            epochs=3, learning_rate=1e-3, precision=precision, loss=LossConfig(stress=1), **choices
        )
        recipe = standard(*all_weights(guess), config)
        return fit(recipe, frames[:8], frames[8:], config, seed=1, directory=tmp_path)

    memory, disk = run(storage="memory"), run(storage="disk")
    for one, other in zip(*(jax.tree.leaves(f.potential) for f in (memory, disk)), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    assert memory.best.number > 0
    for one, other in zip(memory.history, disk.history, strict=True):
        assert one._replace(seconds=0) == other._replace(seconds=0)
    assert memory.notes == ()
    assert "read from disk" in disk.notes[0]
    assert list(tmp_path.glob("*/*.rows"))


def test_runs_with_other_reference_energies_share_the_files(members, layout, streamed, tmp_path):
    first = Streamed(members, layout, tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.rows")}
    other = [member._replace(energy=7.0, weight=0.5, head=3) for member in members[2:]]
    second = Streamed(other, layout, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.rows")} == files
    assert len(first) == 11
    batch = next(iter(second.in_order(4))).batch
    assert set(np.asarray(batch.energy)) == {7.0}
    assert set(np.asarray(batch.weight)) == {0.5}
    assert set(np.asarray(batch.head)) == {3}


def test_one_structure_with_two_sets_of_labels_is_two(members, layout, tmp_path):
    doubled = [members[3], members[3]._replace(forces=2 * members[3].forces, head=1), members[3]]
    batch = next(iter(Streamed(doubled, layout, tmp_path).in_order(3))).batch
    forces = np.asarray(batch.forces).reshape(3, 4, 3)
    np.testing.assert_allclose(forces[1], 2 * forces[0], rtol=1e-6)
    np.testing.assert_array_equal(forces[2], forces[0])


def test_files_that_vanish_or_shrink_are_named(members, layout, tmp_path):
    feed = Streamed(members, layout, tmp_path)
    victim = next(tmp_path.glob("*/0-*.rows"))
    content = victim.read_bytes()
    victim.write_bytes(content[: len(content) // 2])
    with pytest.raises(TrainingError, match=r"rows: expected \d+ bytes of record"):
        list(feed.in_order(4))
    victim.unlink()
    with pytest.raises(TrainingError, match="rows: expected prepared training data"):
        list(feed.in_order(4))
    again = Streamed(members, layout, tmp_path)
    assert sum(1 for _ in again.in_order(4)) == 4


def config(**choices):
    return TrainingConfig(**choices)


def test_auto_takes_memory_while_there_is_enough(members, layout, tmp_path, monkeypatch):
    def opened(choice, free):
        monkeypatch.setattr(storage, "room", lambda: free)
        sets = members[:6], members[6:]
        feeds, notes = storage.open_feeds(sets, layout, config(storage=choice), tmp_path)
        return [type(feed) for feed in feeds], len(notes)

    needed = sum(shards.record_bytes(member, layout) for member in members)
    assert opened("auto", needed) == ([Resident] * 2, 0)
    assert opened("auto", needed - 1.0) == ([Streamed] * 2, 1)
    assert opened("auto", 0.0) == ([Streamed] * 2, 1)
    assert opened("memory", 0.0) == ([Resident] * 2, 0)
    assert opened("disk", 1e15) == ([Streamed] * 2, 1)


def test_estimate_is_what_memory_holds(members, layout, resident):
    held = sum(leaf.nbytes for b in resident.buckets for leaf in jax.tree.leaves(b.rows))
    estimate = sum(shards.record_bytes(member, layout) for member in members)
    assert estimate == pytest.approx(held, rel=0.01)  # energy, weight and head are not in records


def test_temporary_directory_goes_with_the_feeds(members, layout, tmp_path, monkeypatch):
    monkeypatch.setattr(storage.tempfile, "tempdir", str(tmp_path))
    (first, second), _ = storage.open_feeds((members, members), layout, config(storage="disk"))
    folder = next(tmp_path.iterdir())
    del first
    gc.collect()
    assert sum(1 for _ in second.in_order(4)) == 4
    del second
    gc.collect()
    assert not folder.exists()


def test_configured_directory_is_used_and_kept(members, layout, tmp_path):
    settings = config(storage="disk", storage_directory=str(tmp_path / "kept"))
    feeds, _ = storage.open_feeds((members,), layout, settings)
    del feeds
    gc.collect()
    assert list((tmp_path / "kept").glob("*/*.rows"))


def test_memory_that_is_free_is_measured():
    with open("/proc/meminfo") as file:
        total = 1024 * int(file.readline().split()[1])
    assert 0 < storage._free_on_host() <= total
    assert 0 < storage.room() <= storage.HOST_SHARE * total
    assert all(free >= 0 for free in storage._free_in_groups())
