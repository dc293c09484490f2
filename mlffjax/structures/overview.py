"""What a set of frames holds, as numbers to print and to draw."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from mlffjax.structures.checks import closest_pair, is_isolated, structure_digest
from mlffjax.structures.system import Frame, to_ase
from mlffjax.units import GPA


class Overview(NamedTuple):
    """Everything but isolated atoms, except where said otherwise.

    Attributes:
        frames: number of frames.
        isolated: symbols of the isolated atoms that come with an energy.
        compositions: formula and number of frames, the most frequent first.
        duplicates: sources of each group of frames that are one structure.
        missing: label to the number of frames without it.
        values: quantity with unit to its values: one a frame, of forces one an atom.
    """

    frames: int
    isolated: tuple[str, ...]
    compositions: dict[str, int]
    duplicates: tuple[tuple[str, ...], ...]
    missing: dict[str, int]
    values: dict[str, Float64[np.ndarray, " values"]]


def overview(frames: Sequence[Frame]) -> Overview:
    """Count, compare and measure; nothing is refused."""
    atoms = [frame for frame in frames if is_isolated(frame) and frame.energy is not None]
    frames = [frame for frame in frames if not is_isolated(frame)]
    formulas: dict[str, int] = defaultdict(int)
    same: dict[str, list[str]] = defaultdict(list)
    for frame in frames:
        formulas[to_ase(frame.system).get_chemical_formula()] += 1
        same[structure_digest(frame.system)].append(frame.source)
    labels = ("energy", "forces", "stress")
    return Overview(
        frames=len(frames),
        isolated=tuple(sorted({str(to_ase(f.system).symbols) for f in atoms})),
        compositions=dict(sorted(formulas.items(), key=lambda item: -item[1])),
        duplicates=tuple(tuple(sources) for sources in same.values() if len(sources) > 1),
        missing={name: sum(getattr(f, name) is None for f in frames) for name in labels},
        values=_values(frames),
    )


def _values(frames: Sequence[Frame]) -> dict[str, Float64[np.ndarray, " values"]]:
    """Quantities that a frame has; pressure is positive when the cell wants to expand."""
    solid = [frame for frame in frames if frame.system.pbc.all()]
    forces = [np.linalg.norm(frame.forces, axis=1) for frame in frames if frame.forces is not None]
    pairs = [closest_pair(frame.system)[2] for frame in frames]
    found = {
        "atoms per frame": [len(frame.system.numbers) for frame in frames],
        "energy, eV/atom": [
            frame.energy / len(frame.system.numbers) for frame in frames if frame.energy is not None
        ],
        "force on an atom, eV/Å": np.concatenate(forces) if forces else [],
        "pressure, GPa": [
            -np.trace(frame.stress) / 3 / GPA for frame in frames if frame.stress is not None
        ],
        "volume, Å³/atom": [
            abs(np.linalg.det(frame.system.cell)) / len(frame.system.numbers) for frame in solid
        ],
        "closest pair, Å": [distance for distance in pairs if np.isfinite(distance)],
    }
    return {
        name: np.array(values, dtype=np.float64) for name, values in found.items() if len(values)
    }
