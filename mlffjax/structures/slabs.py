"""Layers of a crystal that heat has shaken: slabs between planes that no typical bond crosses.

In a hot frame single contacts across a gap are as short as bonds, so that bonded atoms make one
network. Two other quantities survive the heat, being means over many contacts: the typical contact
across a plane, and the bond length at which the atoms between planes become sheets. They enter the
score of ``sheets`` (Larsen et al., doi:10.1103/PhysRevMaterials.3.034003) in the place of the first
contact that ends a sheet and of the bond that completes it.

The typical contact is the self-consistent mean of R. Hoppe, Z. Kristallogr. 150, 23 (1979),
doi:10.1524/zkri.1979.150.1-4.23, in which contacts count less the longer they are.
"""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
from ase.geometry import minkowski_reduce
from jaxtyping import Float64, Int

from mlffjax.structures import sheets
from mlffjax.structures.sheets import LONGEST, LOOSE, STEP, Contacts
from mlffjax.structures.system import System

NARROWEST = 0.5  # Å; between heights of atoms that face each other across a gap
ROUNDS = 50  # of the mean that is consistent with itself; converges to 1e-6 within 20


class Slabs(NamedTuple):
    """Groups of atoms between parallel planes.

    Attributes:
        groups: indices into the whole structure, ascending.
        plane: as ``sheets.Sheets``.
    """

    groups: tuple[Int[np.ndarray, " members"], ...]
    plane: Int[np.ndarray, "2 3"]


def find(system: System, atoms: Int[np.ndarray, " chosen"]) -> Slabs | None:
    """The slabs that some atoms of a structure make; None if they make a network.

    Args:
        system: periodic in at least two directions.
        atoms: which to look at, ascending; the others are as if they were not there.
    """
    part = system._replace(positions=system.positions[atoms], numbers=system.numbers[atoms])
    contacts = sheets.contacts_within(part, LONGEST)
    best, found = 0.0, None
    for plane in _planes(part):
        margin, number = _cut(part, contacts, plane)
        if margin > best:
            groups = tuple(atoms[number == k] for k in np.unique(number))
            best, found = margin, Slabs(groups, plane)
    return found


def typical(scales: Float64[np.ndarray, " contacts"]) -> float:
    """The length that stands for a set of contacts, in sums of radii; ``LONGEST`` for none."""
    if not len(scales):
        return LONGEST
    mean = float(scales.min())
    for _ in range(ROUNDS):
        weights = np.exp(1 - (scales / mean) ** 6)
        mean = float(weights @ scales / weights.sum())
    return mean


def _planes(part: System) -> Iterator[Int[np.ndarray, "2 3"]]:
    """Planes of lattice points with the smallest indices in the most compact cell."""
    if not part.pbc.all():
        yield sheets.primitive_plane(part, np.eye(3, dtype=int)[part.pbc])
        return
    compact = np.asarray(minkowski_reduce(np.asarray(part.cell, float))[1])
    small = np.array([v for v in product((-1, 0, 1), repeat=3) if any(v)])
    for indices in small[len(small) // 2 :]:  # the others are the same planes, seen from behind
        yield sheets.primitive_plane(part, small[small @ indices == 0] @ compact)


class _Heights(NamedTuple):
    """Atoms and contacts along the normal of a plane.

    Attributes:
        first, second: heights of both ends of each contact, Å.
        atoms: heights, Å, within one period if there is one.
        period: Å; infinite in an open direction.
    """

    first: np.ndarray
    second: np.ndarray
    atoms: np.ndarray
    period: float

    def levels(self, heights: np.ndarray, cuts: np.ndarray) -> np.ndarray:
        """How many cuts and their periodic copies lie below some heights, up to a constant."""
        if np.isinf(self.period):
            return np.searchsorted(cuts, heights)
        turns = np.floor(heights / self.period)
        inside = heights - turns * self.period
        return np.searchsorted(cuts, inside) + len(cuts) * turns.astype(int)

    def uncrossed(self, cuts: np.ndarray) -> np.ndarray:
        """Contacts with both ends between the same cuts."""
        return self.levels(self.first, cuts) == self.levels(self.second, cuts)


def _cut(part: System, contacts: Contacts, plane: np.ndarray) -> tuple[float, np.ndarray]:
    """The most cuts along a plane that leave sheets: by how much they do, and slab numbers.

    A margin below zero says that there are none.
    """
    heights = _heights(part, contacts, plane)
    order = np.sort(heights.atoms)
    following = np.append(order[1:], order[0] + heights.period)
    wide = following - order > NARROWEST
    open_end = np.isinf(heights.period)
    places = np.where(wide & np.isfinite(following), (order + following) / 2, order)[wide]
    if open_end:
        places = places[:-1]
    places = np.sort(places % heights.period if not open_end else places)
    across = [
        typical(contacts.scale[~heights.uncrossed(np.array([one]))]) for one in places.tolist()
    ]
    margin, number = -np.inf, np.zeros(len(order), int)
    ranked = np.argsort(across)
    for dropped in range(len(places) + open_end):
        kept = ranked[dropped:]
        cuts, weakest = np.sort(places[kept]), min([across[k] for k in kept], default=LONGEST)
        if 2 * sheets.soft(weakest) < 1:  # even bonds of no length would not be apart from it
            continue
        levels = heights.levels(heights.atoms, cuts)
        number = levels if open_end else levels % len(cuts)
        kin = heights.uncrossed(cuts)
        start = _formed(Contacts(*(values[kin] for values in contacts)), number)
        margin = 2 * sheets.soft(weakest) - sheets.soft(start) - 1
        if margin > 0:
            break
    return margin, number


def _heights(part: System, contacts: Contacts, plane: np.ndarray) -> _Heights:
    cross = np.cross(*(plane @ part.cell))
    area = np.linalg.norm(cross)
    normal = cross / area
    full = part.pbc.all()
    period = float(abs(np.linalg.det(part.cell)) / area) if full else np.inf
    heights = part.positions @ normal
    second = heights[contacts.second] + contacts.shifts @ (part.cell @ normal)
    return _Heights(heights[contacts.first], second, heights % period if full else heights, period)


def _formed(contacts: Contacts, number: np.ndarray) -> float:
    """The bond length, in sums of radii, at which every slab is a sheet; infinite if none."""
    scales = np.arange(1.0, LONGEST, STEP).tolist()
    low, high = 0, len(scales)
    while low < high:  # sheets stay sheets as bonds are added
        middle = (low + high) // 2
        if _all_sheets(contacts, number, scales[middle]):
            high = middle
        else:
            low = middle + 1
    return scales[low] if low < len(scales) else np.inf


def _all_sheets(contacts: Contacts, number: np.ndarray, scale: float) -> bool:
    """Whether bonds up to a length make one sheet of nearly all atoms of every slab."""
    slabs, sizes = np.unique(number, return_counts=True)
    least = dict(zip(slabs.tolist(), ((1 - LOOSE) * sizes).tolist(), strict=True))
    done = set()
    for one in sheets.components(len(number), contacts, scale):
        slab = int(number[one.members[0]])
        if len(one.members) >= least[slab] and sheets.rank(one.cycles) == 2:
            done.add(slab)
    return len(done) == len(least)
