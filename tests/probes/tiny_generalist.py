"""Small MACE models of Cr, Sb and Te with random weights, for probes of bundled structures."""

import jax
import numpy as np

from mlffjax import trees
from mlffjax.potential.base import Potential
from mlffjax.potential.sources import mace

ELEMENTS = (24, 51, 52)


def tiny(seed=0, elements=ELEMENTS):
    """float64; the scale of its energies is arbitrary."""
    model = mace.energy_model(mace.example(), elements)
    return trees.cast(Potential(model.init(key=jax.random.key(seed)), model), np.float64)
