"""Where atoms are around atoms: radial distribution functions and coordination numbers."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from matscipy.neighbours import neighbour_list

from mlffjax.analysis.inputs import (
    Frames,
    atomic_number,
    atoms_of,
    checked_cells,
    checked_frames,
    checked_numbers,
    finite,
    symbol,
)
from mlffjax.analysis.uncertainty import Estimate, mean_with_error
from mlffjax.arrays import Float, Int
from mlffjax.errors import InputError

ALL = 0
"""Stands for any species where a pair of species is named."""
# Histograms are kept for this many groups of consecutive frames, to take error bars from.
GROUPS = 512
CHUNK = 32  # frames read at once


class PairDistribution(NamedTuple):
    """g(r) of one pair of species."""

    radii: Float[np.ndarray, "bins"]  # Å, middle of each shell
    g: Float[np.ndarray, "bins"]
    error: Float[np.ndarray, "bins"]


class RadialDistribution(NamedTuple):
    """g(r) of all pairs of species; the first row counts all atoms alike."""

    edges: Float[np.ndarray, "edges"]  # Å, bins + 1
    pairs: Int[np.ndarray, "pairs 2"]  # atomic numbers, the smaller first; ALL, ALL in row 0
    g: Float[np.ndarray, "pairs bins"]
    error: Float[np.ndarray, "pairs bins"]
    # Å; half the smallest height the cell ever had. Beyond it a neighbour is seen together with its
    # own periodic images, so g is that of the periodic system, smoother or more structured than
    # that of a large one.
    finite_size: Float[np.ndarray, ""]

    def pair(self, first: int | str, second: int | str) -> PairDistribution:
        """g(r) of two species, in either order; ``ALL, ALL`` is the total.

        Raises:
            InputError: there is no such pair of atoms; the message names those present.
        """
        wanted = sorted(ALL if s == ALL else atomic_number(s) for s in (first, second))
        found = np.flatnonzero((self.pairs == wanted).all(axis=1))
        if not len(found):
            present = ", ".join(f"{symbol(a)}-{symbol(b)}" for a, b in self.pairs[1:])
            raise InputError(
                f"expected one of the pairs present, {present}, got {first}-{second}; a species "
                "with one atom makes no pair with itself"
            )
        radii = 0.5 * (self.edges[1:] + self.edges[:-1])
        return PairDistribution(radii, self.g[found[0]], self.error[found[0]])


class Coordination(NamedTuple):
    """Number of neighbours within a distance."""

    mean: Estimate  # over atoms and time
    counts: Int[np.ndarray, "counts"]  # 0, 1, 2 ... neighbours
    fraction: Float[np.ndarray, "counts"]  # of atoms and frames that have so many


def radial_distribution(
    positions: Frames,
    numbers: Int[np.ndarray, "atoms"],
    cells: Float[np.ndarray, "... 3 3"],
    *,
    r_max: float,
    bins: int = 200,
) -> RadialDistribution:
    """Partial and total g(r), in any cell and to any distance.

    All pairs within ``r_max`` are counted, each periodic image by itself, so ``r_max`` may exceed
    half the cell; see ``finite_size`` for what that means. g_ab(r) = <n_ab V> / (N_ab v(r)) with
    n_ab ordered pairs in the shell of volume v, the volume V of each frame, and the number N_ab of
    pairs of different atoms: N_a N_b, or N_a (N_a - 1) within one species, so that an ideal gas has
    g = 1 also for two atoms of a species. An atom and its own images are no pair: their distances
    are those of the lattice, whatever the atoms do.

    Args:
        positions: Å, [frames, atoms, 3]; wrapped or not; an array or a stored channel.
        numbers: atomic numbers.
        cells: Å; periodic in all directions.
        r_max: Å.
        bins: number of shells, all equally thick.

    Raises:
        InputError: ``r_max`` or ``bins`` not positive, fewer than 2 frames or atoms, or a cell
            without volume.
    """
    frames, atoms = checked_frames(positions)
    numbers, cells = checked_numbers(numbers, atoms), checked_cells(cells, frames)
    if not (np.isfinite(r_max) and r_max > 0) or bins < 1:
        raise InputError(f"expected r_max > 0 Å and 1 bin or more, got {r_max} Å and {bins} bins")
    edges = np.linspace(0.0, r_max, bins + 1)
    kind = np.unique(numbers, return_inverse=True)[1]
    species = int(kind.max()) + 1
    pairs, rows, count = _pairs(numbers)
    volumes = abs(np.linalg.det(cells))
    groups = _Groups(frames, (len(pairs) - 1, bins))
    for frame, places in _enumerate(positions):
        receivers, senders, distances = neighbour_list(
            "ijd", positions=places, cell=cells[frame], pbc=np.ones(3, bool), cutoff=float(r_max)
        )
        place = rows[kind[receivers] * species + kind[senders]] * bins
        place += np.minimum((distances * (bins / r_max)).astype(np.int64), bins - 1)
        place[receivers == senders] = (len(pairs) - 1) * bins  # beyond all rows: not counted
        size = (len(pairs) - 1) * bins
        histogram = np.bincount(place, minlength=size)[:size]
        groups.add(frame, volumes[frame] * histogram.reshape(-1, bins))
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    mean, series = groups.result(lambda n: np.concatenate([n.sum(1, keepdims=True), n], axis=1))
    scale = 1 / (count[:, None] * shells)
    error = mean_with_error(series * scale).error
    return RadialDistribution(
        edges, pairs, mean * scale, error, np.asarray(0.5 * _heights(cells).min())
    )


def coordination(
    positions: Frames,
    numbers: Int[np.ndarray, "atoms"],
    cells: Float[np.ndarray, "... 3 3"],
    *,
    centre: int | str,
    neighbor: int | str,
    cutoff: float,
) -> Coordination:
    """How many atoms of one species are within ``cutoff`` (Å) of an atom of another.

    Periodic images count like other atoms, also images of the atom itself: this is the coordination
    in the crystal. ``neighbor`` may be ``ALL``.

    Raises:
        InputError: as ``radial_distribution``, or a species is absent.
    """
    frames, atoms = checked_frames(positions)
    numbers, cells = checked_numbers(numbers, atoms), checked_cells(cells, frames)
    if not (np.isfinite(cutoff) and cutoff > 0):
        raise InputError(f"expected a cutoff > 0 Å, got {cutoff}")
    around = np.flatnonzero(atoms_of(numbers, centre))
    counted = np.ones(atoms, bool) if neighbor == ALL else atoms_of(numbers, neighbor)
    means, histogram = np.zeros(frames), np.zeros(1, np.int64)
    for frame, places in _enumerate(positions):
        receivers, senders = neighbour_list(
            "ij", positions=places, cell=cells[frame], pbc=np.ones(3, bool), cutoff=float(cutoff)
        )
        each = np.bincount(receivers[counted[senders]], minlength=atoms)[around]
        means[frame] = each.mean()
        new = np.bincount(each, minlength=len(histogram))
        new[: len(histogram)] += histogram
        histogram = new
    return Coordination(
        mean_with_error(means), np.arange(len(histogram)), histogram / histogram.sum()
    )


def _enumerate(positions: Frames) -> Iterator[tuple[int, np.ndarray]]:
    """Index and positions of each frame, read a chunk at a time and checked to be finite."""
    for start in range(0, positions.shape[0], CHUNK):
        chunk = finite(positions[start : start + CHUNK], "positions")
        yield from enumerate(chunk, start)


def _pairs(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of species, row of each ordered pair of species (flat), number of pairs of atoms."""
    species, kind = np.unique(numbers, return_inverse=True)
    many = np.bincount(kind)
    first, second = np.triu_indices(len(species))
    ordered = np.where(
        first == second, many[first] * (many[first] - 1), 2 * many[first] * many[second]
    )
    kept = ordered > 0
    if not kept.any():
        raise InputError("expected at least 2 atoms, got 1; there are no pairs")
    table = np.zeros((len(species), len(species)), np.int64)
    table[first[kept], second[kept]] = table[second[kept], first[kept]] = np.arange(kept.sum())
    pairs = np.stack([species[first[kept]], species[second[kept]]], axis=1)
    total = np.array([[ALL, ALL]])
    count = np.concatenate([[ordered[kept].sum()], ordered[kept]])
    return np.concatenate([total, pairs]), table.reshape(-1), count


def _heights(cells: np.ndarray) -> np.ndarray:
    """Distances between opposite faces, [frames, 3]."""
    return 1 / np.linalg.norm(np.linalg.inv(cells), axis=-2)


class _Groups:
    """Sums of one array a frame over groups of consecutive frames."""

    def __init__(self, frames: int, shape: tuple[int, ...]) -> None:
        self._size = -(-frames // GROUPS)
        self._frames = frames
        self._sums = np.zeros((-(-frames // self._size), *shape))

    def add(self, frame: int, values: np.ndarray) -> None:
        self._sums[frame // self._size] += values

    def result(self, transform) -> tuple[np.ndarray, np.ndarray]:
        """Mean over all frames, and means of the groups that are full."""
        sums = transform(self._sums)
        full = max(2, self._frames // self._size)
        return sums.sum(axis=0) / self._frames, sums[:full] / self._size
