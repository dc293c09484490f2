"""The layout of H5MD files: which group holds what, and what a sound file looks like."""

import contextlib
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mlffjax import durable
from mlffjax.dynamics.channels import Channel, End, Header, Samples, dtype, places
from mlffjax.dynamics.journal import Transaction, journal_size
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.structures.system import System

# Bytes of one chunk: small ones are kept whole in the journal when they are filled up.
CHUNK = {True: 256 * 2**10, False: 8 * 2**10}
LAYOUT = 1
# Files, groups and data sets: the types of h5py do not say what a name leads to.
Node = Any
# As H5MD's module of units writes them: names with powers, without a slash.
_SPELLED = {"Å": "Angstrom", "Å/fs": "Angstrom fs-1"}
_PLACES = {"positions": "particles/all/position", "velocities": "particles/all/velocity"}
_OTHER_VELOCITIES = "particles/all_at_other_times"
_SAME = 1e-9  # relative; structures are stored with all digits


def create(path: Path, header: Header) -> None:
    """Write a file without samples, whole or not at all."""
    content = io.BytesIO()
    with h5py.File(content, "w", libver="v110") as file:  # with checksums of all descriptions
        _write_header(file, header)
        for channel in header.channels:
            _write_channel(file, header, channel)
        _write_boxes(file, header)
    durable.write_bytes(path, content.getvalue())


def _write_header(file: Node, header: Header) -> None:
    root = file.create_group("h5md")
    root.attrs["version"] = np.array([1, 1])
    root.create_group("author").attrs["name"] = "unknown"
    creator = root.create_group("creator")
    creator.attrs["name"], creator.attrs["version"] = "mlffjax", str(LAYOUT)
    root.create_group("modules/units").attrs["version"] = np.array([1, 0])
    own = file.create_group("mlffjax")
    own.attrs["layout"] = LAYOUT
    for name, value in zip(System._fields, header.system, strict=True):
        own[name] = value
    # As strings of fixed length: HDF5 may search for ever in a damaged heap of those of any length.
    own["channels"] = np.bytes_(json.dumps([channel._asdict() for channel in header.channels]))
    own["metadata"] = np.bytes_(json.dumps(header.metadata))
    own.attrs["checksum"] = np.bytes_(_checksum(header))
    for group in {"particles/all", *_groups(header).values()}:
        particles = file.create_group(group)
        particles["species"] = header.system.numbers
        if header.masses is not None:
            particles["mass"] = header.masses
            particles["mass"].attrs["unit"] = "u"


def _checksum(header: Header) -> str:
    """Of everything but samples, which have their own."""
    arrays = [*header.system, np.zeros(0) if header.masses is None else header.masses]
    digest = hashlib.sha256()
    for array in map(np.asarray, arrays):
        digest.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
    told = [[channel._asdict() for channel in header.channels], header.metadata]
    digest.update(json.dumps(told, sort_keys=True).encode())
    return digest.hexdigest()


def _groups(header: Header) -> dict[str, str]:
    """Particle group of the positions and of the velocities, if stored."""
    every = {channel.name: channel.every for channel in header.channels}
    groups = {name: "particles/all" for name in ("positions", "velocities") if name in every}
    if len(groups) == 2 and every["positions"] != every["velocities"]:
        groups["velocities"] = _OTHER_VELOCITIES
    return groups


def _place(file: Node, channel: Channel) -> Node:
    """The group with step, time and value of a channel."""
    if channel.name == "velocities" and f"{_OTHER_VELOCITIES}/velocity" in file:
        return file[f"{_OTHER_VELOCITIES}/velocity"]
    return file[_PLACES.get(channel.name, f"observables/{channel.name}")]


def _write_channel(file: Node, header: Header, channel: Channel) -> None:
    place = _PLACES.get(channel.name, f"observables/{channel.name}")
    if channel.name == "velocities":
        place = place.replace("particles/all", _groups(header)["velocities"])
    group = file.create_group(place)
    _axis(group, "step", (), np.int64)
    _axis(group, "time", (), np.float64).attrs["unit"] = "fs"
    values = _axis(group, "value", channel.shape, dtype(channel.name))
    values.attrs["unit"] = _SPELLED.get(channel.unit, channel.unit)
    group.attrs["every"] = channel.every


def _axis(group: Node, name: str, shape: tuple[int, ...], kind: type) -> Node:
    """A dataset that grows along its first axis; checksums tell when bytes were changed."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    rows = max(1, CHUNK[size > 100] // size)
    return group.create_dataset(
        name, (0, *shape), kind, maxshape=(None, *shape), chunks=(rows, *shape), fletcher32=True
    )


def _write_boxes(file: Node, header: Header) -> None:
    """The box of each particle group, step by step along with what the group holds."""
    periodic = ["periodic" if p else "none" for p in header.system.pbc]
    groups = {group: name for name, group in reversed(_groups(header).items())}
    for group in {"particles/all", *groups}:
        box = file[group].create_group("box")
        box.attrs["dimension"] = 3
        box.attrs["boundary"] = np.array(periodic, dtype=h5py.string_dtype("ascii"))
        if group not in groups:  # nothing that moves is stored
            box["edges"] = header.system.cell
            box["edges"].attrs["unit"] = "Angstrom"
            continue
        element = file[group][_PLACES[groups[group]].rpartition("/")[2]]
        edges = box.create_group("edges")
        edges["step"], edges["time"] = element["step"], element["time"]
        _axis(edges, "value", (3, 3), np.float64).attrs["unit"] = "Angstrom"


def extend(file: Node, header: Header, samples: Mapping[str, Samples]) -> None:
    """Add samples at the end of channels, and boxes for the particles among them.

    Raises:
        InputError: the cell of a step of positions or velocities is not stored.
    """
    for channel in header.channels:
        if channel.name in samples:
            group = _place(file, channel)
            for name, content in zip(("step", "time", "value"), samples[channel.name], strict=True):
                _grow(group[name], content)
    for group in set(_groups(header).values()):
        edges = file[group]["box/edges"]
        done = len(edges["value"])
        _grow(edges["value"], _cells(file, header, edges["step"][done:]))


def _grow(dataset: Node, content: np.ndarray) -> None:
    if len(content):
        before = len(dataset)
        dataset.resize(before + len(content), axis=0)
        dataset[before:] = content


def _cells(file: Node, header: Header, steps: np.ndarray) -> np.ndarray:
    stored = next((c for c in header.channels if c.name == "cell"), None)
    if stored is None or not len(steps):
        return np.broadcast_to(header.system.cell, (len(steps), 3, 3))
    group = _place(file, stored)
    at = places(group["step"][:], steps)
    return group["value"][at[0] : at[-1] + 1][at - at[0]]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Node]:
    """The file for reading, including a change whose commit was interrupted.

    Raises:
        InputError: it is no HDF5 file or damaged.
    """
    # Also without a journal: it may appear, and go, while the file is read.
    with Transaction(path, writable=False) as content, file(content, "r", path) as handle:
        yield handle


def file(content: Any, mode: Any, path: Path) -> Node:
    """HDF5 over a Python file object.

    Raises:
        InputError: it is no HDF5 file or damaged.
    """
    try:
        return h5py.File(content, mode)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{path}: expected an HDF5 file, but it cannot be opened as one ({error}); it was cut "
            "or changed after it was written; take a copy made earlier"
        ) from error


def header(file: Node, path: Path) -> Header:
    """What the file says besides its samples.

    Raises:
        InputError: another program or layout wrote it.
    """
    own = file.get("mlffjax")
    if own is None or own.attrs.get("layout") != LAYOUT:
        found = "another layout" if own is not None else "no group 'mlffjax'"
        raise InputError(
            f"{path}: expected a trajectory of this package in layout {LAYOUT}, got {found}; read "
            "trajectories of other programs through structures they can be converted to"
        )
    try:
        channels = tuple(
            Channel(**{**entry, "shape": tuple(entry["shape"])})
            for entry in durable.from_json(own["channels"][()])
        )
        system = System(*(np.asarray(_bounded(own[name], path)[()]) for name in System._fields))
        mass = file["particles/all"].get("mass")
        masses = None if mass is None else _bounded(mass, path)[()]
        found = Header(system, masses, channels, durable.from_json(own["metadata"][()]))
        if own.attrs.get("checksum") not in (None, _checksum(found).encode()):  # old: none
            raise ValueError("it differs from its checksum")
        return found
    except (KeyError, TypeError, ValueError, OSError, RuntimeError, AttributeError) as error:
        raise InputError(f"{path}: its description is damaged ({error})") from error


def require_same(path: Path, found: Header, expected: Header) -> None:
    """Refuse to go on with the file of another run.

    Raises:
        CompatibilityError: names the first difference.
    """
    pairs = {
        "atoms": (found.system.numbers.tolist(), expected.system.numbers.tolist()),
        "periodic directions": (found.system.pbc.tolist(), expected.system.pbc.tolist()),
        "channels": (found.channels, expected.channels),
        "metadata": (found.metadata, expected.metadata),
    }
    for name, (there, here) in pairs.items():
        if there != here:
            raise CompatibilityError(
                f"{path}: expected the {name} of the run that is resumed, {here}, got {there}; "
                "start a new file for a run that differs"
            )
    for name in ("positions", "cell"):
        there, here = getattr(found.system, name), getattr(expected.system, name)
        if not np.allclose(there, here, rtol=_SAME, atol=_SAME):
            raise CompatibilityError(
                f"{path}: expected the {name} at the start of the run that is resumed, got others; "
                "give the structure the run was started from"
            )


def checked_axis(file: Node, channel: Channel, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Steps and times of a channel.

    Raises:
        InputError: the channel is missing or damaged.
    """
    try:
        group = _place(file, channel)
        steps, times = (_bounded(group[name], path)[:] for name in ("step", "time"))
        shape = _bounded(group["value"], path).shape
    except (KeyError, TypeError, AttributeError, OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: channel {channel.name} cannot be read ({error})") from error
    regular = (np.diff(steps) == channel.every).all() and (np.diff(times) > 0).all()
    if len(steps) != len(times) or shape != (len(steps), *channel.shape) or not regular:
        raise InputError(
            f"{path}: channel {channel.name}: expected samples of shape {channel.shape} every "
            f"{channel.every} steps, got {len(steps)} steps, {len(times)} times, values of shape "
            f"{shape}; the file was changed after it was written"
        )
    return steps, times


def _bounded(dataset: Node, path: Path) -> Node:
    """A dataset that lies in the file and is no longer than it, as all that are written here are.

    Raises:
        InputError: it only claims to hold so much, or is to be read from another file.
    """
    size = path.stat().st_size + journal_size(path)
    elsewhere = dataset.external or dataset.is_virtual
    if elsewhere or dataset.nbytes > size:
        raise InputError(
            f"{path}: {dataset.name} declares {dataset.nbytes} bytes in a file of {size}, or takes "
            "them from another file; it was changed after it was written"
        )
    return dataset


def values(file: Node, channel: Channel) -> Node:
    """The values of a channel, samples first."""
    return _place(file, channel)["value"]


def count_until(file: Node, channel: Channel, step: int, path: Path) -> int:
    """Number of samples up to and including a step.

    Raises:
        InputError: samples before the step are missing, or ``checked_axis`` fails.
    """
    steps, _ = checked_axis(file, channel, path)
    kept = int(np.searchsorted(steps, step, side="right"))
    if kept == len(steps) and (steps[-1] if len(steps) else 0) + channel.every <= step:
        raise InputError(
            f"{path}: channel {channel.name}: expected samples up to step {step}, got the last at "
            f"{steps[-1] if len(steps) else 'none'}; resume from an earlier state or start anew"
        )
    return kept


def keep(file: Node, header: Header, counts: Mapping[str, int]) -> None:
    """Drop what comes after the first samples of each channel."""
    for channel in header.channels:
        for name in ("step", "time", "value"):
            _place(file, channel)[name].resize(counts[channel.name], axis=0)
    for group in set(_groups(header).values()):
        edges = file[group]["box/edges"]
        edges["value"].resize(len(edges["step"]), axis=0)


def end(file: Node, channel: Channel) -> End:
    """The last sample of a channel."""
    group = _place(file, channel)
    return End(int(group["step"][-1]), float(group["time"][-1])) if len(group["step"]) else End()
