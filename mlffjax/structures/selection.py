"""A small representative part of many frames."""

import fnmatch
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement, product
from typing import Annotated, Literal

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

Share = Annotated[float, pydantic.Field(gt=0)]


class SelectionConfig(Config):
    """Which frames to take, and how many.

    Attributes:
        config_types: exact names or glob patterns; ``None`` takes all.
        shares: parts of the selection for each of ``config_types``, in any unit, such as
            ``[1, 2, 1]``; frames that several patterns match belong to the first.
        fraction: of the candidates; with ``equal_by``, of the smallest group, from each group; with
            ``shares``, of the most frames that have these shares.
        count: number of frames in all; at most one of ``fraction`` and ``count`` is given, and
            without either all candidates are taken (with ``equal_by`` or ``shares``, as many as
            keep the proportions).
        equal_by: take equally many frames from each config type.
        method: ``farthest_point`` spreads over structures, ``random`` follows their density,
            ``uncertainty`` takes those first whose forces the foundation misses most.
        seed: of the random method.
    """

    config_types: tuple[str, ...] | None = None
    fraction: float | None = pydantic.Field(default=None, gt=0.0, le=1.0)
    count: int | None = pydantic.Field(default=None, ge=1)
    equal_by: Literal["config_type"] | None = None
    shares: tuple[Share, ...] | None = None
    method: Literal["farthest_point", "random", "uncertainty"] = "farthest_point"
    seed: int = pydantic.Field(default=0, ge=0)

    @pydantic.model_validator(mode="after")
    def _one_size(self) -> "SelectionConfig":
        if self.fraction is not None and self.count is not None:
            raise ValueError("fraction and count exclude each other; give one of them")
        return self

    @pydantic.model_validator(mode="after")
    def _one_share_each(self) -> "SelectionConfig":
        if self.shares is None:
            return self
        if self.equal_by is not None:
            raise ValueError("shares and equal_by exclude each other; give one of them")
        if len(self.shares) != len(self.config_types or ()):
            raise ValueError(
                f"expected one share for each of config_types, got {len(self.shares)} shares and "
                f"{len(self.config_types or ())} config_types"
            )
        return self


def select(
    frames: Sequence[Frame],
    candidates: Sequence[int],
    config: SelectionConfig,
    *,
    scores: Mapping[int, float] | None = None,
) -> tuple[int, ...]:
    """Indices out of ``candidates``, in the order of selection.

    Selections are nested: asking for fewer frames gives the beginning of the same sequence, so a
    learning curve adds frames and never exchanges them. With ``equal_by`` or ``shares`` the groups
    take turns, so that every beginning has nearly the proportions of the whole.

    Args:
        frames: all frames.
        candidates: indices to select from.
        config: which, how many, how.
        scores: uncertainty of each candidate, for the method of that name.

    Raises:
        InputError: a name matches no candidate, more frames are asked for than there are, or the
            method needs scores that are not given.
    """
    groups, shares = _groups(frames, candidates, config)
    count = _count(groups, shares, config)
    if config.method == "random":
        rng = np.random.default_rng(config.seed)
        rankings = [[group[i] for i in rng.permutation(len(group))] for group in groups]
    elif config.method == "uncertainty":
        if scores is None:
            raise InputError(
                "expected the uncertainty of every candidate, got none; a study measures it with "
                "its foundation, elsewhere choose farthest_point or random"
            )
        worst = {index: (-scores[index], index) for group in groups for index in group}
        rankings = [sorted(group, key=worst.__getitem__) for group in groups]
    else:
        rankings = [_farthest(frames, group, count) for group in groups]
    taken = [0] * len(groups)
    chosen = []
    for _ in range(count):
        # The group farthest below its share of what will have been taken; ties to the first.
        lag = [(taken[g] + 0.5) / shares[g] for g in range(len(groups))]
        turn = min(
            (g for g in range(len(groups)) if taken[g] < len(rankings[g])), key=lag.__getitem__
        )
        chosen.append(rankings[turn][taken[turn]])
        taken[turn] += 1
    return tuple(chosen)


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


def _groups(
    frames: Sequence[Frame], candidates: Sequence[int], config: SelectionConfig
) -> tuple[list[list[int]], list[float]]:
    """Candidates by group, and which part of the selection comes from each."""
    matches = _matching(frames, candidates, config.config_types)
    matched = {index for group in matches for index in group}
    chosen = [index for index in candidates if index in matched]
    if config.shares is not None:
        total = sum(config.shares)
        return matches, [share / total for share in config.shares]
    if config.equal_by is None:
        return [chosen], [1.0]
    by_type: dict[str, list[int]] = defaultdict(list)
    for index in chosen:
        by_type[frames[index].config_type].append(index)
    return [by_type[name] for name in sorted(by_type)], [1 / len(by_type)] * len(by_type)


def _matching(
    frames: Sequence[Frame], candidates: Sequence[int], names: tuple[str, ...] | None
) -> list[list[int]]:
    """Candidates that each name matches and no name before it does."""
    if not candidates:
        raise InputError("expected frames to select from, got none; check files and split")
    if names is None:
        return [list(candidates)]
    present = sorted({frames[index].config_type for index in candidates})
    free, found = set(present), []
    for name in names:
        matches = {kind for kind in present if kind == name or fnmatch.fnmatchcase(kind, name)}
        if not matches:
            raise InputError(
                f"expected frames of config_type {name!r}, got none among {len(candidates)} "
                f"candidates; present are {', '.join(present)}"
            )
        own = matches & free
        free -= own
        found.append([index for index in candidates if frames[index].config_type in own])
    return found


def _count(groups: list[list[int]], shares: list[float], config: SelectionConfig) -> int:
    """Number of frames to take in all."""
    if empty := [i for i, group in enumerate(groups) if not group]:
        names = config.config_types or ()
        raise InputError(
            f"expected frames for the share of config_type {names[empty[0]]!r}, got none that an "
            "earlier pattern does not match; order the patterns from narrow to wide"
        )
    # Rounded against 0.3 / 0.1 being a little below 3.
    most = min(int(len(group) / share + 1e-9) for group, share in zip(groups, shares, strict=True))
    if config.count is None:
        fraction = 1.0 if config.fraction is None else config.fraction
        if config.shares is not None:
            return max(len(groups), int(most * fraction + 0.5))
        return max(1, int(most // len(groups) * fraction + 0.5)) * len(groups)
    if config.count > most or config.count < len(groups):
        parts = "in the asked shares" if config.shares else "in equal parts"
        equal = f" {parts} from {len(groups)} config types" if len(groups) > 1 else ""
        raise InputError(
            f"expected a count from {len(groups)} to {most}{equal}, got {config.count}; change "
            "the count or add frames"
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
