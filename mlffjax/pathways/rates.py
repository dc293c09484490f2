"""Harmonic transition state theory: how often a barrier is crossed, and how far that carries.

    rate(T) = prefactor exp(-barrier / kB T),
    prefactor = (product of the minimum's frequencies) / (product of the saddle's real ones),

the saddle having one real frequency less. Vineyard, J. Phys. Chem. Solids 3, 121 (1957),
doi:10.1016/0022-3697(57)90059-8. Classical nuclei, no recrossing, harmonic up to kB T; the
rotation of free molecules is not accounted for.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from mlffjax.errors import InputError
from mlffjax.pathways.saddle import Stationary, Status
from mlffjax.pathways.vibrations import NormalModes, normal_modes
from mlffjax.potential.base import Potential
from mlffjax.units import KB

PLANCK = 6.626070040e-34 / 1.6021766208e-19 * 1e12
"""Energy of a quantum of one terahertz, eV; CODATA 2014 as in ``units``."""
FLAT = 0.01
"""THz; a frequency below is no vibration, and a product with it means nothing."""


@dataclass(frozen=True)
class HarmonicRate:
    """What transition state theory says about one jump."""

    prefactor_thz: float
    barrier: float  # saddle above minimum, eV
    correction: (
        float  # zero-point energy of the saddle above that of the minimum, eV; 0 if left out
    )

    def at(self, temperature_k: float | np.ndarray) -> np.ndarray:
        """Jumps per picosecond (THz) along this path.

        Raises:
            InputError: a temperature is not positive.
        """
        temperature = np.asarray(temperature_k, float)
        if not (temperature > 0).all():
            raise InputError(f"expected temperatures above 0 K, got {temperature_k}")
        return self.prefactor_thz * np.exp(-(self.barrier + self.correction) / (KB * temperature))


def harmonic(
    potential: Potential,
    minimum: Stationary,
    saddle: Stationary,
    *,
    masses: Float64[np.ndarray, " atoms"] | None = None,
    zero_point: bool = False,
) -> HarmonicRate:
    """Rate of crossing a saddle from a minimum.

    Args:
        potential: the one both points belong to.
        minimum: from ``saddle.refine_minimum``.
        saddle: from ``saddle.refine_saddle``, with the same atoms fixed.
        masses: u; standard atomic weights by default.
        zero_point: add the difference of zero-point energies to the barrier. The prefactor stays
            classical, so this holds only where h nu is small against kB T or for the comparison of
            isotopes.

    Raises:
        InputError: a point is not converged, the two differ in fixed atoms, a mass is not
            positive, or the modes do not match (see ``vineyard``).
    """
    for point, order in ((minimum, 0), (saddle, 1)):
        if point.status is not Status.CONVERGED or point.order != order:
            raise InputError(
                f"expected a converged stationary point of order {order}, got one of order "
                f"{point.order} whose search ended as {point.status!s} with a force of "
                f"{point.residual:.2g} eV/Å"
            )
    if not np.array_equal(minimum.fixed, saddle.fixed):
        raise InputError("expected the same fixed atoms in minimum and saddle, got different ones")
    below, above = (
        normal_modes(potential, point.system, masses=masses, fixed=point.fixed)
        for point in (minimum, saddle)
    )
    shift = zero_point_energy(above) - zero_point_energy(below) if zero_point else 0.0
    return HarmonicRate(vineyard(below, above), saddle.energy - minimum.energy, shift)


def vineyard(minimum: NormalModes, saddle: NormalModes) -> float:
    """The prefactor, THz.

    With N free atoms, 3N - 3 modes of the minimum meet 3N - 4 real ones of the saddle; with fixed
    atoms 3N meet 3N - 1.

    Raises:
        InputError: modes are missing, the structures have different numbers of them, the minimum
            is unstable, the saddle has not exactly one unstable mode, or a mode is flat.
    """
    for name, modes, order in (("minimum", minimum, 0), ("saddle", saddle, 1)):
        found = modes.frequencies
        if len(found) != modes.freedom:
            raise InputError(
                f"expected all {modes.freedom} modes of the {name}, got {len(found)}; use "
                "normal_modes, a product over some of them means nothing"
            )
        unstable = int((found < 0).sum())
        if unstable != order or np.abs(found).min() < FLAT:
            raise InputError(
                f"expected {order} imaginary frequencies at the {name} and none below {FLAT} THz, "
                f"got {unstable}, the lowest being {np.round(found[:3], 3).tolist()} THz; refine "
                "the point, or fix the atoms that slide"
            )
    if minimum.freedom != saddle.freedom:
        raise InputError(
            f"expected minimum and saddle of one system, got {minimum.freedom} and "
            f"{saddle.freedom} vibrations"
        )
    logarithms = np.log(minimum.frequencies).sum() - np.log(saddle.frequencies[1:]).sum()
    return float(np.exp(logarithms))


def zero_point_energy(modes: NormalModes) -> float:
    """Half a quantum in every real mode, eV.

    Raises:
        InputError: modes are missing.
    """
    if len(modes.eigenvalues) != modes.freedom:
        raise InputError(
            f"expected all {modes.freedom} modes, got {len(modes.eigenvalues)}; use normal_modes"
        )
    found = modes.frequencies
    return float(PLANCK * found[found > 0].sum() / 2)


def diffusion_coefficient(
    rate_thz: float | np.ndarray, *, jump: float, paths: int, dimensions: int
) -> np.ndarray:
    """Diffusion by independent jumps, D = rate paths jump² / (2 dimensions), Å²/ps.

    1 Å²/ps is 1e-4 cm²/s. Compare with the slope of a mean squared displacement. Correlated jumps
    (a vacancy's neighbours jump back) need a factor of their own.

    Args:
        rate_thz: jumps per picosecond along one path.
        jump: length of a jump, Å.
        paths: equivalent jumps that lead away from a site.
        dimensions: 1 along a channel, 2 in a gap between layers, 3 in a solid.

    Raises:
        InputError: the length is not positive, or the other numbers make no lattice.
    """
    if not jump > 0 or paths < 1 or dimensions not in (1, 2, 3):
        raise InputError(
            "expected a positive jump length, at least one path and 1, 2 or 3 dimensions, got "
            f"{jump} Å, {paths} and {dimensions}"
        )
    return np.asarray(rate_thz, float) * paths * jump**2 / (2 * dimensions)
