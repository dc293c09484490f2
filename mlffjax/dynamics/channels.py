"""What a trajectory consists of, and what samples must satisfy before they are stored."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mlffjax.errors import InputError
from mlffjax.structures.system import System

UNITS = {"positions": "Å", "velocities": "Å/fs", "cell": "Å"}


class Channel(NamedTuple):
    """One stored quantity: ``shape`` of a sample, and every how many steps it is taken."""

    name: str
    shape: tuple[int, ...]
    unit: str
    every: int


class Samples(NamedTuple):
    """Consecutive samples of one channel."""

    steps: np.ndarray  # i8 [samples]
    times_fs: np.ndarray  # f8 [samples]
    values: np.ndarray  # [samples, ...]


class End(NamedTuple):
    """Step and time of the last sample, if there is one."""

    step: int | None = None
    time_fs: float = -np.inf


class Header(NamedTuple):
    """What a file says besides its samples."""

    system: System
    masses: np.ndarray | None
    channels: tuple[Channel, ...]
    metadata: Mapping[str, Any]


def dtype(name: str) -> type:
    """How values of a channel are stored."""
    return np.float32 if name == "velocities" else np.float64


def checked(header: Header) -> Header:
    """The header with plain types, or a refusal.

    Raises:
        InputError: names the channel, or the entry of the metadata.
    """
    atoms = len(header.system.numbers)
    shapes = {"positions": (atoms, 3), "velocities": (atoms, 3), "cell": (3, 3)}
    channels = tuple(
        Channel(c.name, tuple(int(n) for n in c.shape), c.unit, int(c.every))
        for c in header.channels
    )
    for channel in channels:
        _check_channel(channel, shapes.get(channel.name, channel.shape))
    names = [channel.name for channel in channels]
    if len(set(names)) < len(names) or not names:
        raise InputError(f"expected one channel or more, each named once, got {names}")
    every = {channel.name: channel.every for channel in channels}
    leading = every.get("positions", every.get("velocities", 0))
    if leading % every.get("cell", 1):
        raise InputError(
            f"expected the cell at every step at which positions are stored, got it every "
            f"{every['cell']} and them every {leading} steps; make one a multiple of the other"
        )
    try:
        metadata = json.loads(json.dumps(dict(header.metadata), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"expected metadata that JSON can hold, got {error}") from error
    masses = None if header.masses is None else np.asarray(header.masses, np.float64)
    if masses is not None and masses.shape != (atoms,):
        raise InputError(f"expected {atoms} masses, got shape {masses.shape}")
    return Header(header.system, masses, channels, metadata)


def _check_channel(channel: Channel, shape: tuple[int, ...]) -> None:
    if channel.every < 1 or not channel.name or "/" in channel.name or channel.name[0] == ".":
        raise InputError(f"expected a plain name and an interval of 1 step or more, got {channel}")
    if channel.shape != shape or min(channel.shape, default=1) < 1:
        raise InputError(f"channel {channel.name}: expected shape {shape}, got {channel.shape}")
    unit = UNITS.get(channel.name, channel.unit)
    if channel.unit != unit:
        raise InputError(f"channel {channel.name}: expected unit {unit}, got {channel.unit!r}")


def places(stored: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Where given steps are among stored ones, which increase.

    Raises:
        InputError: one of them was not stored.
    """
    at = np.minimum(np.searchsorted(stored, steps), max(len(stored) - 1, 0))
    missing = steps if not len(stored) else steps[stored[at] != steps]
    if len(missing):
        raise InputError(
            f"expected the cell of step {missing[0]}, got none; append the cell at every step at "
            "which positions or velocities are appended, before flushing them"
        )
    return at


def check_samples(channel: Channel, samples: Samples, before: End) -> None:
    """Whether samples fit the channel and go on from the last one.

    Raises:
        InputError: they do not; names the channel and the step.
    """
    name, count = channel.name, len(samples.steps)
    if samples.values.shape != (count, *channel.shape) or len(samples.times_fs) != count:
        raise InputError(
            f"channel {name}: expected {count} times and values of shape "
            f"{(count, *channel.shape)}, got {len(samples.times_fs)} and {samples.values.shape}"
        )
    steps = samples.steps if before.step is None else np.append(before.step, samples.steps)
    wrong = np.flatnonzero(np.diff(steps) != channel.every)
    if len(wrong):
        raise InputError(
            f"channel {name}: expected samples every {channel.every} steps, got step "
            f"{steps[wrong[0] + 1]} after {steps[wrong[0]]}"
        )
    if (np.diff(np.append(before.time_fs, samples.times_fs)) <= 0).any():
        raise InputError(f"channel {name}: expected times that increase, got {samples.times_fs}")
    bad = ~np.isfinite(samples.values).all(axis=tuple(range(1, samples.values.ndim)))
    if bad.any():
        raise InputError(
            f"channel {name}: expected finite values, got some that are not at step "
            f"{samples.steps[bad.argmax()]}; stop the run at the last good state"
        )
