"""Velocities to start from."""

from collections.abc import Sequence

import numpy as np

from mlffjax import units
from mlffjax.errors import InputError


def draw(
    masses: np.ndarray, temperature_k: float, *, seed: int | Sequence[int], exact: bool = False
) -> np.ndarray:
    """Maxwell-Boltzmann velocities with the centre of mass at rest, Å per internal time.

    Every component of atom i is normal with variance kT/m_i before the velocity of the centre of
    mass is subtracted; subtracting the mean momentum instead would cool light atoms.

    Args:
        masses: u; [atoms].
        temperature_k: K. Where potential energy is at a minimum, half of it goes there soon.
        seed: of NumPy's generator.
        exact: scale to exactly this temperature (3N - 3 degrees of freedom), which is not what an
            ensemble of velocities looks like.

    Raises:
        InputError: temperature or masses cannot be used, or there are fewer than two atoms.
    """
    check_masses(masses)
    if not 0 <= temperature_k < np.inf:
        raise InputError(f"expected a temperature of at least 0 K, got {temperature_k}")
    kt = units.KB * temperature_k
    normal = np.random.default_rng(seed).normal(size=(len(masses), 3))
    velocities = normal * np.sqrt(kt / masses)[:, None]
    velocities -= masses @ velocities / masses.sum()
    if exact and temperature_k > 0:
        twice_kinetic = (masses[:, None] * velocities**2).sum()
        velocities *= np.sqrt((3 * len(masses) - 3) * kt / twice_kinetic)
    return velocities


def without_rotation(
    positions: np.ndarray, velocities: np.ndarray, masses: np.ndarray, pbc: np.ndarray
) -> np.ndarray:
    """Velocities of a cluster without angular momentum about its centre of mass.

    Raises:
        InputError: a direction is periodic; there angular momentum is not defined.
    """
    if np.any(pbc):
        raise InputError(
            f"rotation can be removed from clusters only, got pbc = {np.asarray(pbc).tolist()}: "
            "angular momentum is not defined in a periodic cell; set remove_rotation to false"
        )
    arms = positions - masses @ positions / masses.sum()
    angular = (masses[:, None] * np.cross(arms, velocities)).sum(axis=0)
    inertia = (masses * (arms**2).sum(axis=1)).sum() * np.eye(3) - (masses[:, None] * arms).T @ arms
    # The pseudo-inverse leaves the axis of a linear molecule alone.
    spin = np.linalg.pinv(inertia, rcond=1e-10) @ angular
    return velocities - np.cross(spin, arms)


def check_masses(masses: np.ndarray) -> None:
    """Refuse what cannot move.

    Raises:
        InputError: a mass is not a positive number, or there are fewer than two atoms.
    """
    wrong = ~(np.isfinite(masses) & (masses > 0))
    if wrong.any():
        atom = int(np.argmax(wrong))
        raise InputError(
            f"expected positive masses in u, got {masses[atom]} for atom {atom}; give masses, or "
            "real elements instead of placeholders"
        )
    if len(masses) < 2:
        raise InputError(
            f"expected at least 2 atoms, got {len(masses)}: with its centre of mass at rest a "
            "single atom has nothing to move; repeat the cell"
        )
