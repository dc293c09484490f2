"""Screened repulsion of nuclei after Ziegler, Biersack and Littmark (ZBL).

J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Matter, Pergamon 1985;
with the constants of mace-torch, under an envelope that ends at the sum of the covalent radii.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from mlffjax.arrays import Array, Float, Int
from mlffjax.potential.mace.radial import envelope
from mlffjax.potential.mace.transforms import radii_sums

CONSTANTS: dict[str, tuple[float, ...] | float] = {
    "c": (0.1818, 0.5099, 0.2802, 0.02817),
    "a_exp": 0.3,
    "a_prefactor": 0.4543,
}
DECAYS = (3.2, 0.9423, 0.4028, 0.2016)
BOHR, COULOMB = 0.529, 14.3996  # Å and eV Å, with the digits of mace-torch


def repulsion(
    distance: Float[Array, "atoms slots"],
    elements: tuple[int, ...],
    receivers: Int[Array, "atoms"],
    senders: Int[Array, "atoms slots"],
    constants: Mapping[str, Array],
    *,
    power: int,
    cutoff: float,
) -> Float[Array, "atoms"]:
    """Half of each pair's repulsion, summed over the neighbours, eV.

    Args:
        distance: of receiver and sender, Å.
        elements: atomic numbers of the species.
        receivers: species of the atoms.
        senders: species of their neighbours.
        constants: ``c``, ``a_exp`` and ``a_prefactor`` of the screening.
        power: of the envelope.
        cutoff: beyond it there are no pairs, Å.
    """
    charges = jnp.asarray(np.array(elements), distance.dtype)
    powers = charges ** constants["a_exp"]
    length = constants["a_prefactor"] * BOHR / (powers[receivers][:, None] + powers[senders])
    scaled = distance / length
    screening = sum(c * jnp.exp(-d * scaled) for c, d in zip(constants["c"], DECAYS, strict=True))
    bare = COULOMB * charges[receivers][:, None] * charges[senders] / distance
    sums = radii_sums(elements, receivers, senders, distance.dtype)
    pairs = jnp.where(distance < cutoff, bare * screening * envelope(distance / sums, power), 0)
    return 0.5 * pairs.sum(axis=1)
