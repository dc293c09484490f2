"""The layers of a layered structure: which atoms, which plane, which gaps between them.

Layers are sheets of bonded atoms (``sheets``), or groups of atoms that are named. Atoms of a
minority element that glue sheets together, such as an intercalated metal, are recognised as that
without which the structure falls into more sheets. An atom of no sheet belongs to the layer whose
height it shares, or else to a gap.

Where heat makes a network of the bonds, layers are what lies between planes that no typical bond
crosses (``slabs``). In a molten frame, or where a slide puts atoms on top of each other, there may
be none, or wrong ones; carry them over from the crystal at rest (``like``), or name their atoms.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pydantic
from ase.data import chemical_symbols
from jaxtyping import Float64, Int

from mlffjax.config import Config
from mlffjax.errors import InputError
from mlffjax.structures import sheets, slabs
from mlffjax.structures.sheets import Sheets
from mlffjax.structures.slabs import Slabs
from mlffjax.structures.system import System

VACUUM = 6.0  # Å; layers farther apart do not touch, and sliding across such a gap costs nothing
MINORITY = 0.25  # largest part of the atoms that may be taken for intercalated
_Search = Callable[[System, np.ndarray], Sheets | Slabs | None]
SMALLER = 0.99  # a face of the cell is the smallest if its area is below this part of all others


class LayersConfig(Config):
    """How the layers of a structure are known; by default they are found."""

    atoms: tuple[tuple[int, ...], ...] | None = None
    """Atoms of each layer, counted from 0; of a single layer, all others are the other one."""
    plane: tuple[tuple[int, int, int], tuple[int, int, int]] | None = None
    """Of layers whose atoms are named: two lattice vectors, as combinations of the cell vectors."""
    intercalated: tuple[int, ...] | None = None
    """Atoms that belong to no layer, for layers that are found."""
    scale: float | None = pydantic.Field(
        default=None,
        gt=0,
        description="bond lengths in sums of covalent radii, for layers that are found",
    )

    @pydantic.model_validator(mode="after")
    def _named_or_found(self) -> "LayersConfig":
        if self.atoms is not None and (self.intercalated is not None or self.scale is not None):
            raise ValueError("'atoms' names the layers, which leaves no use for the other entries")
        if self.atoms is None and self.plane is not None:
            raise ValueError("'plane' belongs to layers whose 'atoms' are named")
        return self


class Layer(NamedTuple):
    """One layer.

    Attributes:
        atoms: indices, ascending.
        bottom, top: heights of its outermost atoms along the normal, Å; bottom within one period.
    """

    atoms: Int[np.ndarray, " members"]
    bottom: float
    top: float


class Gap(NamedTuple):
    """The space above one layer and below the next, counted round through the periodic cell.

    Attributes:
        below, above: indices of the layers; equal if a cell holds one layer.
        thickness: from the top of the one to the bottom of the other, Å.
        intercalated: atoms in it.
        vacuum: wider than ``VACUUM`` and empty, or open to the outside.
    """

    below: int
    above: int
    thickness: float
    intercalated: Int[np.ndarray, " guests"]
    vacuum: bool


class Layers(NamedTuple):
    """All layers of a structure from below; above a vacuum, if there is one, the first.

    Attributes:
        layers: at least one.
        gaps: gap k lies above layer k.
        normal: unit vector towards the next layer.
        plane: the two shortest lattice vectors in the plane, as integer combinations of the cell
            vectors; right-handed with the normal.
        area: of one cell in the plane, Å².
        period: distance along the normal after which layers repeat, Å; infinite if they do not.
        numbers: layer of each atom, -1 for intercalated atoms.
    """

    layers: tuple[Layer, ...]
    gaps: tuple[Gap, ...]
    normal: Float64[np.ndarray, " 3"]
    plane: Int[np.ndarray, "2 3"]
    area: float
    period: float
    numbers: Int[np.ndarray, " atoms"]


def layers_of(system: System, config: LayersConfig) -> Layers:
    """The layers of a structure as configured.

    Raises:
        InputError: see ``find`` and ``named``.
    """
    if config.atoms is not None:
        return named(system, config.atoms, plane=config.plane)
    return find(system, intercalated=config.intercalated, scale=config.scale)


def find(
    system: System,
    *,
    intercalated: Sequence[int] | None = None,
    scale: float | None = None,
) -> Layers:
    """Find the layers of a structure that is periodic in at least two directions.

    Args:
        system: any cell, also one in which the layers are not parallel to a face.
        intercalated: atoms that belong to no layer; found by themselves if not given.
        scale: atoms closer than this multiple of the sum of their covalent radii are bonded;
            found by itself if not given.

    Raises:
        InputError: there are no layers, or more than one answer, or layers that are not parallel;
            the message says how to name them.
    """
    if system.pbc.sum() < 2:
        raise InputError(
            f"expected a structure that is periodic in two or three directions, got pbc = "
            f"{system.pbc.tolist()}; a layer extends in two"
        )
    found = _searched(system, intercalated, partial(sheets.find, scale=scale))
    if found is None and scale is None:
        found = _searched(system, intercalated, slabs.find)
    if found is None:
        counts = Counter(chemical_symbols[int(z)] for z in system.numbers)
        formula = "".join(f"{symbol}{number}" for symbol, number in sorted(counts.items()))
        raise InputError(
            f"no layers in {formula}: its bonds make no separate sheets; if it is a frame of a "
            "layered crystal that melts or slides, find them in the crystal at rest and carry them "
            "over (layers.like, or its 'atoms'); otherwise say which atoms are 'intercalated', set "
            "a 'scale' of bond lengths, or name the atoms of each layer"
        )
    return _assembled(system, found.plane, found.groups)


def named(
    system: System,
    groups: Sequence[Sequence[int]],
    *,
    plane: Sequence[Sequence[int]] | None = None,
) -> Layers:
    """Layers whose atoms are known; of a single group, all other atoms are the other layer.

    Args:
        system: periodic in at least two directions.
        groups: atoms of each layer; atoms in none are intercalated.
        plane: two lattice vectors in the plane of the layers, as integer combinations of the cell
            vectors; by default the pair of cell vectors whose plane keeps the groups apart.

    Raises:
        InputError: atoms that do not exist or are named twice, an empty group, or no plane or more
            than one that keeps the groups apart.
    """
    count = len(system.numbers)
    parts = [np.unique(np.asarray(group, int)) for group in groups]
    flat = np.concatenate(parts) if parts else np.zeros(0, int)
    valid = len(flat) and all(map(len, parts)) and flat.min() >= 0 and flat.max() < count
    if not valid or len(np.unique(flat)) < len(flat):
        raise InputError(
            f"expected layers of atoms between 0 and {count - 1}, each named once, got "
            f"{[list(group) for group in groups]}"
        )
    if len(parts) == 1:
        parts.append(np.setdiff1d(np.arange(count), flat))
        if not len(parts[1]):
            raise InputError("expected some atoms outside the one layer that is named, got none")
    return _assembled(system, _plane_between(system, parts, plane), parts)


def like(system: System, rest: Layers) -> Layers:
    """The layers of a frame by those of the same crystal at rest: the same atoms, other heights.

    Args:
        system: a hot or strained frame with the atoms of the crystal in the same order.
        rest: from ``find`` for the crystal at rest.

    Raises:
        InputError: another number of atoms, or layers that have come to overlap.
    """
    if len(system.numbers) != len(rest.numbers):
        raise InputError(
            f"expected a frame of the {len(rest.numbers)} atoms whose layers are known, got "
            f"{len(system.numbers)} atoms"
        )
    return _assembled(system, rest.plane, [layer.atoms for layer in rest.layers])


def _searched(
    system: System, intercalated: Sequence[int] | None, search: _Search
) -> Sheets | Slabs | None:
    """What a search gives for all atoms, or without those that are or may be intercalated."""
    every = np.arange(len(system.numbers))
    if intercalated is not None:
        rest = np.setdiff1d(every, np.asarray(intercalated, int))
        return search(system, rest) if len(rest) else None
    found = search(system, every)
    return _parted(system, found, search) or found


def _parted(system: System, whole: Sheets | Slabs | None, search: _Search) -> Sheets | Slabs | None:
    """More layers than of all atoms that appear when a minority element is left out.

    What makes a network by bonds of its own is a layer, and is not left out.

    Raises:
        InputError: leaving out one or another element gives different layers or, of slabs, none.
    """
    least = 0 if whole is None else len(whole.groups)
    answers: dict[str, Sheets | Slabs] = {}
    for number in np.unique(system.numbers):
        guests = np.flatnonzero(system.numbers == number)
        if len(guests) > MINORITY * len(system.numbers) or sheets.extend(system, guests, 1.0):
            continue
        rest = np.setdiff1d(np.arange(len(system.numbers)), guests)
        found = search(system, rest)
        if isinstance(whole, Slabs) and (
            found is None or np.linalg.matrix_rank([*whole.plane, *found.plane]) > 2
        ):
            raise InputError(
                f"the answer is ambiguous: without {chemical_symbols[int(number)]} layers lie in "
                "another plane or nowhere; carry them over from the crystal at rest (layers.like)"
            )
        if found is not None and len(found.groups) > least:
            answers[chemical_symbols[int(number)]] = found
    if len(answers) > 1:
        raise InputError(
            "the answer is ambiguous: the structure falls into layers without "
            + " as well as without ".join(answers)
            + "; say which atoms are 'intercalated', or name the atoms of each layer"
        )
    return next(iter(answers.values()), None)


def _plane_between(
    system: System, parts: Sequence[np.ndarray], plane: Sequence[Sequence[int]] | None
) -> np.ndarray:
    """Primitive lattice vectors of the plane of groups that are known."""
    if plane is not None:
        given = np.asarray(plane)
        usable = given.shape == (2, 3) and np.issubdtype(given.dtype, np.integer)
        if not usable or np.linalg.matrix_rank(given) < 2 or given[:, ~system.pbc].any():
            raise InputError(
                "expected a plane of two independent lattice vectors along periodic directions, "
                f"each three integers, got {np.asarray(plane).tolist()} for pbc = "
                f"{system.pbc.tolist()}"
            )
        return sheets.primitive_plane(system, given)
    faces = []
    for pair in combinations(np.flatnonzero(system.pbc), 2):
        face = sheets.primitive_plane(system, np.eye(3, dtype=int)[list(pair)])
        if _stacked(system, face, parts) is not None:
            faces.append((float(np.linalg.norm(np.cross(*(face @ system.cell)))), face))
    faces.sort(key=lambda one: one[0])
    if not faces or (len(faces) > 1 and faces[0][0] > SMALLER * faces[1][0]):
        raise InputError(
            f"expected one face of the cell that keeps the named layers apart, found {len(faces)}; "
            "give the 'plane' of the layers as two lattice vectors, such as [[1, 0, 0], [0, 1, 0]]"
        )
    return faces[0][1]


class _Stack(NamedTuple):
    """Groups in order of height.

    Attributes:
        order: of the groups, from below.
        bottoms, tops: in that order, Å; bottoms within one period.
        normal, plane, area, period: as in ``Layers``.
        heights: of all atoms, Å, as they are.
    """

    order: np.ndarray
    bottoms: np.ndarray
    tops: np.ndarray
    normal: np.ndarray
    plane: np.ndarray
    area: float
    period: float
    heights: np.ndarray


def _stacked(system: System, plane: np.ndarray, groups: Sequence[np.ndarray]) -> _Stack | None:
    """Heights of groups along the normal of a plane; None if they overlap."""
    plane, normal, area = _oriented(system, plane)
    period = abs(np.linalg.det(system.cell)) / area if system.pbc.all() else np.inf
    heights = system.positions @ normal
    ends = np.array([_extent(heights[group], period) for group in groups])
    order = np.lexsort((ends[:, 1], ends[:, 0]))
    bottoms, tops = ends[order].T
    following = np.append(bottoms[1:], bottoms[0] + period)
    if (tops >= following).any():
        return None
    return _Stack(order, bottoms, tops, normal, plane, area, period, heights)


def _oriented(system: System, plane: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The plane with its unit normal pointing forward, and its area, Å²."""
    cross = np.cross(*(plane @ system.cell))
    area = float(np.linalg.norm(cross))
    along = system.cell @ cross if system.pbc.all() else cross
    if along[np.argmax(np.abs(along))] < 0:
        plane, cross = plane[::-1], -cross
    return plane, cross / area, area


def _extent(heights: np.ndarray, period: float) -> tuple[float, float]:
    """Bottom (within one period) and top of a group whose atoms may be wrapped."""
    if np.isinf(period):
        return float(heights.min()), float(heights.max())
    wrapped = np.sort(heights % period)
    spaces = np.diff(np.append(wrapped, wrapped[0] + period))
    first = (int(np.argmax(spaces)) + 1) % len(wrapped)
    return float(wrapped[first]), float(wrapped[first] + period - spaces.max())


def _assembled(system: System, plane: np.ndarray, groups: Sequence[np.ndarray]) -> Layers:
    """Layers and gaps in order; atoms of no group go where their height says."""
    stack = _stacked(system, plane, groups)
    if stack is None:
        raise InputError(
            "expected layers above each other, but their heights overlap; name the atoms of each "
            "layer, or their 'plane'"
        )
    members = [groups[index] for index in stack.order]
    guests: list[list[int]] = [[] for _ in members]
    for atom in np.setdiff1d(np.arange(len(system.numbers)), np.concatenate(members)):
        layer, inside = _place(stack, float(stack.heights[atom]))
        if inside:
            members[layer] = np.sort(np.append(members[layer], atom))
        else:
            guests[layer].append(int(atom))
    count = len(members)
    gaps = [
        _gap(stack, index, (index + 1) % count, np.array(guests[index], int))
        for index in range(count)
    ]
    layers = [
        Layer(*one)
        for one in zip(members, stack.bottoms.tolist(), stack.tops.tolist(), strict=True)
    ]
    empty = [index for index, gap in enumerate(gaps) if gap.vacuum]
    turn = (empty[0] + 1) % count if len(empty) == 1 else 0
    layers, gaps = layers[turn:] + layers[:turn], gaps[turn:] + gaps[:turn]
    gaps = [gap._replace(below=index, above=(index + 1) % count) for index, gap in enumerate(gaps)]
    numbers = np.full(len(system.numbers), -1)
    for index, layer in enumerate(layers):
        numbers[layer.atoms] = index
    return Layers(
        tuple(layers), tuple(gaps), stack.normal, stack.plane, stack.area, stack.period, numbers
    )


def _place(stack: _Stack, height: float) -> tuple[int, bool]:
    """The layer that an atom is in, or else the one below it."""
    above = height - stack.bottoms
    if np.isfinite(stack.period):
        above %= stack.period
    else:
        above = np.where(above < 0, np.inf, above)
    # Below the lowest layer of an open structure: the gap that has no end.
    layer = int(np.argmin(above)) if np.isfinite(above).any() else len(above) - 1
    return layer, bool(above[layer] <= stack.tops[layer] - stack.bottoms[layer])


def _gap(stack: _Stack, below: int, above: int, guests: np.ndarray) -> Gap:
    top = stack.tops[below]
    wraps = above <= below
    end = stack.bottoms[above] + (stack.period if wraps else 0.0)
    if np.isinf(end):
        return Gap(below, above, np.inf, guests, vacuum=True)
    inside = (stack.heights[guests] - top) % (stack.period if wraps else np.inf)
    spaces = np.diff(np.sort(np.concatenate([[0.0], inside, [end - top]])))
    return Gap(below, above, float(end - top), guests, vacuum=bool(spaces.max() > VACUUM))
