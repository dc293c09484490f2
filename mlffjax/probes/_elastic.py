"""Clamped-ion elastic constants from stresses of strained cells.

C_ij = dσ_i/dε_j by central differences, ions at fixed fractional positions, x, y, z as the cell has
them (for layered crystals z should be the normal of the layers). In a crystal under stress these
are the stress-strain coefficients at that stress. Wallace, Thermodynamics of Crystals (1972).
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from mlffjax import units
from mlffjax.arrays import Array, Float
from mlffjax.structures.strains import strained
from mlffjax.structures.system import System

NAMES = ("c11", "c33", "c12", "c13", "c44")
STEP = 0.005  # strain; the error of the difference is of order STEP² times the fourth derivative


class Constants(NamedTuple):
    """Elastic constants, GPa."""

    c11: Float[Array, ""]
    c33: Float[Array, ""]
    c12: Float[Array, ""]
    c13: Float[Array, ""]
    c44: Float[Array, ""]


def cells(crystal: System, step: float = STEP) -> list[System]:
    """Six cells: strained by plus and minus ``step`` along x, along z, and sheared in yz."""
    along_x, along_z, shear = np.zeros((3, 3, 3))
    along_x[0, 0] = along_z[2, 2] = step
    shear[1, 2] = shear[2, 1] = step / 2  # the engineering shear is twice the element
    return [
        strained(crystal, sign * strain)
        for strain in (along_x, along_z, shear)
        for sign in (1.0, -1.0)
    ]


def constants(stress: Float[Array, "6 3 3"], step: float = STEP) -> Constants:
    """Elastic constants from the stresses, eV/Å³, of ``cells``."""
    x, z, yz = (stress[0::2] - stress[1::2]) / (2 * step * units.GPA)
    return Constants(c11=x[0, 0], c33=z[2, 2], c12=x[1, 1], c13=x[2, 2], c44=yz[1, 2])


def stacked(found: Constants) -> Float[Array, "5"]:
    """In the order of ``NAMES``."""
    return jnp.stack(list(found))
