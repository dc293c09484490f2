"""Whether two sets of frames can stem from one reference method, judged by their energies.

Structures that both sets hold must have equal energies. Where there are none, energies per atom are
written as a sum over elements by least squares: a set of another functional, pseudopotential or
unit differs by more than heat and structure explain.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from mlffjax.errors import InputError
from mlffjax.structures.checks import is_isolated, structure_digest, unit_ratio
from mlffjax.structures.system import Frame

# eV/atom; two runs of one calculation agree better than this.
AGREEMENT = 1e-3
# eV/atom; the potential energy 3/2 kB T that harmonic atoms have at 1500 K.
HEAT = 0.2
# Of the largest singular value, and of a composition: below, the data do not tell.
NEGLIGIBLE = 1e-6


class Comparison(NamedTuple):
    """Energies of a second set minus those of a first.

    Attributes:
        repeated: of each structure that both hold, eV/atom.
        elements: atomic numbers in either set, ascending.
        shifts: of the least-squares energy of each element, eV; NaN where the compositions of a
            set do not tell elements apart.
        offset: mean over frames of the second set whose composition the first knows, eV/atom; NaN
            without such frames.
        compared: number of these frames.
        typical: mean energies of these frames as the first set predicts them and as the second has
            them, eV/atom.
    """

    repeated: Float64[np.ndarray, " structures"]
    elements: Int64[np.ndarray, " elements"]
    shifts: Float64[np.ndarray, " elements"]
    offset: float
    compared: int
    typical: tuple[float, float]


def compare(first: Sequence[Frame], second: Sequence[Frame]) -> Comparison:
    """Compare the energies of two sets; isolated atoms and frames without energy do not count.

    Raises:
        InputError: a set has no energies.
    """
    first, second = _labelled(first, "first"), _labelled(second, "second")
    elements = np.unique(np.concatenate([f.system.numbers for f in (*first, *second)]))
    parts, energies = _per_atom(first, elements)
    other_parts, other_energies = _per_atom(second, elements)
    fit, known = _fit(parts, energies)
    other_fit, other_known = _fit(other_parts, other_energies)
    each = np.eye(len(elements))
    told = _within(each, known) & _within(each, other_known)
    shared = _within(other_parts, known)
    predicted = (other_parts @ fit)[shared]
    found = other_energies[shared]
    count = int(shared.sum())
    typical = (float(predicted.mean()), float(found.mean())) if count else (np.nan, np.nan)
    return Comparison(
        repeated=_repeated(first, second),
        elements=elements.astype(np.int64),
        shifts=np.where(told, other_fit - fit, np.nan),
        offset=typical[1] - typical[0],
        compared=count,
        typical=typical,
    )


def problems(comparison: Comparison) -> tuple[str, ...]:
    """What speaks against one reference method for both sets, a sentence each; empty if nothing.

    Repeated structures may differ by ``AGREEMENT``. Without any, the offset may reach ``HEAT``:
    colder or more regular frames of one method differ by that much.
    """
    found = []
    different = abs(comparison.repeated) > AGREEMENT
    if different.any():
        found.append(
            f"{int(different.sum())} of {len(different)} structures that both sets hold differ in "
            f"energy by more than {1e3 * AGREEMENT:g} meV/atom (median "
            f"{np.median(comparison.repeated):+.4f} eV/atom)"
        )
    # An atom at a time: the unit shows in the ratio of energies per atom.
    unit = unit_ratio(comparison.typical[1], comparison.typical[0], 1)
    if unit:
        found.append(
            f"energies per atom are {comparison.typical[0]:.6g} and {comparison.typical[1]:.6g}: "
            f"the ratio is that of eV and {unit}"
        )
    elif not len(different) and abs(comparison.offset) > HEAT:
        found.append(
            f"energies differ by {comparison.offset:+.4f} eV/atom at equal composition, more than "
            f"the {HEAT} eV/atom that heat explains"
        )
    return tuple(found)


def _labelled(frames: Sequence[Frame], name: str) -> list[Frame]:
    kept = [frame for frame in frames if frame.energy is not None and not is_isolated(frame)]
    if not kept:
        raise InputError(
            f"expected energies to compare in the {name} set, got none in {len(frames)} frames; "
            "add labels or leave the comparison out"
        )
    return kept


def _per_atom(
    frames: Sequence[Frame], elements: np.ndarray
) -> tuple[Float64[np.ndarray, "frames elements"], Float64[np.ndarray, " frames"]]:
    """Fractions of the elements and energies per atom."""
    fractions = [(f.system.numbers[:, None] == elements).mean(axis=0) for f in frames]
    energies = [(f.energy or 0.0) / len(f.system.numbers) for f in frames]
    return np.array(fractions, dtype=np.float64), np.array(energies, dtype=np.float64)


def _fit(
    parts: Float64[np.ndarray, "frames elements"], energies: Float64[np.ndarray, " frames"]
) -> tuple[Float64[np.ndarray, " elements"], Float64[np.ndarray, "elements elements"]]:
    """Energies of the elements, and the projector onto the compositions that the frames span."""
    _, sizes, directions = np.linalg.svd(parts, full_matrices=False)
    kept = directions[sizes > NEGLIGIBLE * sizes[0]]
    return np.linalg.lstsq(parts, energies, rcond=NEGLIGIBLE)[0], kept.T @ kept


def _within(
    parts: Float64[np.ndarray, "rows elements"], known: Float64[np.ndarray, "elements elements"]
) -> Bool[np.ndarray, " rows"]:
    return np.linalg.norm(parts - parts @ known, axis=1) < NEGLIGIBLE


def _repeated(first: Sequence[Frame], second: Sequence[Frame]) -> Float64[np.ndarray, " pairs"]:
    energies = {structure_digest(frame.system): frame.energy for frame in first}
    pairs = [
        (energies[key], frame)
        for frame in second
        if (key := structure_digest(frame.system)) in energies
    ]
    found = [((f.energy or 0.0) - (energy or 0.0)) / len(f.system.numbers) for energy, f in pairs]
    return np.array(found, dtype=np.float64)
