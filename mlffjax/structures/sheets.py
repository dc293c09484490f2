"""Sheets of bonded atoms in a crystal, and the scale of bond lengths at which they are seen.

Atoms are bonded if they are closer than k times the sum of their covalent radii. As k grows, a
layered crystal is first loose atoms, then sheets, then a network in three dimensions. Which of
these it is, is decided by the score of Larsen, Pandey, Strange and Jacobsen, Phys. Rev. Materials
3, 034003 (2019), doi:10.1103/PhysRevMaterials.3.034003: the part of a soft step in k between the
first and the last k of each. There the sheets end at the *first* contact between them, which in a
hot crystal is a fluctuation; here they end at the typical one.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int
from matscipy.neighbours import neighbour_list

from mlffjax.errors import InputError
from mlffjax.structures.geometry import radii
from mlffjax.structures.system import System

WIDTH = 0.15  # of the score's soft step beyond the sum of radii; the value of its authors
STEP = 0.02  # between the scales that are looked at
LONGEST = 2.2  # the largest of them: 98 % of the score lie below
LOOSE = 0.1  # largest part of the atoms that heat may have torn off sheets
FACING = 1.25  # contacts up to this multiple of the shortest one are contacts across a gap


class Sheets(NamedTuple):
    """Groups of bonded atoms that extend in one plane.

    Attributes:
        groups: indices into the whole structure, ascending.
        plane: the two shortest lattice vectors in the plane, as integer combinations of the cell
            vectors.
        number: sheet of each of the atoms looked at, -1 where none.
        offset: cell translations that bring the atoms of a sheet together.
    """

    groups: tuple[Int[np.ndarray, " members"], ...]
    plane: Int[np.ndarray, "2 3"]
    number: Int[np.ndarray, " atoms"]
    offset: Int[np.ndarray, "atoms 3"]


class _Network(NamedTuple):
    """What bonds make: sheets, nothing of the kind, or a network in three dimensions."""

    sheets: Sheets | None
    endless: bool


class Contacts(NamedTuple):
    """Directed pairs of atoms that are near each other."""

    first: Int[np.ndarray, " contacts"]
    second: Int[np.ndarray, " contacts"]
    scale: Float64[np.ndarray, " contacts"]  # distance over the sum of radii
    shifts: Int[np.ndarray, "contacts 3"]  # cell translations of the second


def find(
    system: System, atoms: Int[np.ndarray, " chosen"], *, scale: float | None = None
) -> Sheets | None:
    """The sheets that some atoms of a structure make; None if they make something else.

    Args:
        system: periodic in at least two directions.
        atoms: which to look at, ascending; the others are as if they were not there.
        scale: of bond lengths; by default the one with the best score.

    Raises:
        InputError: there are sheets in different planes.
    """
    part = system._replace(positions=system.positions[atoms], numbers=system.numbers[atoms])
    contacts = contacts_within(part, scale or LONGEST)
    if scale is not None:
        return _bonded(part, atoms, contacts, scale).sheets
    best, found, network = 0.0, None, 1.0
    for start, end, sheets, last in _stages(part, atoms, contacts):
        network = end
        if last and sheets is not None and (sheets.number < 0).mean() <= LOOSE:
            network = end = max(end, _typical_contact(part, contacts, sheets))
        if soft(end) - soft(start) > best:
            best, found = soft(end) - soft(start), sheets
    return found if best >= 1 - soft(network) else None


def extend(system: System, atoms: Int[np.ndarray, " chosen"], scale: float) -> bool:
    """Whether bonds among some atoms alone make sheets or networks."""
    part = system._replace(positions=system.positions[atoms], numbers=system.numbers[atoms])
    return any(
        rank(one.cycles) > 1 for one in components(len(atoms), contacts_within(part, scale), scale)
    )


def primitive_plane(
    system: System, vectors: Int[np.ndarray, "vectors 3"]
) -> Int[np.ndarray, "2 3"]:
    """The two shortest lattice vectors in the plane of given ones, of which two are independent."""
    a, b = next((u, v) for u, v in combinations(vectors, 2) if np.cross(u, v).any())
    normal = np.cross(a, b)
    ranges = [np.arange(-4, 5) if periodic else np.zeros(1, int) for periodic in system.pbc]
    every = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = every[(every @ normal == 0) & every.any(axis=1)]
    lengths = np.round(np.linalg.norm(inside @ system.cell, axis=1), 9)
    # Of equally short vectors those along the cell vectors and forward, so that it is one answer.
    inside = inside[np.lexsort((*-inside.T[::-1], np.abs(inside).sum(axis=1), lengths))]
    second = next(v for v in inside[1:] if np.cross(inside[0], v).any())
    return np.array([inside[0], second])


def _stages(
    part: System, atoms: np.ndarray, contacts: Contacts
) -> Iterator[tuple[float, float, Sheets | None, bool]]:
    """First and last scale of each set of sheets, and whether a network comes next."""
    start, before = 1.0, None
    for k in np.arange(1.0, LONGEST, STEP).tolist():
        now = _bonded(part, atoms, contacts, k)
        if now.endless:
            if before is not None:
                yield start, k, before.sheets, True
            return
        if before is not None and not _grown(before.sheets, now.sheets):
            yield start, k, before.sheets, False
            start = k
        before = now
    if before is not None:
        yield start, np.inf, before.sheets, True


def _grown(one: Sheets | None, other: Sheets | None) -> bool:
    """Whether the second are the sheets of the first, with more atoms perhaps."""
    if one is None or other is None:
        return one is other
    if len(one.groups) != len(other.groups):
        return False
    owners = [np.unique(other.number[one.number == k]) for k in range(len(one.groups))]
    return sorted(owner.tolist() for owner in owners) == [[k] for k in range(len(one.groups))]


def soft(scale: float) -> float:
    """Part of the score below a scale: 0 up to the sum of radii, then softly to 1."""
    if np.isinf(scale):
        return 1.0
    squared = (max(0.0, scale - 1) / WIDTH) ** 2
    return squared / (1 + squared)


def _typical_contact(part: System, contacts: Contacts, sheets: Sheets) -> float:
    """Mean distance across the gaps, in sums of radii, of the atoms that face one."""
    first, second, scale, shifts = contacts
    # In another sheet, or in another copy of one: the translation leads out of the plane.
    translations = sheets.offset[first] + shifts - sheets.offset[second]
    between = sheets.number[first] != sheets.number[second]
    between |= (translations @ np.cross(*sheets.plane)) != 0
    nearest = np.full(len(part.numbers), np.inf)
    np.minimum.at(nearest, first[between], scale[between])
    if np.isinf(nearest).all():
        return LONGEST
    return float(nearest[nearest <= FACING * nearest.min()].mean())


def _bonded(part: System, atoms: np.ndarray, contacts: Contacts, scale: float) -> _Network:
    number, offset = np.full(len(atoms), -1), np.zeros((len(atoms), 3), int)
    groups, cycles = [], []
    for one in components(len(atoms), contacts, scale):
        directions = rank(one.cycles)
        if directions == 3:
            return _Network(None, endless=True)
        if directions == 2:
            number[one.members], offset[one.members] = len(groups), one.offsets
            groups.append(atoms[one.members])
            cycles.append(one.cycles)
    if not groups:
        return _Network(None, endless=False)
    together = np.concatenate(cycles)
    if rank(together) > 2:
        raise InputError(
            "the answer is ambiguous: the structure has sheets that are not parallel; name the "
            "atoms of each layer"
        )
    plane = primitive_plane(part, together)
    return _Network(Sheets(tuple(groups), plane, number, offset), endless=False)


def rank(cycles: Int[np.ndarray, "cycles 3"]) -> int:
    """In how many directions bonds lead around the cell."""
    return int(np.linalg.matrix_rank(cycles)) if len(cycles) else 0


def contacts_within(part: System, scale: float) -> Contacts:
    """Pairs of atoms closer than a multiple of the sum of their radii, sorted by the first."""
    sizes = radii(part.numbers)
    first, second, distance, shifts = neighbour_list(
        "ijdS",
        positions=part.positions,
        cell=_spanning(part),
        pbc=part.pbc,
        cutoff=float(2 * scale * sizes.max()),
    )
    relative = distance / (sizes[first] + sizes[second])
    near = relative < scale
    order = np.argsort(first[near], kind="stable")
    return Contacts(*(values[near][order] for values in (first, second, relative, shifts)))


def _spanning(part: System) -> np.ndarray:
    """The cell with an open direction replaced by a normal, long enough for all atoms."""
    cell = np.array(part.cell, float)
    if not part.pbc.all():
        open_one = int(np.argmin(part.pbc))
        normal = np.cross(cell[(open_one + 1) % 3], cell[(open_one + 2) % 3])
        normal /= np.linalg.norm(normal)
        cell[open_one] = normal * (np.ptp(part.positions @ normal) + 20.0)
    return cell


class Component(NamedTuple):
    """Atoms that are bonded to each other.

    Attributes:
        members: indices, ascending.
        offsets: cell translations that bring the members together, [members, 3].
        cycles: translations that bonds lead around the cell by, [cycles, 3].
    """

    members: np.ndarray
    offsets: np.ndarray
    cycles: np.ndarray


def components(count: int, contacts: Contacts, scale: float) -> Iterator[Component]:
    """Bonded components, by walking along the bonds."""
    near = contacts.scale < scale
    first, second, shifts = (contacts.first[near], contacts.second[near], contacts.shifts[near])
    ends = np.searchsorted(first, np.arange(count + 1))
    offset = np.zeros((count, 3), int)
    seen = np.zeros(count, bool)
    for start in range(count):
        if seen[start]:
            continue
        seen[start] = True
        members, front = [start], [start]
        while front:
            atom = front.pop()
            edges = slice(ends[atom], ends[atom + 1])
            for other, shift in zip(second[edges].tolist(), shifts[edges], strict=True):
                if not seen[other]:
                    seen[other], offset[other] = True, offset[atom] + shift
                    members.append(other)
                    front.append(other)
        inside = np.isin(first, members)
        around = (offset[first] + shifts - offset[second])[inside]
        members = np.sort(members)
        yield Component(members, offset[members], np.unique(around[around.any(1)], axis=0))
