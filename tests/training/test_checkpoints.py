import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from training import small_run

from mlffjax import durable
from mlffjax.errors import CompatibilityError
from mlffjax.training import checkpoints
from mlffjax.training import fit as loop
from mlffjax.training.checkpoints import Keeper, differences, is_kept

# Eleven frames of two sizes in batches of four: 2 + 2 steps an epoch.
EVENTS = 4 * small_run.CONFIG.epochs


class Interruption(Exception):
    """What the observer raises to end a run in the middle."""


@pytest.fixture(scope="module")
def undisturbed():
    return small_run.bits(small_run.run())


@pytest.fixture(autouse=True)
def look_after_every_step(monkeypatch):
    monkeypatch.setattr(loop, "PEEK", 1)


def interrupted(directory: Path, event: int, config=small_run.CONFIG) -> Keeper:
    """A keeper of a run that ended with the given event."""
    seen = []

    def observe(progress):
        seen.append(progress)
        if len(seen) == event:
            raise Interruption

    keeper = Keeper(directory)
    with pytest.raises(Interruption):
        small_run.run(config, observe, keeper)
    return keeper


@pytest.mark.parametrize("event", [1, 2, 4, 5, 11, EVENTS])
def test_interrupted_run_continues_to_the_same_bits(event, tmp_path, undisturbed):
    """In the middle of epochs and at their ends, with history, best weights and optimizer."""
    interrupted(tmp_path, event)
    # What happened since the last step that was kept is lost: the event interrupts before keeping.
    assert is_kept(tmp_path) == (event > 1)
    events = []
    fitted = small_run.run(observe=events.append, keeper=Keeper(tmp_path))
    assert small_run.bits(fitted) == undisturbed
    assert len(events) == EVENTS - (event - 1)


def test_run_killed_several_times_ends_with_the_same_bits(tmp_path, undisturbed):
    """Programs that get SIGKILL, wherever they are: stepping, scoring, writing."""
    out, kept = tmp_path / "out.json", tmp_path / "kept"
    command = [sys.executable, small_run.__file__, str(out), str(kept)]
    steps = []
    for lines in (3, 6, 4):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(lines)]
        process.kill()  # SIGKILL
        rest = process.communicate()[0].splitlines()
        assert "done" not in rest
        steps.append(len(seen) + len(rest))
        assert not out.exists()
    subprocess.run(command, check=True, capture_output=True)
    assert json.loads(out.read_text()) == undisturbed


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty", "foreign"])
def test_damaged_file_means_going_back_to_the_one_before(harm, tmp_path, undisturbed):
    interrupted(tmp_path, 7)
    newest = max(tmp_path.iterdir())
    content = bytearray(newest.read_bytes())
    if harm == "cut":
        newest.write_bytes(content[: len(content) // 2])
    elif harm == "flipped":  # the last bit of a weight, where only a checksum tells
        with np.load(newest) as arrays:
            weight = arrays[arrays.files[-1]].tobytes()
        content[content.rindex(weight)] ^= 1
        newest.write_bytes(content)
    else:
        newest.write_bytes(b"" if harm == "empty" else b"something else")
    events = []
    with pytest.warns(RuntimeWarning, match="going back to what was kept before"):
        fitted = small_run.run(observe=events.append, keeper=Keeper(tmp_path))
    assert small_run.bits(fitted) == undisturbed
    assert len(events) == EVENTS - 5  # one more than without the damage


def test_two_files_are_kept_and_none_after_clearing(tmp_path):
    keeper = interrupted(tmp_path / "kept", 9)
    (tmp_path / "kept" / ".000.npz.1.tmp").write_bytes(b"left by a process that was killed")
    assert len(list((tmp_path / "kept").glob("*.npz"))) == checkpoints.KEPT
    keeper.clear()
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 2e-4}, r"learning_rate was 0\.0001 and is now 0\.0002"),
        ({"epochs": 5}, r"training\.epochs was 4 and is now 5"),
        ({"ema": None}, r"training\.ema was 0\.99 and is now None"),
    ],
)
def test_other_settings_are_refused_with_the_difference(change, message, tmp_path):
    interrupted(tmp_path, 3)
    with pytest.raises(CompatibilityError, match=message):
        small_run.run(small_run.CONFIG.model_copy(update=change), keeper=Keeper(tmp_path))


def test_another_run_may_be_dropped_with_a_warning_and_a_note(tmp_path):
    interrupted(tmp_path, 3)
    keeper = Keeper(tmp_path, begin_again=True)
    events = []
    with pytest.warns(RuntimeWarning, match="training_frames was"):
        small_run.run(observe=events.append, keeper=keeper, count=10)
    assert (events[0].epoch, events[0].step) == (1, 1)
    (note,) = keeper.notes
    assert "began again" in note


def test_other_frames_are_refused(tmp_path):
    interrupted(tmp_path, 3)
    with pytest.raises(CompatibilityError, match="training_frames was"):
        small_run.run(keeper=Keeper(tmp_path), count=10)


def test_how_a_run_is_executed_may_change(tmp_path, undisturbed):
    interrupted(tmp_path, 3)
    changed = {"checkpoint_seconds": 1.0, "storage": "memory", "max_seconds": 1e6}
    fitted = small_run.run(small_run.CONFIG.model_copy(update=changed), keeper=Keeper(tmp_path))
    assert small_run.bits(fitted) == undisturbed


def test_times_go_on_without_the_interruption(tmp_path, monkeypatch):
    """The clock of a continued run starts where the killed one was, for limits and history."""
    interrupted(tmp_path, 9)  # epoch 3 has just begun
    keeper = Keeper(tmp_path)
    fitted = small_run.run(keeper=keeper)
    seconds = [epoch.seconds for epoch in fitted.history]
    assert seconds == sorted(seconds)
    assert 0 < keeper.spent < seconds[3]
    assert seconds[2] <= keeper.spent
    interrupted(tmp_path / "other", 9)
    limited = small_run.CONFIG.model_copy(update={"max_seconds": 1e-3})
    fitted = small_run.run(limited, keeper=Keeper(tmp_path / "other"))
    assert len(fitted.history) == 3  # what was spent before counts


def test_nothing_is_written_before_its_time(tmp_path):
    rare = small_run.CONFIG.model_copy(update={"checkpoint_seconds": 60.0})
    small_run.run(rare, keeper=Keeper(tmp_path / "kept"))
    assert not (tmp_path / "kept").exists()


def test_writing_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])

    def slow(path, content):
        now[0] += 3.0

    monkeypatch.setattr(durable, "write_bytes", slow)
    keeper = Keeper(tmp_path)
    assert not keeper.due(10.0)
    now[0] = 10.0
    assert keeper.due(10.0)
    snapshot = _snapshot()
    keeper.keep(snapshot, {})
    now[0] += 10.0
    assert not keeper.due(10.0)  # three seconds of writing want a longer break
    now[0] += 3.0 / checkpoints.SHARE
    assert keeper.due(10.0)


def test_full_disk_does_not_end_the_training(tmp_path, undisturbed, monkeypatch):
    def fails(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "write_bytes", fails)
    with pytest.warns(RuntimeWarning, match="could not be kept .*No space left"):
        fitted = small_run.run(keeper=Keeper(tmp_path))
    assert small_run.bits(fitted) == undisturbed


def test_differences_are_named_with_both_values():
    known = {"a": {"b": 1, "c": 2}, "d": [1]}
    assert differences(known, known) == []
    assert differences(known, {"a": {"b": 3, "c": 2}, "d": [1, 2], "e": 0}) == [
        "a.b was 1 and is now 3",
        "d was [1] and is now [1, 2]",
        "e was None and is now 0",
    ]


def _snapshot():
    zero = np.zeros(())
    state = checkpoints.State({"w": zero}, {"w": zero}, (), np.zeros((), np.int32), zero)
    return checkpoints.Snapshot(state, checkpoints.Course((), None, {"w": zero}), 0, 0.0)
