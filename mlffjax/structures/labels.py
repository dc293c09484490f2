"""Reference energy, forces and stress of a frame, as files spell them."""

from typing import Any, NamedTuple

import ase
import numpy as np
from jaxtyping import Float64

from mlffjax.errors import InputError

PREFIX = "REF_"
# Keys that carry labels and are therefore not repeated in `Frame.info`.
VIRIALS = ("virials", "virial")
KEYS = frozenset(
    prefix + name
    for prefix in ("", PREFIX)
    for name in ("energy", "free_energy", "forces", "stress", *VIRIALS)
)
# REF_stress and REF_virials of one frame may differ by rounding in the file, not by more.
AGREEMENT = 1e-3


class Labels(NamedTuple):
    """What the reference calculation said; see ``Frame`` for units and signs."""

    energy: float | None
    forces: Float64[np.ndarray, "atoms 3"] | None
    stress: Float64[np.ndarray, "3 3"] | None


def read_labels(atoms: ase.Atoms, source: str) -> Labels:
    """Take labels from ``REF_`` keys if there is any, otherwise from the results ASE found.

    The two are never mixed within one frame: they may stem from different methods. Of ASE's
    results the free energy is preferred to the energy, because forces are its derivatives.

    Raises:
        InputError: a label is not numeric or has the wrong shape, a virial comes without a
            volume, or stress and virials contradict each other.
    """
    found = {**atoms.arrays, **atoms.info}
    if any(key in found for key in KEYS if key.startswith(PREFIX)):
        found = {key.removeprefix(PREFIX): found[key] for key in found if key.startswith(PREFIX)}
    else:
        results = {} if atoms.calc is None else dict(atoms.calc.results)
        if "free_energy" in results:
            results["energy"] = results["free_energy"]
        elif "energy" in results:
            results["energy"] += _entropy(atoms.calc)
        found = {**{key: found[key] for key in VIRIALS if key in found}, **results}
    return Labels(
        energy=_energy(found.get("energy"), source),
        forces=_forces(found.get("forces"), len(atoms), source),
        stress=_stress(found, atoms, source),
    )


def _entropy(calculator: Any) -> float:
    """Half of -TS, by which the free energy differs from the energy that ASE takes from GPAW's log.

    Smeared occupations have a free energy, of which forces are derivatives, and an extrapolation to
    zero width; of the log ASE keeps the latter as energy, and both among the contributions.
    """
    parts = getattr(calculator, "energy_contributions", None) or {}
    zero = parts.get("extrapolated", parts.get("zero kelvin"))
    return 0.0 if zero is None or "free energy" not in parts else parts["free energy"] - zero


def _energy(value: Any, source: str) -> float | None:
    if value is None:
        return None
    array = _numeric(value, "energy", source)
    if array.size != 1:
        raise InputError(
            f"{source}: expected one energy (eV), got an array of shape {array.shape}; "
            "give the total energy of the frame"
        )
    return float(array.reshape(()))


def _forces(value: Any, atoms: int, source: str) -> Float64[np.ndarray, "atoms 3"] | None:
    if value is None:
        return None
    array = _numeric(value, "forces", source)
    if array.shape != (atoms, 3):
        raise InputError(
            f"{source}: expected forces of shape {(atoms, 3)} (eV/Å), got {array.shape}; "
            "an extended XYZ file declares them as the column REF_forces:R:3"
        )
    return array


def _stress(
    found: dict[str, Any], atoms: ase.Atoms, source: str
) -> Float64[np.ndarray, "3 3"] | None:
    stress = found.get("stress")
    virials = next((found[key] for key in VIRIALS if key in found), None)
    if stress is not None:
        stress = _tensor(stress, "stress", source)
    if virials is None:
        return stress
    volume = abs(np.linalg.det(atoms.cell.array))
    if volume == 0:
        raise InputError(
            f"{source}: virials need a cell of finite volume to become a stress, got a cell "
            "without volume; add the lattice or remove the virials"
        )
    derived = -_tensor(virials, "virials", source) / volume
    if stress is not None and abs(stress - derived).max() > AGREEMENT * (1e-3 + abs(stress).max()):
        raise InputError(
            f"{source}: expected stress = -virials / volume, got stress xx {stress[0, 0]:.6g} and "
            f"-virials / volume xx {derived[0, 0]:.6g} eV/Å³; check sign and units, or keep only "
            "one of the two"
        )
    return derived if stress is None else stress


def _tensor(value: Any, name: str, source: str) -> Float64[np.ndarray, "3 3"]:
    """Full symmetric matrix of nine numbers or six in Voigt order (xx yy zz yz xz xy)."""
    array = _numeric(value, name, source)
    if array.size == 6 and max(array.shape) == 6:
        xx, yy, zz, yz, xz, xy = array.reshape(6)
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    if array.shape not in ((9,), (1, 9), (3, 3)):
        raise InputError(
            f"{source}: expected {name} as 3x3 or as six numbers xx yy zz yz xz xy, got shape "
            f"{array.shape}"
        )
    matrix = array.reshape(3, 3)
    skew = abs(matrix - matrix.T).max()
    # A plane-wave code leaves asymmetries of about 1e-6 eV/Å³; a permuted tensor leaves large ones.
    if skew > 1e-4 + 0.02 * abs(matrix).max():
        raise InputError(
            f"{source}: expected a symmetric {name}, got off-diagonal elements that differ by "
            f"{skew:.3g}; check how the tensor was written"
        )
    return (matrix + matrix.T) / 2


def _numeric(value: Any, name: str, source: str) -> np.ndarray:
    try:
        if np.asarray(value).dtype == bool:  # T is no energy of 1 eV
            raise TypeError("flags")
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        text = repr(value)
        raise InputError(
            f"{source}: expected numbers for {name}, got {text[:60]}; correct the file"
        ) from error
