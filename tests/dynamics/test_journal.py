import os
import subprocess
import sys

import numpy as np
import pytest

from mlffjax.dynamics import journal
from mlffjax.dynamics.journal import Transaction
from mlffjax.errors import InputError


@pytest.fixture
def path(tmp_path, rng):
    """A file of two and a half pages."""
    path = tmp_path / "data.bin"
    path.write_bytes(rng.bytes(10_000))
    return path


def changes(rng, size, count=60):
    """Random writes: inside, across the end, beyond it."""
    for _ in range(count):
        yield int(rng.integers(0, size + 3000)), rng.bytes(int(rng.integers(1, 6000)))


def apply(content, where, data):
    content.extend(bytes(max(0, where + len(data) - len(content))))
    content[where : where + len(data)] = data


def test_reads_see_writes_and_others_see_commits(path, rng):
    expected = bytearray(path.read_bytes())
    with Transaction(path) as change:
        for _ in range(3):
            before = path.read_bytes()
            old = len(expected)
            for where, data in changes(rng, len(expected)):
                change.seek(where)
                change.write(data)
                apply(expected, where, data)
            assert path.read_bytes()[:old] == before[:old]
            for _ in range(50):
                where, length = rng.integers(0, len(expected)), int(rng.integers(1, 9000))
                change.seek(where)
                buffer = bytearray(length)
                change.readinto(buffer)
                found = bytes(expected[where : where + length])
                assert bytes(buffer) == found.ljust(length, b"\0")
            change.commit()
            assert path.read_bytes() == expected
    assert not journal.journal_of(path).exists()


def test_nothing_changes_without_a_commit(path, rng):
    before = path.read_bytes()
    with Transaction(path) as change:
        change.seek(3)
        change.write(rng.bytes(5000))
        change.seek(9_000)
        change.write(rng.bytes(5000))
    assert path.read_bytes()[: len(before)] == before


KILLED = """
import os, signal, sys
from pathlib import Path
from mlffjax.dynamics.journal import Transaction
path, call = Path(sys.argv[1]), int(sys.argv[2])
with Transaction(path) as change:
    for start in (100, 5000, 9000, 20_000):
        change.seek(start)
        change.write(bytes([start % 251]) * 3000)
    count = 0
    def hook(event, args):
        global count
        if event in ("open", "os.rename", "os.remove"):
            count += 1
            if count == call:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    change.commit()
print("done")
"""


def test_killed_at_every_step_of_a_commit(path, tmp_path):
    original = path.read_bytes()
    final = bytearray(original)
    for start in (100, 5000, 9000, 20_000):
        apply(final, start, bytes([start % 251]) * 3000)
    seen = set()
    for call in range(1, 20):
        path.write_bytes(original)
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(path), str(call)], capture_output=True, check=False
        )
        with Transaction(path, writable=False) as view:
            buffer = bytearray(len(final))
            view.readinto(buffer)
        journal.recover(path)
        found = path.read_bytes()
        assert found[: len(original)] in (original, bytes(final[: len(original)]))
        is_final = found == bytes(final)
        assert (bytes(buffer) == bytes(final)) == is_final
        seen.add(is_final)
        assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
        if done.stdout:
            break
    assert seen == {True, False}  # some kills undid the change, some left it to be finished
    assert call > 3


@pytest.mark.parametrize("damage", ["short", "magic", "checksum", "other file"])
def test_a_damaged_or_foreign_journal_is_refused(path, damage, monkeypatch):
    monkeypatch.setattr(journal, "_apply", lambda *_: None)
    with Transaction(path) as change:
        change.write(b"x" * 100)
        change.commit()
    place = journal.journal_of(path)
    content = bytearray(place.read_bytes())
    if damage == "short":
        del content[10:]
    elif damage == "other file":
        os.truncate(path, 5)
    else:
        content[0 if damage == "magic" else -1] ^= 1
    place.write_bytes(bytes(content))
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"unfinished change of data\.bin"):
        journal.recover(path)
    assert path.read_bytes() == before


def test_arrays_can_be_written_and_positions_told(path):
    with Transaction(path) as change:
        assert change.readable()
        assert change.writable()
        assert change.seekable()
        change.write(np.arange(4))  # anything with a buffer
        assert change.tell() == 32
        assert change.seek(-10, os.SEEK_END) == 9_990
        change.truncate(9_995)
        change.commit()
    assert path.stat().st_size == 9_995
