"""Every kind of energy model either has the exact heat flux or says that it has none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.dynamics.heat_flux import heat_flux
from mlffjax.dynamics.heat_flux_unfolded import unfolded_potential_flux
from mlffjax.errors import CompatibilityError, MissingExtra
from mlffjax.graphs.batching import build
from mlffjax.potential.base import Potential
from mlffjax.registry import kinds, resolve
from mlffjax.structures.system import System

ELEMENTS = (18, 36)


def crystal():
    """Skewed and, between its faces, thinner than the reach of every example."""
    cell = np.array([[4.4, 0.3, 0.0], [-1.0, 4.2, 0.4], [0.5, -0.7, 5.5]])
    rng = np.random.default_rng(0)
    fractions = np.array([[0, 0, 0], [1.5, 0.45, 0.35], [0.05, 0.5, 0.7]])
    positions = fractions @ cell + rng.normal(size=(3, 3)) * 0.1
    system = System(positions, np.array([18, 36, 18], np.int32), cell, np.ones(3, bool))
    return system, jnp.asarray(rng.normal(size=(3, 3)))


@pytest.mark.parametrize("kind", kinds("potential.sources"))
def test_the_flux_is_that_of_the_unfolded_cell(kind):
    """A model that reads neighbours by another way than ``from_senders`` fails here."""
    source = resolve("potential.sources", kind)
    try:
        model = source.energy_model(source.example(), ELEMENTS)
    except MissingExtra as missing:
        pytest.skip(str(missing))
    potential = trees.cast(Potential(model.init(key=jax.random.key(0)), model), np.float64)
    system, velocities = crystal()
    graph = build([system], ELEMENTS, potential.cutoff, dtype=np.float64)
    if "heat_flux" not in model.supports:
        with pytest.raises(CompatibilityError, match=kind):
            heat_flux(potential, graph, velocities, jnp.ones(3))
        return
    found = jax.jit(heat_flux)(potential, graph, velocities, jnp.ones(3)).potential
    unfolded = unfolded_potential_flux(potential, system, velocities)
    size = float(np.abs(unfolded).max())
    assert size > 0
    np.testing.assert_allclose(found, unfolded, atol=1e-11 * size)  # rounding, seen 1e-14
