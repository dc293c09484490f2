"""What barostats share: the strains a mode allows, and which structures may be strained so.

The whole is at rest, so kinetic energy and virial count the motion of N - 1 particles, while the
ensemble of N particles at constant pressure has weight exp(-(K + U + P V)/kT) dr dp dV. The centre
of mass contributes its positions, a factor V, but no momentum that shrinks when the cell grows:
every barostat here therefore adds kT to the product of pressure and volume. Cells of any shape are
weighed by that volume law times the measure that is the same for all shapes. Exact, if tested on an
ideal gas: <V> = (N + 1) kT/P, var V = (N + 1) (kT/P)².
"""

from typing import ClassVar, Literal

import jax.numpy as jnp
import numpy as np

from mlffjax import units
from mlffjax.arrays import Array, Float
from mlffjax.dynamics.ensembles._section import Section
from mlffjax.errors import InputError
from mlffjax.structures.system import System

Mode = Literal["isotropic", "xy+z", "z", "triclinic"]

HIGHEST_BAR = 1e7
"""1000 GPa, beyond any crystal's use."""
PASCALS = (1e5, 101325.0)
"""One bar and one atmosphere in pascals: nobody means as many bar."""
TERMS = 9
"""Of the exponential series: the next one is 3e-16 for a strain of a tenth per step."""
TILT = 1e-3
"""Sine of the angle to which the layers must lie in the xy plane."""


def strains(mode: Mode) -> Float[Array, "strains 3 3"]:
    """Orthonormal symmetric tensors that span what the mode allows."""
    axes = [np.outer(e, e) for e in np.eye(3)]
    if mode == "isotropic":
        basis = [np.eye(3)]
    elif mode == "xy+z":
        basis = [axes[0] + axes[1], axes[2]]
    elif mode == "z":
        basis = [axes[2]]
    else:
        pairs = [(0, 1), (0, 2), (1, 2)]
        units_ = np.eye(3)
        shears = [np.outer(units_[a], units_[b]) + np.outer(units_[b], units_[a]) for a, b in pairs]
        basis = [*axes, *shears]
    return jnp.array([tensor / np.linalg.norm(tensor) for tensor in basis])


def allowed(
    strains: Float[Array, "strains 3 3"], tensor: Float[Array, "3 3"]
) -> Float[Array, "3 3"]:
    """Projection of a tensor on the strains."""
    weights = (strains * tensor).sum(axis=(1, 2))
    return (weights[:, None, None] * strains).sum(axis=0)


def exponentials(matrix: Float[Array, "3 3"]) -> tuple[Float[Array, "3 3"], Float[Array, "3 3"]]:
    """exp(M), and (exp(M) - 1)/M, which is regular at 0; for small M."""
    identity = jnp.eye(3, dtype=matrix.dtype)
    mean = identity
    for order in range(TERMS, 1, -1):
        mean = identity + matrix @ mean / order
    return identity + matrix @ mean, mean


def upright(before: Float[Array, "3 3"], after: Float[Array, "3 3"]) -> Float[Array, "3 3"]:
    """Rotation, to be applied from the right, that turns a strained cell as it lay before.

    The first vector keeps its direction, and the first two keep their plane.
    """
    return _frame(after).T @ _frame(before)


def _frame(cell: Float[Array, "3 3"]) -> Float[Array, "3 3"]:
    first = cell[0] / jnp.linalg.norm(cell[0])
    normal = jnp.cross(cell[0], cell[1])
    third = normal / jnp.linalg.norm(normal)
    return jnp.stack([first, jnp.cross(third, first), third])


class Barostat(Section):
    """Base of ensembles that change the cell: pressure, mode, and the checks of both."""

    changes_cell: ClassVar[bool] = True

    pressure_bar: float = 1.0
    """Target pressure, bar; the same in all directions."""
    mode: Mode = "isotropic"
    """``xy+z``: layers keep their shape, but thickness and width have lives of their own."""

    def check(self, system: System, cutoff: float) -> None:
        """Refuse structures that have no volume, or none in the direction to be scaled.

        Raises:
            InputError: says which, and what to do.
        """
        if not system.pbc.all():
            raise InputError(
                f"mode {self.mode!r} of a barostat needs a cell that is periodic in three "
                f"directions, got pbc = {system.pbc.tolist()}: pressure has no meaning across an "
                "open side; use a constant volume (nvt_*, nve)"
            )
        if self.mode in ("xy+z", "z"):
            _check_layers_lie_flat(system.cell, self.mode)
        gap, direction = widest_gap(system)
        if gap >= cutoff:
            raise InputError(
                f"expected a bulk structure, got a gap of {gap:.1f} Å without atoms across lattice "
                f"vector {'abc'[direction]}, wider than the potential's {cutoff:.1f} Å: nothing "
                "resists there and a barostat would close it; use a constant volume (nvt_*, nve)"
            )


def widest_gap(system: System) -> tuple[float, int]:
    """Thickest layer without atoms between two lattice planes, Å, and the direction it crosses."""
    inverse = np.linalg.inv(system.cell)
    heights = 1 / np.linalg.norm(inverse, axis=0)
    fractional = np.sort((system.positions @ inverse) % 1, axis=0)
    steps = np.diff(fractional, axis=0, append=fractional[:1] + 1)
    gaps = steps.max(axis=0) * heights
    return float(gaps.max()), int(gaps.argmax())


def checked_pressure(bar: float) -> float:
    """A pressure as it is, unless its unit must be wrong; for validation."""
    if abs(bar) > HIGHEST_BAR:
        raise ValueError(
            f"expected bar, got {bar:g} bar, which is {bar * 1e-4:g} GPa; divide pascals by 1e5"
        )
    if bar in PASCALS:
        raise ValueError(f"expected bar, got {bar:g}, which is one bar or atmosphere in pascals")
    return bar


def internal_pressure(bar: float) -> Float[Array, ""]:
    """eV/Å³."""
    return jnp.asarray(bar * units.BAR)


def _check_layers_lie_flat(cell: np.ndarray, mode: str) -> None:
    normal = np.cross(cell[0], cell[1])
    if np.hypot(normal[0], normal[1]) > TILT * np.linalg.norm(normal):
        raise InputError(
            f"mode {mode!r} scales along z, so lattice vectors a and b must lie in the xy plane, "
            f"got {np.round(cell[:2], 3).tolist()}; rotate the structure or use mode 'triclinic'"
        )
