"""A small representative part of many frames."""

import fnmatch
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations_with_replacement, product
from typing import Literal

import numpy as np
import pydantic
from ase.cell import Cell
from jaxtyping import Float64, Int64

from mlffjax.config import Config
from mlffjax.errors import InputError
from mlffjax.structures.system import Frame, System

CUTOFF = 6.0  # Å; two coordination shells of most solids
CENTERS = np.arange(2.0, CUTOFF, 0.25)  # Å
WIDTH = 0.25  # Å


class SelectionConfig(Config):
    """Which frames to take, and how many.

    Attributes:
        config_types: exact names or glob patterns; ``None`` takes all.
        fraction: of the candidates; with ``equal_by``, of the smallest group, from each group.
        count: number of frames in all; at most one of ``fraction`` and ``count`` is given, and
            without either all candidates are taken (with ``equal_by``, as many as are equal).
        equal_by: take equally many frames from each config type.
        method: ``farthest_point`` spreads over structures, ``random`` follows their density.
        seed: of the random method.
    """

    config_types: tuple[str, ...] | None = None
    fraction: float | None = pydantic.Field(default=None, gt=0.0, le=1.0)
    count: int | None = pydantic.Field(default=None, ge=1)
    equal_by: Literal["config_type"] | None = None
    method: Literal["farthest_point", "random"] = "farthest_point"
    seed: int = pydantic.Field(default=0, ge=0)

    @pydantic.model_validator(mode="after")
    def _one_size(self) -> "SelectionConfig":
        if self.fraction is not None and self.count is not None:
            raise ValueError("fraction and count exclude each other; give one of them")
        return self


def select(
    frames: Sequence[Frame], candidates: Sequence[int], config: SelectionConfig
) -> tuple[int, ...]:
    """Indices out of ``candidates``, in the order of selection.

    Selections are nested: asking for fewer frames gives the beginning of the same sequence, so a
    learning curve adds frames and never exchanges them. With ``equal_by`` the groups take turns.

    Raises:
        InputError: a name matches no candidate, or more frames are asked for than there are.
    """
    chosen = _matching(frames, candidates, config.config_types)
    groups = [chosen]
    if config.equal_by == "config_type":
        by_type: dict[str, list[int]] = defaultdict(list)
        for index in chosen:
            by_type[frames[index].config_type].append(index)
        groups = [by_type[name] for name in sorted(by_type)]
    count = _count(groups, config)
    each = -(-count // len(groups))
    if config.method == "random":
        rng = np.random.default_rng(config.seed)
        rankings = [[group[i] for i in rng.permutation(len(group))] for group in groups]
    else:
        rankings = [_farthest(frames, group, each) for group in groups]
    turns = [ranking[turn] for turn in range(each) for ranking in rankings if turn < len(ranking)]
    return tuple(turns[:count])


def descriptors(systems: Sequence[System]) -> Float64[np.ndarray, "systems features"]:
    """Smooth histograms of distances for each pair of elements, per atom; cheap and invariant.

    A feature is the number of neighbours per atom at a distance near one of ``CENTERS``, weighted
    by 1/distance so that far shells do not dominate.
    """
    elements = sorted({int(number) for system in systems for number in np.unique(system.numbers)})
    pairs = {pair: k for k, pair in enumerate(combinations_with_replacement(elements, 2))}
    table = np.zeros((max(elements) + 1, max(elements) + 1), dtype=int)
    for (low, high), k in pairs.items():
        table[low, high] = table[high, low] = k
    rows = [_histogram(system, table, len(pairs)) for system in systems]
    return np.array(rows).reshape(len(systems), -1)


def farthest_points(points: Float64[np.ndarray, "points features"], count: int) -> list[int]:
    """Start nearest to the mean, then repeatedly take the point farthest from those taken.

    Ties go to the lowest index. Gonzalez, Theor. Comput. Sci. 38, 293 (1985),
    doi:10.1016/0304-3975(85)90224-5.
    """
    taken = [int(np.argmin(np.linalg.norm(points - points.mean(axis=0), axis=1)))]
    distances = np.full(len(points), np.inf)
    while len(taken) < count:
        distances = np.minimum(distances, np.linalg.norm(points - points[taken[-1]], axis=1))
        distances[taken] = -1.0  # a copy of a taken point has distance 0 and may still be needed
        taken.append(int(np.argmax(distances)))
    return taken


def _matching(
    frames: Sequence[Frame], candidates: Sequence[int], names: tuple[str, ...] | None
) -> list[int]:
    if not candidates:
        raise InputError("expected frames to select from, got none; check files and split")
    if names is None:
        return list(candidates)
    present = sorted({frames[index].config_type for index in candidates})
    wanted = set()
    for name in names:
        matches = [kind for kind in present if kind == name or fnmatch.fnmatchcase(kind, name)]
        if not matches:
            raise InputError(
                f"expected frames of config_type {name!r}, got none among {len(candidates)} "
                f"candidates; present are {', '.join(present)}"
            )
        wanted.update(matches)
    return [index for index in candidates if frames[index].config_type in wanted]


def _count(groups: list[list[int]], config: SelectionConfig) -> int:
    """Number of frames to take in all."""
    smallest = min(len(group) for group in groups)
    if config.count is None:
        fraction = 1.0 if config.fraction is None else config.fraction
        return max(1, int(smallest * fraction + 0.5)) * len(groups)
    if config.count > smallest * len(groups) or config.count < len(groups):
        equal = f" in equal parts from {len(groups)} config types" if len(groups) > 1 else ""
        raise InputError(
            f"expected a count from {len(groups)} to {smallest * len(groups)}{equal}, got "
            f"{config.count}; change the count or add frames"
        )
    return config.count


def _farthest(frames: Sequence[Frame], group: list[int], count: int) -> list[int]:
    points = descriptors([frames[index].system for index in group])
    return [group[i] for i in farthest_points(points, min(count, len(group)))]


def _histogram(
    system: System, table: np.ndarray, pairs: int
) -> Float64[np.ndarray, "pairs centers"]:
    first, second, distances = _neighbours(system)
    pair = table[system.numbers[first], system.numbers[second]]
    # Each pair is a neighbour of two atoms.
    fade = (1 + np.cos(np.pi * distances / CUTOFF)) / distances
    bumps = np.exp(-0.5 * ((distances[:, None] - CENTERS) / WIDTH) ** 2) * fade[:, None]
    sums = [np.bincount(pair, column, minlength=pairs) for column in bumps.T]
    return np.array(sums).T / len(system.numbers)


def _neighbours(
    system: System,
) -> tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"], Float64[np.ndarray, " pairs"]]:
    """Pairs of atoms, with all periodic images, closer than ``CUTOFF``; each pair once.

    Whole matrices of distances, one periodic image at a time: for cells of some hundred atoms a
    good ten times faster than ASE's list, which is made for large ones.
    """
    cell = Cell(system.cell).complete().array
    inverse = np.linalg.inv(cell)
    heights = 1 / np.linalg.norm(inverse, axis=0)
    places = system.positions - np.floor(system.positions @ inverse) * system.pbc @ cell
    # Wrapped atoms differ by less than one period, hence the one more.
    reach = np.where(system.pbc, CUTOFF // heights + 1, 0).astype(int)
    found = []
    for step in product(*(range(-n, n + 1) for n in reach)):
        if step < (0, 0, 0):
            continue  # the same pairs as for -step
        squares = np.sum((places[None] + step @ cell - places[:, None]) ** 2, axis=-1)
        close = squares < CUTOFF**2
        first, second = np.nonzero(close if any(step) else np.triu(close, k=1))
        found.append((first, second, np.sqrt(squares[first, second])))
    first, second, distances = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return first, second, distances
