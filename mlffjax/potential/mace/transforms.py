"""What is done to a distance before the radial functions: it is measured by the covalent radii.

The envelope keeps the distance itself.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from ase.data import covalent_radii

from mlffjax.arrays import Array, Float, Int


class Transform(NamedTuple):
    """A function of distances and sums of covalent radii (Å), and its constants."""

    constants: dict[str, float]
    function: Callable[[Array, Array, Mapping[str, Array]], Array]


def radii_sums(
    elements: tuple[int, ...],
    receivers: Int[Array, "atoms"],
    senders: Int[Array, "atoms slots"],
    dtype: np.dtype,
) -> Float[Array, "atoms slots"]:
    """Sum of the covalent radii of both ends of each edge, Å."""
    radii = jnp.asarray(covalent_radii[list(elements)], dtype)
    return radii[receivers][:, None] + radii[senders]


def _agnesi(distance: Array, sums: Array, constants: Mapping[str, Array]) -> Array:
    """1 / (1 + a s^q / (1 + s^(q - p))), s = r / r0, r0 the mean of both radii.

    Witt et al., J. Chem. Phys. 159, 164101 (2023), doi:10.1063/5.0158783.
    """
    a, p, q = (constants[name] for name in ("a", "p", "q"))
    scaled = distance / (0.5 * sums)
    return 1 / (1 + a * scaled**q / (1 + scaled ** (q - p)))


def _soft(distance: Array, sums: Array, constants: Mapping[str, Array]) -> Array:
    """Goes over from 3/4 of the bond length to the distance, between 3/4 and 4/3 of it."""
    low, high = 3 / 4 * sums, 4 / 3 * sums
    steepness = constants["alpha"] / (high - low)
    step = 0.5 * (1 + jnp.tanh(steepness * (distance - 0.5 * (low + high))))
    return low + (distance - low) * step


TRANSFORMS = {
    "Agnesi": Transform({"a": 1.0805, "p": 4.5791, "q": 0.9183}, _agnesi),
    "Soft": Transform({"alpha": 4.0}, _soft),
}
