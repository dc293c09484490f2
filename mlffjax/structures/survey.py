"""What a study needs to know of a user's frames before anything can be chosen for them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import ase
import ase.io
import numpy as np
from ase.data import chemical_symbols
from matscipy.neighbours import neighbour_list

from mlffjax.structures.checks import is_isolated
from mlffjax.structures.datasets import isolated_energies
from mlffjax.structures.elements import masses
from mlffjax.structures.files import EXTENDED_XYZ
from mlffjax.structures.labels import KEYS, PREFIX
from mlffjax.structures.system import Frame, System, to_ase

SAMPLE = 20  # frames that distances are measured in, evenly out of all
REACH = 6.0  # Å; an atom without a neighbour in this range has none that could be learned from
TEMPERATURE = re.compile(r"(?<![\d.])(\d{1,4}(?:\.\d+)?)\s?K(?![A-Za-z0-9])")
TEMPERATURE_KEYS = ("temperature", "temperature_K", "temperature_k")
LABEL_WORDS = ("energy", "force", "stress", "virial")


class Survey(NamedTuple):
    """Isolated atoms count for ``isolated`` only.

    Attributes:
        frames: number of frames.
        elements: symbols, by atomic number.
        kinds: config_type and number of frames, by name.
        temperatures: K, of the kinds whose name or frames tell one.
        mixed: lowest and highest temperature, K, of kinds whose frames tell several.
        atoms: fewest and most atoms of a frame.
        sizes: how many different numbers of atoms there are.
        trajectories: how many sequences the frames form.
        stressed: number of frames with a stress.
        isolated: symbols of the free atoms whose energy is known.
        spacing: median distance to the nearest neighbour, Å.
        lightest: smallest mass of an element, u.
    """

    frames: int
    elements: tuple[str, ...]
    kinds: dict[str, int]
    temperatures: dict[str, float]
    mixed: dict[str, tuple[float, float]]
    atoms: tuple[int, int]
    sizes: int
    trajectories: int
    stressed: int
    isolated: tuple[str, ...]
    spacing: float
    lightest: float


def survey(frames: Sequence[Frame]) -> Survey:
    """Count and measure; ``frames`` may contain isolated atoms, but not only them.

    Raises:
        InputError: the frames of isolated atoms cannot be used.
    """
    isolated = isolated_energies(frames)
    frames = [frame for frame in frames if not is_isolated(frame)]
    numbers = np.unique(np.concatenate([frame.system.numbers for frame in frames]))
    counts = [len(frame.system.numbers) for frame in frames]
    kinds = sorted({frame.config_type for frame in frames})
    members = {kind: [f for f in frames if f.config_type == kind] for kind in kinds}
    found = {kind: temperature(kind, group) for kind, group in members.items()}
    return Survey(
        frames=len(frames),
        elements=tuple(chemical_symbols[number] for number in numbers),
        kinds={kind: len(group) for kind, group in members.items()},
        temperatures={kind: value for kind, value in found.items() if value is not None},
        mixed={
            kind: (min(values), max(values))
            for kind, group in members.items()
            if len(values := _stated(group)) > 1
        },
        atoms=(min(counts), max(counts)),
        sizes=len(set(counts)),
        trajectories=len({frame.trajectory for frame in frames}),
        stressed=sum(frame.stress is not None for frame in frames),
        isolated=tuple(chemical_symbols[number] for number in isolated),
        spacing=spacing([frame.system for frame in frames]),
        lightest=float(masses(numbers).min()),
    )


def temperature(kind: str, frames: Sequence[Frame]) -> float | None:
    """Temperature (K) that all frames state, or that the name of their kind does: ``aimd_600K``.

    A name that tells several, such as ``300K_to_600K``, tells none.
    """
    stated = _stated(frames)
    if len(stated) == 1:
        return stated.pop()
    named = TEMPERATURE.findall(kind)
    return float(named[0]) if len(named) == 1 and float(named[0]) > 0 else None


def _stated(frames: Sequence[Frame]) -> set[float]:
    """The temperatures that frames tell, K; none unless all do."""
    key = next((k for k in TEMPERATURE_KEYS if all(k in f.info for f in frames)), None)
    values = [frame.info[key] for frame in frames] if key else []
    numbers = [float(value) for value in values if isinstance(value, int | float) and value > 0]
    return set(numbers) if len(numbers) == len(frames) else set()


def spacing(systems: Sequence[System]) -> float:
    """Median over atoms of the distance to the nearest neighbour, Å; ``REACH`` if none has one."""
    chosen = np.unique(np.linspace(0, len(systems) - 1, SAMPLE).round().astype(int))
    nearest = []
    for index in chosen:
        atoms = to_ase(systems[index])
        first, distances = neighbour_list("id", atoms, REACH)
        least = np.full(len(atoms), np.inf)
        np.minimum.at(least, first, distances)
        nearest.append(least[np.isfinite(least)])
    found = np.concatenate(nearest)
    return float(np.median(found)) if len(found) else REACH


def label_keys(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names under which the first frame of a file has its labels, and names that look like labels.

    The latter are not read: labels are ``REF_energy``, ``REF_forces``, ``REF_stress`` or what ASE
    takes for results.
    """
    atoms = ase.io.read(path, index=0, format="extxyz" if path.suffix in EXTENDED_XYZ else None)
    assert isinstance(atoms, ase.Atoms)  # one index, one structure
    names = sorted({*atoms.arrays, *atoms.info})
    read = [name for name in names if name in KEYS and name.startswith(PREFIX)]
    if not read and atoms.calc is not None:
        read = sorted(name for name in atoms.calc.results if name in KEYS)
    others = [n for n in names if n not in KEYS and any(w in n.lower() for w in LABEL_WORDS)]
    return tuple(read), tuple(others)
