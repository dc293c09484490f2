"""What a frame, and a set of frames, must satisfy before anything is computed from it."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from ase.data import chemical_symbols
from ase.neighborlist import neighbor_list

from mlffjax.errors import CompatibilityError, InputError
from mlffjax.structures.system import Frame, System, to_ase

ISOLATED = "isolatedatom"
CLOSEST = 0.3  # Å; half of the shortest bond there is
LARGEST_FORCE = 1e3  # eV/Å
LARGEST_STRESS = 1.0  # eV/Å³, 160 GPa
# Ratios to eV of units in which energies are found: hartree, rydberg, kcal/mol, kJ/mol, meV.
UNITS = {
    "hartree": 27.2114,
    "rydberg": 13.6057,
    "kcal/mol": 1 / 23.0605,
    "kJ/mol": 1 / 96.4853,
    "meV": 1e-3,
}


def is_isolated(frame: Frame) -> bool:
    """Whether the frame holds the reference energy of one free atom."""
    return frame.config_type.lower() == ISOLATED


def check_frame(frame: Frame) -> None:
    """Refuse what cannot be right whatever the rest of the data says.

    Raises:
        InputError: no atoms, not-a-number, a periodic cell without volume, overlapping atoms, or
            magnitudes that only a wrong unit explains.
    """
    _check_numbers(frame)
    _check_cell(frame)
    _check_overlap(frame)
    _check_magnitudes(frame)
    _check_zero_forces(frame)


def require_labels(frames: Iterable[Frame], *, forces: bool = True, stress: bool = False) -> None:
    """Refuse frames without an energy or, as asked, without forces or stress.

    Raises:
        InputError: says how many frames lack which label and names the first.
    """
    frames = tuple(frames)
    wanted = ["energy"] + ["forces"] * forces + ["stress"] * stress
    for name in wanted:
        missing = [frame.source for frame in frames if getattr(frame, name) is None]
        if missing:
            raise InputError(
                f"{missing[0]}: expected a label REF_{name}, got none ({len(missing)} of "
                f"{len(frames)} frames lack it); add it to the file, under that name or as a "
                "result that ASE reads, or leave the frames out"
            )


def require_elements(frames: Iterable[Frame], elements: Iterable[int]) -> None:
    """Refuse frames with an atom whose atomic number is not in ``elements``.

    Raises:
        CompatibilityError: names the first frame, its unknown elements and the known ones.
    """
    known = set(elements)
    for frame in frames:
        unknown = sorted(set(frame.system.numbers.tolist()) - known)
        if unknown:
            raise CompatibilityError(
                f"{frame.source}: expected only {_symbols(known)}, got {_symbols(unknown)} too; "
                "leave these frames out or use a potential that knows the elements"
            )


def require_distinct(frames: Iterable[Frame]) -> None:
    """Refuse the same structure twice: it could end in the training and in the test part.

    Two structures are the same if species, cell and positions agree to 1e-6 Å in the same order.

    Raises:
        InputError: names both frames.
    """
    seen: dict[str, str] = {}
    for frame in frames:
        key = structure_digest(frame.system)
        if key in seen:
            raise InputError(
                f"{frame.source}: expected distinct structures, got the same one as "
                f"{seen[key]}; remove one of them"
            )
        seen[key] = frame.source


def require_one_unit(frames: Iterable[Frame]) -> None:
    """Refuse energies of equal composition that differ as two units do, such as eV and hartree.

    Raises:
        InputError: names the frame, a frame of the same composition, and the unit.
    """
    groups: dict[bytes, list[tuple[float, Frame]]] = defaultdict(list)
    for frame in frames:
        if frame.energy is not None:
            groups[np.sort(frame.system.numbers).tobytes()].append((frame.energy, frame))
    for group in groups.values():
        typical, other = sorted(group, key=lambda member: member[0])[len(group) // 2]
        for energy, frame in group:
            unit = unit_ratio(energy, typical, len(frame.system.numbers))
            if unit:
                raise InputError(
                    f"{frame.source}: expected all energies in eV, got {energy:.6g} where "
                    f"{other.source} of the same composition has {typical:.6g}: the ratio is that "
                    f"of eV and {unit}; convert one of them"
                )


def unit_ratio(energy: float, typical: float, atoms: int) -> str | None:
    """Name of the unit whose ratio to eV two energies of one composition have, or None."""
    # Frames of one composition differ by less than 1 eV/atom unless they are torn apart.
    if energy == 0 or typical == 0 or abs(energy - typical) < atoms:
        return None
    ratio = energy / typical
    for unit, factor in UNITS.items():
        if min(abs(ratio * factor - 1), abs(ratio / factor - 1)) < 0.05:
            return unit
    return None


def _check_numbers(frame: Frame) -> None:
    system = frame.system
    if not len(system.numbers):
        raise InputError(f"{frame.source}: expected atoms, got none; remove the frame")
    unknown = (system.numbers < 1) | (system.numbers >= len(chemical_symbols))
    if unknown.any():
        atom = int(np.argmax(unknown))
        raise InputError(
            f"{frame.source}: expected chemical elements, got atomic number "
            f"{system.numbers[atom]} for atom {atom}; name the element"
        )
    fields = {
        "positions": system.positions,
        "cell": system.cell,
        "energy": frame.energy,
        "forces": frame.forces,
        "stress": frame.stress,
    }
    for name, value in fields.items():
        if value is not None and not np.isfinite(value).all():
            raise InputError(
                f"{frame.source}: expected finite numbers, got NaN or infinity in {name}; the "
                "calculation may have failed, remove the frame"
            )


def _check_cell(frame: Frame) -> None:
    periods = frame.system.cell[frame.system.pbc]
    if not len(periods):
        return
    # Smallest singular value: the thinnest the periodic directions can be.
    thinnest = np.linalg.svd(periods, compute_uv=False).min()
    if thinnest < CLOSEST:
        raise InputError(
            f"{frame.source}: expected linearly independent lattice vectors along the periodic "
            f"directions, got a cell {thinnest:.3g} Å thin; give the lattice or set pbc to F"
        )


def _check_overlap(frame: Frame) -> None:
    first, second, distance = closest_pair(frame.system)
    if distance < CLOSEST:
        raise InputError(
            f"{frame.source}: expected atoms at least {CLOSEST} Å apart, got atoms {first} and "
            f"{second} at {distance:.3g} Å; check positions, cell and length unit (Å)"
        )


def closest_pair(system: System) -> tuple[int, int, float]:
    """The closest pair and its distance; exact for distances below half the thinnest period."""
    complete = to_ase(system).cell.complete().array
    inverse = np.linalg.inv(complete)
    best = (0, 0, np.inf)
    for start in range(0, len(system.numbers), 256):  # rows in blocks: memory stays bounded
        block = system.positions[start : start + 256]
        vectors = block[:, None] - system.positions[None]
        steps = np.round(vectors @ inverse) * system.pbc
        squares = np.sum((vectors - steps @ complete) ** 2, axis=-1)
        rows = np.arange(len(block))
        squares[rows, start + rows] = np.inf
        row, column = divmod(int(np.argmin(squares)), squares.shape[1])
        if squares[row, column] < best[2] ** 2:
            best = (start + row, column, float(np.sqrt(squares[row, column])))
    return best


def _check_magnitudes(frame: Frame) -> None:
    numbers = frame.system.numbers.astype(float)
    # The Thomas-Fermi energy of all electrons, 20.9 Z^(7/3) eV, exceeds every true total energy;
    # light atoms get more room because some codes add a constant.
    bound = np.maximum(1e3, 31 * numbers ** (7 / 3)).sum()
    if frame.energy is not None and abs(frame.energy) > bound:
        raise InputError(
            f"{frame.source}: expected an energy in eV (|E| below {bound:.3g} even with all "
            f"electrons), got {frame.energy:.6g}; convert it (from meV, kcal/mol or kJ/mol?)"
        )
    if frame.forces is not None and abs(frame.forces).max() > LARGEST_FORCE:
        atom = int(np.argmax(abs(frame.forces).max(axis=1)))
        raise InputError(
            f"{frame.source}: expected forces below {LARGEST_FORCE:g} eV/Å, got "
            f"{abs(frame.forces).max():.6g} on atom {atom}; check the unit, or remove the frame"
        )
    if frame.stress is not None and abs(frame.stress).max() > LARGEST_STRESS:
        raise InputError(
            f"{frame.source}: expected a stress below {LARGEST_STRESS:g} eV/Å³ (160 GPa), got "
            f"{abs(frame.stress).max():.6g}; convert it (1 GPa = 0.00624151 eV/Å³, 1 kbar = a "
            "tenth), and give virials, which are in eV, under REF_virials"
        )


def _check_zero_forces(frame: Frame) -> None:
    """Forces that are all exactly zero are placeholders, unless symmetry makes them vanish."""
    if frame.forces is None or len(frame.forces) == 1 or frame.forces.any():
        return
    atoms = to_ase(frame.system)
    first, vectors, distances = neighbor_list("iDd", atoms, 6.0)
    pull = vectors * np.exp(-distances)[:, None]
    sums = [np.bincount(first, pull[:, axis], minlength=len(atoms)) for axis in range(3)]
    # A lattice site with inversion or tetrahedral symmetry leaves the rounding of the positions, up
    # to 1e-4 Å; thermal displacements leave 0.1 and more.
    if abs(np.array(sums)).max() > 1e-2:
        raise InputError(
            f"{frame.source}: expected forces, got zero for every component although no symmetry "
            "makes them vanish; they look like placeholders, remove them or compute them"
        )


def structure_digest(system: System) -> str:
    """Equal for systems of equal species, cell and positions (1e-6 Å) in the same order."""
    rounded = [np.round(array, 6) + 0.0 for array in (system.positions, system.cell)]  # no -0.0
    parts = (np.asarray(system.numbers, np.int32), np.asarray(system.pbc, bool), *rounded)
    return hashlib.sha1(b"|".join(array.tobytes() for array in parts)).hexdigest()


def _symbols(numbers: Iterable[int]) -> str:
    return ", ".join(chemical_symbols[number] for number in sorted(numbers)) or "nothing"
