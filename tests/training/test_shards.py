import errno
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from mlffjax import durable
from mlffjax.errors import CapacityError, CompatibilityError, TrainingError
from mlffjax.graphs.batching import Shape
from mlffjax.training import shards
from mlffjax.training.batches import plan, samples
from mlffjax.training.shards import Layout, digest, prepare, read_shards


@pytest.fixture(scope="module")
def members(frames, truth):
    return samples(frames, truth)


@pytest.fixture(scope="module")
def layout(frames, truth):
    shapes = plan([frame.system for frame in frames], truth.cutoff, most=3)
    return Layout(truth.elements, truth.cutoff, shapes, "float32")


def names(files):
    return sorted(row.tobytes() for shard in files for row in shard.digests)


def test_every_sample_is_written_once(members, layout, tmp_path):
    files = prepare(members, layout, tmp_path)
    assert names(files) == sorted(digest(member) for member in members)
    assert {shard.shape for shard in files} == {0, 1}
    assert names(prepare(members, layout, tmp_path)) == names(files)
    assert not list(layout.folder(tmp_path).glob(".*.tmp"))


def test_digest_covers_structure_and_labels_but_not_what_runs_choose(members):
    one = members[0]
    system = one.system
    others = [
        one._replace(system=system._replace(positions=system.positions + 1e-9)),
        one._replace(system=system._replace(numbers=system.numbers + 1)),
        one._replace(system=system._replace(cell=1.001 * system.cell)),
        one._replace(system=system._replace(pbc=~system.pbc)),
        one._replace(forces=-one.forces),
        one._replace(stress=None),
    ]
    assert len({digest(member) for member in (one, *others)}) == 7
    assert digest(one._replace(energy=1.0, weight=2.0, head=3)) == digest(one)


@pytest.mark.parametrize(
    "change",
    [
        {"cutoff": 5.6},
        {"elements": (17, 18)},
        {"precision": "float64"},
        {"shapes": (Shape(8, 32, 1),)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_layouts_have_other_folders(layout, change, tmp_path):
    assert layout._replace(**change).folder(tmp_path) != layout.folder(tmp_path)
    assert layout._replace().folder(tmp_path) == layout.folder(tmp_path)


def test_only_what_is_missing_is_written(members, layout, tmp_path, monkeypatch):
    prepare(members[:7], layout, tmp_path)
    written = []
    original = shards.padded
    monkeypatch.setattr(
        shards, "padded", lambda s, *a, **k: written.append(s) or original(s, *a, **k)
    )
    files = prepare(members, layout, tmp_path)
    assert [digest(sample) for sample in written] == [digest(sample) for sample in members[7:]]
    assert names(files) == sorted(digest(member) for member in members)


@pytest.mark.parametrize("damage", ["cut", "longer", "empty", "other"])
def test_damaged_files_are_written_again(members, layout, tmp_path, damage):
    files = prepare(members, layout, tmp_path)
    victim = files[0].path
    content = victim.read_bytes()
    spoilt = {"cut": content[:-1], "longer": content + b"x", "empty": b"", "other": b"no" * 400}
    victim.write_bytes(spoilt[damage])
    assert len(read_shards(layout.folder(tmp_path), layout)) == len(files) - 1
    assert names(prepare(members, layout, tmp_path)) == names(files)
    assert victim.read_bytes() == content


def test_several_processes_write_what_one_writes(members, layout, tmp_path, monkeypatch):
    """Two processes, a file per structure."""
    one = prepare(members, layout, tmp_path / "one")
    monkeypatch.setattr(shards, "FILE_BYTES", 1)
    monkeypatch.setattr(shards, "helpers", lambda: 2)
    monkeypatch.setattr(
        shards, "padded", lambda *a, **k: pytest.fail("the parent is not to do the work")
    )
    two = prepare(members, layout, tmp_path / "two")
    assert names(two) == names(one)
    assert len(two) == len(members)

    def records(files):
        found = {}
        for shard in files:
            with shard.path.open("rb") as file:
                digests, rows = np.load(file), np.load(file)
            found |= {d.tobytes(): r.tobytes() for d, r in zip(digests, rows, strict=True)}
        return found

    assert records(two) == records(one)


def test_structures_that_fit_nowhere_are_refused_by_number(members, layout, tmp_path):
    small = layout._replace(shapes=(Shape(4, 64, 1),))
    with pytest.raises(CapacityError, match="structure 6 needs 8 atoms"):
        prepare(members, small, tmp_path)
    with pytest.raises(CompatibilityError, match="knows only Kr"):
        prepare(members, layout._replace(elements=(36,)), tmp_path)


def test_directory_that_cannot_be_made_is_named(members, layout, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrainingError, match=r"file/below: expected a place .*storage_directory"):
        prepare(members, layout, tmp_path / "file" / "below")


def test_too_small_a_disk_is_refused_before_any_work(members, layout, tmp_path, monkeypatch):
    usage = os.statvfs(tmp_path)
    monkeypatch.setattr(
        shards.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})()
    )
    with pytest.raises(TrainingError, match=r"disk space .* got 1e-06 GB; free some"):
        prepare(members, layout, tmp_path)
    assert usage is not None
    assert not list(tmp_path.rglob("*.rows"))


def test_a_disk_that_fills_up_keeps_what_is_whole(members, layout, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "FILE_BYTES", 1)
    original = durable.write_bytes
    left = [4]

    def write(path, content):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(path, content)

    monkeypatch.setattr(shards, "WORTHWHILE", 10**9)
    monkeypatch.setattr(durable, "write_bytes", write)
    with pytest.raises(TrainingError, match=r"the disk is full; what is written stays"):
        prepare(members, layout, tmp_path)
    assert len(read_shards(layout.folder(tmp_path), layout)) == 4
    left[0] = 100
    assert names(prepare(members, layout, tmp_path)) == sorted(digest(m) for m in members)


KILLED = """
    import pickle, sys
    from pathlib import Path
    from mlffjax.training import shards
    members, layout, directory = pickle.load(open(sys.argv[1], "rb"))
    shards.FILE_BYTES, shards.helpers = 1, lambda: 2
    print("begin", flush=True)
    shards.prepare(members, layout, directory)
"""


def test_killed_preparation_goes_on_where_it_was(members, layout, tmp_path, rng):
    """SIGKILL to the parent while its two processes write: files are whole or absent."""
    many = [
        member._replace(system=member.system._replace(positions=member.system.positions + shift))
        for member in members
        for shift in rng.uniform(-1, 1, size=(60, 1, 3))
    ]
    question = tmp_path / "question"
    question.write_bytes(pickle.dumps((many, layout, tmp_path / "prepared")))
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(KILLED))
    folder = layout.folder(tmp_path / "prepared")
    command = [sys.executable, script, question]
    with subprocess.Popen(command, start_new_session=True) as process:
        while len(list(folder.glob("*.rows"))) < 20 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    wait_until_quiet(folder, process.pid)
    kept = {shard.path: shard.path.stat().st_mtime_ns for shard in read_shards(folder, layout)}
    assert 20 <= len(kept) < len(many)
    assert len(kept) == len(list(folder.glob("*.rows")))  # none is damaged
    assert names(prepare(many, layout, tmp_path / "prepared")) == sorted(map(digest, many))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def wait_until_quiet(folder: Path, session: int) -> None:
    """Until the orphaned processes have finished their last file and ended."""
    before, since = -1, time.monotonic()
    while time.monotonic() < since + 2.0:  # the dead may stay in the table where nobody reaps them
        count = len(list(folder.iterdir()))
        if count != before:
            before, since = count, time.monotonic()
        try:
            os.killpg(session, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
