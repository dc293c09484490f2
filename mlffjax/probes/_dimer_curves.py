"""What is wrong with a dimer curve, and how deep its well is.

A sound curve falls from a repulsive wall into one well and rises to the free atoms. Two things can
be wrong whatever the chemistry: it goes the wrong way on one side of its lowest point (ripples,
second wells, barriers), or it attracts into overlap (the wall is a hole).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlffjax.arrays import Array, Float, Int
from mlffjax.pathways import hermite
from mlffjax.structures.dimers import RATIOS

PROMINENCE = 0.02  # eV, kT at 230 K; smaller wiggles are not counted as extrema
_TOUCH = int(np.abs(RATIOS - 1).argmin())


class Wells(NamedTuple):
    """Numbers of curves; ``defect`` is ``ripple + hole``."""

    depth: Float[Array, "pairs"]  # lowest point below the largest distance, eV
    distance: Float[Array, "pairs"]  # of the lowest point, Å
    ripple: Float[Array, "pairs"]  # rises before the lowest point and falls after it, summed, eV
    hole: Float[Array, "pairs"]  # the nearest point below that at the sum of radii, else 0, eV
    extrema: Int[Array, "pairs"]  # of the curve; a sound one has one

    @property
    def defect(self) -> Float[Array, "pairs"]:
        """eV; zero for a sound curve."""
        return self.ripple + self.hole


def wells(
    distance: Float[Array, "pairs points"],
    energy: Float[Array, "pairs points"],
    slope: Float[Array, "pairs points"],
) -> Wells:
    """Judge curves sampled at the distances of ``structures.dimers``.

    Args:
        distance: Å.
        energy: eV; only differences matter.
        slope: dE/dr, eV/Å.
    """
    lowest = jnp.argmin(energy, axis=1)
    steps = jnp.diff(energy, axis=1)
    before = jnp.arange(steps.shape[1]) < lowest[:, None]
    wrong = jnp.where(before, jnp.maximum(steps, 0.0), jnp.maximum(-steps, 0.0))
    count = jax.vmap(lambda *c: hermite.count_extrema(hermite.Curve(*c), prominence=PROMINENCE))
    return Wells(
        depth=energy[:, -1] - energy.min(axis=1),
        distance=jnp.take_along_axis(distance, lowest[:, None], axis=1)[:, 0],
        ripple=wrong.sum(axis=1),
        hole=jnp.maximum(energy[:, _TOUCH] - energy[:, 0], 0.0),
        extrema=count(distance, energy, slope),
    )
