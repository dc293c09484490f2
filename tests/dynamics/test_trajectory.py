import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mlffjax.dynamics import trajectory
from mlffjax.dynamics.journal import journal_of
from mlffjax.dynamics.trajectory import Channel, Writer
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.structures import builders

SYSTEM = builders.bulk()
ATOMS = len(SYSTEM.numbers)
MASSES = np.linspace(50, 130, ATOMS)
CHANNELS = (
    Channel("positions", (ATOMS, 3), "Å", 20),
    Channel("velocities", (ATOMS, 3), "Å/fs", 20),
    Channel("cell", (3, 3), "Å", 10),
    Channel("energy", (), "eV", 5),
    Channel("pressure", (3, 3), "eV/Å³", 10),
)
METADATA = {"ensemble": "npt", "seed": 3}


def sample(channel, steps):
    """Values that depend on name, step and place only."""
    size = int(np.prod(channel.shape))
    base = np.arange(size) / 7 + len(channel.name)
    values = np.sin(base + np.asarray(steps)[:, None] / 3).reshape(len(steps), *channel.shape)
    return values + 5 * SYSTEM.cell if channel.name == "cell" else values


def append(writer, channels, first, last):
    for channel in channels:
        steps = np.arange(0, last + 1, channel.every)
        steps = steps[steps >= first]
        writer.append(channel.name, steps, steps * 0.5, sample(channel, steps))


def write(path, last, channels=CHANNELS, after=None, chunk=40, **options):
    with Writer.open(
        path, SYSTEM, channels, METADATA, after_step=after, masses=MASSES, **options
    ) as writer:
        first = 0 if after is None else after + 1
        for start in range(first, last + 1, chunk):
            append(writer, channels, start, min(start + chunk - 1, last))
            writer.flush()
    return path


def content(path):
    """All samples of a file."""
    found = trajectory.read(path)
    return {
        name: (series.steps, series.times_fs, series[:]) for name, series in found.series.items()
    }


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        for a, b in zip(first[name], second[name], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.h5md"


def test_read_back(path):
    found = trajectory.read(write(path, 400))
    np.testing.assert_array_equal(found.system.positions, SYSTEM.positions)
    np.testing.assert_array_equal(found.system.pbc, SYSTEM.pbc)
    np.testing.assert_array_equal(found.masses, MASSES)
    assert found.metadata == METADATA
    for channel in CHANNELS:
        series = found[channel.name]
        steps = np.arange(0, 401, channel.every)
        np.testing.assert_array_equal(series.steps, steps)
        np.testing.assert_array_equal(series.times_fs, 0.5 * steps)
        expected = sample(channel, steps)
        if channel.name == "velocities":
            expected = expected.astype(np.float32)
        np.testing.assert_array_equal(series[:], expected)
        np.testing.assert_array_equal(series[3:9:2], expected[3:9:2])
        np.testing.assert_array_equal(series[-1], expected[-1])
        np.testing.assert_array_equal(np.asarray(series), expected)
        assert series.shape == expected.shape
        assert series.channel == channel
        assert series.interval_fs == pytest.approx(0.5 * channel.every)
    steps = found["positions"].steps
    np.testing.assert_array_equal(found.cells(steps), sample(CHANNELS[2], steps))


def test_how_samples_are_grouped_into_flushes_does_not_matter(tmp_path):
    one = content(write(tmp_path / "a.h5md", 300, chunk=301))
    assert_same(one, content(write(tmp_path / "b.h5md", 300, chunk=7)))


@pytest.mark.parametrize("state", [0, 130, 200, 399])
def test_resumed_equals_uninterrupted(tmp_path, state):
    whole = content(write(tmp_path / "whole.h5md", 400))
    part = write(tmp_path / "part.h5md", 233 if state <= 233 else 399)
    assert_same(content(write(part, 400, after=state)), whole)


def test_nothing_is_stored_before_a_flush(path):
    writer = Writer.open(path, SYSTEM, CHANNELS, METADATA, after_step=None)
    append(writer, CHANNELS, 0, 50)
    assert len(trajectory.read(path)["energy"]) == 0
    writer.close()
    assert len(trajectory.read(path)["energy"]) == 11


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[2]]
import test_trajectory as t

path = Path(sys.argv[1])
rng = random.Random(0)
mark = path.with_suffix(".state")

def run(after):
    with t.Writer.open(path, t.SYSTEM, t.CHANNELS, t.METADATA, after_step=after,
                       masses=t.MASSES) as writer:
        start = 0 if after is None else after + 1
        for first in range(start, start + 100_000, 20):
            t.append(writer, t.CHANNELS, first, first + 19)
            writer.flush()
            aside = mark.with_suffix(".new")
            aside.write_text(str(first + 19))
            aside.rename(mark)

kills, grew = 0, 0
while kills < 25:
    after = int(mark.read_text()) if mark.exists() else None
    child = os.fork()
    if not child:
        run(after)
        os._exit(3)
    limit = time.monotonic() + 20
    # Every other time wait for progress, however busy the machine; else the start may be hit.
    before = mark.read_text() if mark.exists() else ""
    while (kills % 2 == 0 and time.monotonic() < limit
           and (mark.read_text() if mark.exists() else "") == before):
        time.sleep(0.001)
    time.sleep(rng.uniform(0.0, 0.1))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the writer ended by itself"
    kills += 1
    state = int(mark.read_text())
    found = t.trajectory.read(path)
    assert found["energy"].steps[-1] >= state - 4, (found["energy"].steps[-1], state)
    for name, series in found.series.items():
        series[:]
    grew += state > (after or 0)
assert grew > 10
print(int(mark.read_text()))
"""


def test_killed_at_random_moments_and_resumed(tmp_path):
    path = tmp_path / "killed.h5md"
    folder = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), folder],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    last = int(done.stdout)
    write(path, last + 100, after=last)
    assert_same(content(path), content(write(tmp_path / "whole.h5md", last + 100, chunk=500)))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "killed.h5md",
        "killed.state",
        "whole.h5md",
    ]


def test_a_commit_that_was_interrupted_is_read_before_it_is_finished(path, tmp_path, monkeypatch):
    write(path, 100)
    monkeypatch.setattr("mlffjax.dynamics.journal._apply", lambda *_: None)
    write(path, 200, after=100, chunk=101)
    monkeypatch.undo()
    assert journal_of(path).exists()
    found = content(path)
    assert found["energy"][0][-1] == 200
    assert_same(found, content(write(tmp_path / "whole.h5md", 200)))
    write(path, 300, after=200)
    assert not journal_of(path).exists()
    assert_same(content(path), content(write(tmp_path / "longer.h5md", 300)))


def test_layout_of_h5md(path):
    write(path, 100)
    file: Any
    with h5py.File(path) as file:
        assert file["h5md"].attrs["version"].tolist() == [1, 1]
        assert {"author", "creator"} <= set(file["h5md"])
        box = file["particles/all/box"]
        assert box.attrs["dimension"] == 3
        assert list(box.attrs["boundary"]) == ["periodic"] * 3
        # The standard asks for hard links, which are equal objects.
        assert box["edges/step"] == file["particles/all/position/step"]
        np.testing.assert_array_equal(
            box["edges/value"][:], sample(CHANNELS[2], np.arange(0, 101, 20))
        )
        assert file["particles/all/species"][:].tolist() == SYSTEM.numbers.tolist()
        assert file["observables/energy/value"].attrs["unit"] == "eV"


FAST = (*CHANNELS[:1], CHANNELS[1]._replace(every=4), CHANNELS[3]._replace(every=20))


@pytest.mark.parametrize("channels", [CHANNELS[:1] + CHANNELS[2:], CHANNELS, FAST])
def test_mdanalysis_reads_it(path, channels):
    # Its own compiled modules warn about versions of NumPy; not what is tested here.
    with pytest.MonkeyPatch.context(), np.errstate(all="ignore"):
        mda = pytest.importorskip("MDAnalysis", exc_type=ImportError)
    write(path, 200, channels)
    universe = mda.Universe.empty(ATOMS, trajectory=True, velocities=True)
    universe.load_new(str(path), format="H5MD")
    names = [channel.name for channel in channels]
    steps = np.arange(0, 201, 20)
    assert len(universe.trajectory) == len(steps)
    cells = sample(CHANNELS[2], steps) if "cell" in names else [SYSTEM.cell] * len(steps)
    for step, cell, frame in zip(steps, cells, universe.trajectory, strict=True):
        # MDAnalysis works in float32, Å, ps and Å/ps.
        assert frame.time == pytest.approx(0.5e-3 * step)
        np.testing.assert_allclose(
            frame.positions, sample(CHANNELS[0], [step])[0], rtol=1e-6, atol=1e-6
        )
        np.testing.assert_allclose(frame.dimensions[:3], np.linalg.norm(cell, axis=1), rtol=1e-6)
        assert frame.has_velocities == (channels == CHANNELS)
        if frame.has_velocities:
            np.testing.assert_allclose(
                frame.velocities, 1e3 * sample(CHANNELS[1], [step])[0], rtol=1e-6, atol=1e-3
            )
    if channels == FAST:
        assert len(trajectory.read(path)["velocities"]) == 51
        file: Any
        with h5py.File(path) as file:
            other = file["particles/all_at_other_times"]
            assert len(other["box/edges/value"]) == len(other["velocity/value"]) == 51
    universe.trajectory.close()


def test_new_file_where_one_is(path):
    write(path, 20)
    with pytest.raises(InputError, match="expected no file"):
        write(path, 20)


def test_a_journal_left_of_a_deleted_file_does_not_touch_the_new_one(path, monkeypatch):
    write(path, 20)
    monkeypatch.setattr("mlffjax.dynamics.journal._apply", lambda *_: None)
    write(path, 40, after=20)
    monkeypatch.undo()
    path.unlink()
    assert journal_of(path).exists()
    assert content(write(path, 10))["energy"][0].tolist() == [0, 5, 10]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"system": builders.bulk()._replace(numbers=SYSTEM.numbers + 1)}, "the atoms"),
        ({"system": SYSTEM._replace(cell=SYSTEM.cell * 1.01)}, "the cell at the start"),
        ({"channels": CHANNELS[:3]}, "the channels"),
        ({"metadata": {"ensemble": "npt", "seed": 4}}, "the metadata"),
    ],
)
def test_resuming_another_run(path, change, message):
    write(path, 20)
    given = {"system": SYSTEM, "channels": CHANNELS, "metadata": METADATA, **change}
    with pytest.raises(CompatibilityError, match=message):
        Writer.open(path, **given, after_step=20)


def test_resuming_from_a_state_the_file_does_not_reach(path):
    write(path, 100)
    with pytest.raises(InputError, match="samples up to step 120, got the last at 100"):
        Writer.open(path, SYSTEM, CHANNELS, METADATA, after_step=120)
    with pytest.raises(InputError, match="nothing there"):
        Writer.open(path.with_name("no"), SYSTEM, CHANNELS, METADATA, after_step=0)


def test_samples_that_do_not_fit(path):
    writer = Writer.open(path, SYSTEM, CHANNELS, METADATA, after_step=None)
    one = np.zeros((1, ATOMS, 3))

    def at(*steps):
        return np.array(steps, int), 0.5 * np.array(steps, float)

    with pytest.raises(InputError, match="one of the channels"):
        writer.append("force", *at(0), one)
    with pytest.raises(InputError, match="positions: expected 1 times and values of shape"):
        writer.append("positions", *at(0), one[:, 1:])
    writer.append("positions", *at(0), one)
    with pytest.raises(InputError, match="every 20 steps, got step 10 after 0"):
        writer.append("positions", *at(10), one)
    with pytest.raises(InputError, match="times that increase"):
        writer.append("positions", np.array([20]), np.zeros(1), one)
    with pytest.raises(InputError, match="not at step 20"):
        writer.append("positions", *at(20), one * np.nan)
    writer.append("positions", *at(), one[:0])
    before = path.read_bytes()
    with pytest.raises(InputError, match="cell of step 0"):
        writer.flush()
    assert path.read_bytes()[: len(before)] == before
    writer.append("cell", *at(0), SYSTEM.cell[None])
    writer.flush()
    assert len(trajectory.read(path)["positions"]) == 1


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ((), "one channel or more"),
        ((CHANNELS[3], CHANNELS[3]), "each named once"),
        ((Channel("positions", (ATOMS, 2), "Å", 1),), "expected shape"),
        ((Channel("positions", (ATOMS, 3), "nm", 1),), "expected unit Å"),
        ((Channel("energy", (), "eV", 0),), "1 step or more"),
        ((Channel("a/b", (), "eV", 1),), "plain name"),
        ((CHANNELS[0], CHANNELS[2]._replace(every=15)), "cell at every step"),
    ],
)
def test_channels_that_cannot_be_stored(path, channels, message):
    with pytest.raises(InputError, match=message):
        Writer.open(path, SYSTEM, channels, METADATA, after_step=None)
    assert not path.exists()


def test_metadata_and_masses_that_cannot_be_stored(path):
    with pytest.raises(InputError, match="JSON"):
        Writer.open(path, SYSTEM, CHANNELS, {"x": object()}, after_step=None)
    with pytest.raises(InputError, match="masses"):
        Writer.open(path, SYSTEM, CHANNELS, {}, after_step=None, masses=MASSES[1:])


def test_damaged_files(path, tmp_path):
    write(path, 400)
    whole = path.read_bytes()
    with pytest.raises(InputError, match="nothing there"):
        trajectory.read(tmp_path / "none.h5md")
    for wrong in (b"", b"text", whole[: len(whole) // 2]):
        path.write_bytes(wrong)
        with pytest.raises(InputError, match=r"run\.h5md.*expected an HDF5 file"):
            trajectory.read(path)
    with h5py.File(path, "w"):
        pass
    with pytest.raises(InputError, match="of this package"):
        trajectory.read(path)
    path.write_bytes(whole)
    file: Any
    with h5py.File(path, "r+") as file:
        file["observables/energy/value"].resize(3, axis=0)
    with pytest.raises(InputError, match="channel energy: expected samples"):
        trajectory.read(path)
    place = whole.index(sample(CHANNELS[0], [100]).tobytes())
    path.write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
    with pytest.raises(InputError, match="channel positions is damaged"):
        trajectory.read(path)["positions"][:]


def test_unknown_channel_and_too_few_samples(path):
    found = trajectory.read(write(path, 4))
    with pytest.raises(InputError, match="stored channels positions, velocities"):
        found["heat_flux"]
    with pytest.raises(InputError, match="at least 2 samples of energy"):
        _ = found["energy"].interval_fs


def test_description_is_plain_json(path):
    file: Any
    with h5py.File(write(path, 0)) as file:
        assert json.loads(file["mlffjax/metadata"][()]) == METADATA


def test_stored_channels_are_analysed_without_being_read_first(path):
    from mlffjax.analysis import diffusion, structure, vibrations  # a layer beside, joined by users

    found = trajectory.read(write(path, 1000))
    places, speeds = found["positions"], found["velocities"]
    cells = found.cells(places.steps)
    for stored, array in ((places, speeds), (places[:], speeds[:])):
        g = structure.radial_distribution(stored, SYSTEM.numbers, cells, r_max=4.0, bins=8)
        msd = diffusion.mean_square_displacement(
            stored, places.times_fs, relative_to=diffusion.centre(stored, MASSES)
        )
        vacf = vibrations.velocity_autocorrelation(array, MASSES, speeds.times_fs)
        found_now = (g.g, msd.tensor, vacf.value)
        if stored is places:
            lazily = found_now
    for first, second in zip(lazily, found_now, strict=True):
        np.testing.assert_array_equal(first, second)
