"""Memory or disk: where the padded structures of a run are kept."""

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax

from mlffjax.graphs.neighbors import neighbors_within
from mlffjax.structures.system import System
from mlffjax.training.batches import Sample, collect
from mlffjax.training.config import TrainingConfig
from mlffjax.training.feed import Feed, Resident
from mlffjax.training.shards import Layout, record_bytes
from mlffjax.training.stream import Streamed

HOST_SHARE = 0.25
"""Part of the free memory that structures may take; while they are stacked they exist thrice."""
PROBED = 16
"""Structures from which the size of all is estimated."""
SAMPLE_NEIGHBOR = 15
"""Bytes of a neighbour in a padded sample: index, shift (int16), mirrored edge, mask."""
GRAPH_NEIGHBOR = 33
"""Bytes of a neighbour in a graph of float64."""
DEVICE_SHARE = 0.5
"""Part of the free memory of an accelerator that structures may take; steps need the rest."""


def open_feeds(
    sets: Sequence[Sequence[Sample]],
    layout: Layout,
    config: TrainingConfig,
    directory: Path | None = None,
) -> tuple[list[Feed], tuple[str, ...]]:
    """Feeds of sets of samples that are used side by side, all in memory or all on disk.

    Args:
        sets: samples to train on, samples to validate on.
        layout: how they are padded.
        config: says where to keep them; ``auto`` takes memory if there is enough.
        directory: for those on disk, unless ``config.storage_directory`` names one; by default a
            temporary one that is removed when the feeds are no longer used.

    Returns:
        The feeds, and a sentence if they are on disk.

    Raises:
        TrainingError: the directory cannot be written, or the disk has no space left.
        CapacityError: a structure fits into none of the shapes.
        CompatibilityError: a structure holds an element that is not among ``layout.elements``.
    """
    needed = sum(record_bytes(sample, layout) for members in sets for sample in members)
    free = room() if config.storage == "auto" else None
    if config.storage == "memory" or (free is not None and needed <= free):
        return [_resident(members, layout) for members in sets], ()
    text = f"structures were read from disk while training ({needed / 1e9:.2g} GB"
    text += "" if free is None else f"; {free / 1e9:.2g} GB of the memory were free for them"
    return _streamed(sets, layout, config, directory), (f"{text})",)


def _resident(members: Sequence[Sample], layout: Layout) -> Feed:
    elements, cutoff, shapes, precision = layout
    return Resident(collect(members, elements, cutoff, shapes, dtype=precision))


def _streamed(
    sets: Sequence[Sequence[Sample]],
    layout: Layout,
    config: TrainingConfig,
    directory: Path | None,
) -> list[Feed]:
    if config.storage_directory is not None:
        directory = Path(config.storage_directory)
    if directory is not None:
        return [Streamed(members, layout, directory) for members in sets]
    temporary = _Temporary()
    return [Streamed(members, layout, temporary.path, owner=temporary) for members in sets]


class _Temporary:
    """A directory that is removed with this object, or at the end of the program."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="mlffjax-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def room() -> float:
    """Bytes that structures with their neighbour lists may take where they are needed."""
    most = HOST_SHARE * min(_free_on_host(), *_free_in_groups(), float("inf"))
    statistics = jax.local_devices()[0].memory_stats()  # None for CPUs
    if statistics and "bytes_limit" in statistics:
        free = statistics["bytes_limit"] - statistics.get("bytes_in_use", 0)
        most = min(most, DEVICE_SHARE * free)
    return max(most, 0.0)


def lists_bytes(systems: Sequence[System], cutoff: float, *, each: int) -> float:
    """Size of the neighbour lists of structures, about, from a few of them.

    Args:
        systems: structures, at least one.
        cutoff: Å.
        each: bytes of a neighbour (``SAMPLE_NEIGHBOR`` or ``GRAPH_NEIGHBOR``).
    """
    chosen = systems[:: -(-len(systems) // PROBED)]
    slots = sum(neighbors_within(system, cutoff).neighbors.size for system in chosen)
    atoms = sum(len(system.numbers) for system in chosen)
    return each * slots / atoms * sum(len(system.numbers) for system in systems)


def _free_on_host() -> float:
    """Memory that can be had without swapping, bytes; infinite if the system does not tell."""
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * int(line.split()[1])
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return 0.5 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return float("inf")


def _free_in_groups() -> Iterator[float]:
    """What is left of the limits that a container or a batch system set (control groups v2)."""
    try:
        name = Path("/proc/self/cgroup").read_text().partition("0::/")[2].splitlines()[0]
    except (OSError, IndexError):
        return
    root = Path("/sys/fs/cgroup")
    for folder in (root / name, *(root / name).parents):
        try:
            limit = (folder / "memory.max").read_text().strip()
            used = int((folder / "memory.current").read_text())
            lines = (folder / "memory.stat").read_text().splitlines()
        except (OSError, ValueError):
            continue
        cached = next((int(line.split()[1]) for line in lines if "inactive_file" in line), 0)
        if limit != "max":
            yield float(int(limit) - used + cached)
