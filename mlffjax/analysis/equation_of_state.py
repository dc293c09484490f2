"""Volume and bulk modulus from energies of a crystal at several volumes.

The equation of Birch and Murnaghan of third order is a cubic polynomial in x = V^(-2/3), so its fit
is linear least squares: E(x) = c0 + c1 x + c2 x² + c3 x³. At its minimum, where dE/dx = 0,

    B = V d²E/dV² = 4/9 V^(-7/3) d²E/dx²,    since dx/dV = -2/3 V^(-5/3).

Birch, Phys. Rev. 71, 809 (1947), doi:10.1103/PhysRev.71.809.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from mlffjax import units
from mlffjax.errors import InputError

FEWEST = 4


class EquationOfState(NamedTuple):
    """The minimum of E(V); NaN where the curve has none within the volumes given."""

    volume: float  # Å³
    energy: float  # eV
    bulk_modulus: float  # GPa


def fit(
    volumes: Float64[np.ndarray, " points"], energies: Float64[np.ndarray, " points"]
) -> EquationOfState:
    """Fit the Birch-Murnaghan equation of third order.

    Args:
        volumes: Å³, at least four different ones.
        energies: eV.

    Raises:
        InputError: fewer than four different volumes.
    """
    volumes, energies = np.asarray(volumes, float), np.asarray(energies, float)
    if len(np.unique(np.round(volumes, 9))) < FEWEST:
        raise InputError(
            f"expected at least {FEWEST} different volumes for an equation of state, got "
            f"{len(np.unique(np.round(volumes, 9)))}; add strains"
        )
    x = volumes ** (-2 / 3)
    if not np.isfinite(energies).all():
        return EquationOfState(np.nan, np.nan, np.nan)
    energy = np.polynomial.Polynomial.fit(x, energies, 3)  # scales x to [-1, 1]
    slope, curvature = energy.deriv(1), energy.deriv(2)
    roots = slope.roots()
    real = roots[np.abs(np.imag(roots)) < 1e-12 * np.abs(roots)].real
    minima = [r for r in real if x.min() <= r <= x.max() and curvature(r) > 0]
    if not minima:
        return EquationOfState(np.nan, np.nan, np.nan)
    best = min(minima, key=energy)
    volume = best ** (-3 / 2)
    bulk = 4 / 9 * volume ** (-7 / 3) * curvature(best)
    return EquationOfState(float(volume), float(energy(best)), float(bulk / units.GPA))
