"""Trajectories in H5MD 1.1 files, written while a run goes on and read sample by sample.

A trajectory is a set of *channels*: quantities stored at their own intervals, each with steps and
times. ``positions`` (Å, unwrapped), ``velocities`` (Å/fs) and ``cell`` (Å, lattice vectors in rows)
go where H5MD puts them, every other name to ``observables``. Samples are handed over with
``append`` and become part of the file, all together, with ``flush``: a run killed at any moment
leaves a file that holds exactly the samples of the last flush (``journal``).

Other programs read the file as any H5MD file. MDAnalysis takes box and velocities by the number of
the frame of the positions; therefore the box is stored for every frame of the positions, and
velocities stored at another interval form a second particle group. It reads observables by that
number too: they should be stored at least as often as positions, and ``ts.data`` is in step with
them only if equally often.

References:
    de Buyl, Colberg and Höfling, Comput. Phys. Commun. 185, 1546 (2014),
    doi:10.1016/j.cpc.2014.01.018; version 1.1 at https://www.nongnu.org/h5md/h5md.html.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float, Float64, Int64

from mlffjax.dynamics import channels as rules
from mlffjax.dynamics import h5md
from mlffjax.dynamics.channels import Channel, End, Header, Samples
from mlffjax.dynamics.journal import Transaction, journal_of, recover
from mlffjax.errors import InputError
from mlffjax.structures.system import System

PATIENCE, PAUSE = 20, 0.02
"""How often a file is read that is changed meanwhile; s between two times."""

Found = TypeVar("Found")

__all__ = ["Channel", "Series", "Trajectory", "Writer", "read"]


class Series:
    """Samples of one channel; values are read when they are asked for.

    ``series[10:20]`` reads ten samples, ``series[:]`` and ``numpy.asarray(series)`` all.
    """

    def __init__(
        self,
        channel: Channel,
        steps: Int64[np.ndarray, " samples"],
        times_fs: Float64[np.ndarray, " samples"],
        load: Callable[[Any], np.ndarray],
    ) -> None:
        self.channel, self.steps, self.times_fs, self._load = channel, steps, times_fs, load

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples first, then the shape of the channel."""
        return (len(self.steps), *self.channel.shape)

    @property
    def interval_fs(self) -> float:
        """Time between samples, fs.

        Raises:
            InputError: there are fewer than two samples.
        """
        if len(self.times_fs) < 2:
            raise InputError(
                f"expected at least 2 samples of {self.channel.name}, got {len(self.times_fs)}; "
                "run longer or store it more often"
            )
        return float((self.times_fs[-1] - self.times_fs[0]) / (len(self.times_fs) - 1))

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int | slice) -> np.ndarray:
        return self._load(index)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        del copy  # reading makes a new array anyway
        return np.asarray(self._load(slice(None)), dtype)


class Trajectory(NamedTuple):
    """What a run stored; ``series[name]`` holds the channels.

    ``system`` is the structure at the start (of the run; ``positions`` may begin later), masses in
    u are there if they were stored.
    """

    system: System
    masses: Float64[np.ndarray, " atoms"] | None
    metadata: dict[str, Any]
    series: dict[str, Series]

    def __getitem__(self, name: str) -> Series:  # pyright: ignore[reportIncompatibleMethodOverride]
        if name not in self.series:
            raise InputError(
                f"expected one of the stored channels {', '.join(self.series) or '(none)'}, got "
                f"{name!r}; choose it when the run is set up"
            )
        return self.series[name]

    def cells(self, steps: Int64[np.ndarray, " samples"]) -> Float64[np.ndarray, "... 3 3"]:
        """Cell at the given steps, [samples, 3, 3]; [3, 3] if the run kept it fixed. Å.

        Raises:
            InputError: the cell was not stored at one of the steps.
        """
        if "cell" not in self.series:
            return self.system.cell
        stored = self.series["cell"]
        return np.asarray(stored[:])[rules.places(stored.steps, np.asarray(steps))]


class Writer:
    """Writes one trajectory; see the module for what is in the file when."""

    def __init__(self, path: Path, header: Header, ends: dict[str, End]) -> None:
        self._path, self._header = path, header
        self._channels = {channel.name: channel for channel in header.channels}
        self._ends = ends
        self._pending: dict[str, list[Samples]] = {name: [] for name in self._channels}

    @classmethod
    def open(
        cls,
        path: str | Path,
        system: System,
        channels: Sequence[Channel],
        metadata: Mapping[str, Any],
        *,
        after_step: int | None,
        masses: Float[np.ndarray, " atoms"] | None = None,
    ) -> "Writer":
        """Start a file, or go on with one.

        Args:
            path: the file; ``.h5md`` by custom.
            system: structure at the start of the run.
            channels: what will be appended.
            metadata: JSON data about the run, kept as they are.
            after_step: ``None`` starts a new file; a number opens an existing one and drops every
                sample after that step, so that the resumed run can append them again.
            masses: u; of the atoms.

        Raises:
            InputError: channels or metadata are not usable; a new file exists already; an existing
                one is missing, damaged, describes another run, or lacks samples before the step.
        """
        path = Path(path)
        header = rules.checked(Header(system, masses, tuple(channels), dict(metadata)))
        if after_step is None:
            if path.exists():
                raise InputError(
                    f"{path}: expected no file, got one; resume the run that wrote it, move it "
                    "away, or choose another name"
                )
            journal_of(path).unlink(missing_ok=True)
            h5md.create(path, header)
            return cls(path, header, dict.fromkeys((c.name for c in channels), End()))
        _require(path)
        recover(path)
        with h5md.opened(path) as file:
            h5md.require_same(path, h5md.header(file, path), header)
            kept = {c.name: h5md.count_until(file, c, after_step, path) for c in header.channels}
        with _transaction(path) as file:
            h5md.keep(file, header, kept)
            ends = {c.name: h5md.end(file, c) for c in header.channels}
        return cls(path, header, ends)

    def append(
        self,
        name: str,
        steps: Int64[np.ndarray, " samples"],
        times_fs: Float64[np.ndarray, " samples"],
        values: Float[np.ndarray, "samples ..."],
    ) -> None:
        """Hand over samples; they are in the file after the next ``flush``.

        Steps of a channel are ``every`` apart, also across calls. Velocities are kept in float32,
        which is far below their thermal noise, everything else in float64.

        Raises:
            InputError: no such channel, a shape that is not the channel's, steps or times that do
                not go on from the samples before, or values that are not finite.
        """
        if name not in self._channels:
            raise InputError(
                f"expected one of the channels {', '.join(self._channels)}, got {name!r}"
            )
        channel = self._channels[name]
        samples = Samples(
            np.array(steps, np.int64).reshape(-1),
            np.array(times_fs, np.float64).reshape(-1),
            np.array(values, rules.dtype(name)),
        )
        rules.check_samples(channel, samples, self._ends[name])
        if len(samples.steps):
            self._pending[name].append(samples)
            self._ends[name] = End(int(samples.steps[-1]), float(samples.times_fs[-1]))

    def flush(self) -> None:
        """Make all samples handed over part of the file, at once and durably.

        Raises:
            InputError: positions were appended without the cell of the same steps.
            OSError: the disk is full or gone; the file is as after the last flush.
        """
        if not any(self._pending.values()):
            return
        merged = {
            name: Samples(*(np.concatenate(parts) for parts in zip(*chunks, strict=True)))
            for name, chunks in self._pending.items()
            if chunks
        }
        with _transaction(self._path) as file:
            h5md.extend(file, self._header, merged)
        self._pending = {name: [] for name in self._channels}

    def close(self) -> None:
        """Flush; the writer holds nothing open in between."""
        self.flush()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read(path: str | Path) -> Trajectory:
    """A trajectory that ``Writer`` wrote, also of a run that was killed or still goes on.

    Raises:
        InputError: the file is missing, damaged, or of another program; it names what is wrong.
    """
    path = Path(path)
    _require(path)
    return _settled(path, lambda: _found(path))


def _found(path: Path) -> Trajectory:
    with h5md.opened(path) as file:
        header = h5md.header(file, path)
        series = {}
        for channel in header.channels:
            steps, times = h5md.checked_axis(file, channel, path)
            series[channel.name] = Series(channel, steps, times, _Loader(path, channel))
    return Trajectory(header.system, header.masses, dict(header.metadata), series)


def _settled(path: Path, look: Callable[[], Found]) -> Found:
    """What ``look`` finds in a file that is not changed meanwhile, as one of a run that goes on is.

    Raises:
        InputError: as ``look`` does of a file that nobody changes.
    """
    for _ in range(PATIENCE):
        before = _state(path)
        try:
            found = look()
        except InputError:
            if _state(path) == before:
                raise
        else:
            if _state(path) == before:
                return found
        time.sleep(PAUSE)
    return look()  # changed all the time; damage would show in checksums


def _state(path: Path) -> tuple[int, ...]:
    """Something that differs after the file was changed."""
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


class _Loader:
    """Reads values of one channel from the file each time."""

    def __init__(self, path: Path, channel: Channel) -> None:
        self._path, self._channel = path, channel

    def __call__(self, index: Any) -> np.ndarray:
        return _settled(self._path, lambda: self._read(index))

    def _read(self, index: Any) -> np.ndarray:
        with h5md.opened(self._path) as file:
            try:
                return np.asarray(h5md.values(file, self._channel)[index])
            except (KeyError, OSError, RuntimeError) as error:
                raise InputError(
                    f"{self._path}: channel {self._channel.name} is damaged ({error}); take a copy "
                    "made earlier, or other samples"
                ) from error


def _require(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: expected a trajectory, found nothing there; check the path")


class _transaction:
    """The file opened for changes that are committed if the block ends without an error."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Any:
        self._change = Transaction(self._path)
        try:
            self._file = h5md.file(self._change, "r+", self._path)
        except BaseException:
            self._change.close()
            raise
        return self._file

    def __exit__(self, kind: object, *rest: object) -> None:
        try:
            self._file.close()
            if kind is None:
                self._change.commit()
        finally:
            self._change.close()
