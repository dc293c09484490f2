import jax
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.dynamics.flux_forms import edge_flux, form_errors, pairwise_flux
from mlffjax.dynamics.heat_flux import heat_flux
from mlffjax.graphs.batching import build
from mlffjax.potential.base import Potential
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.model import MaceModel
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures.system import System

ELEMENTS = (18, 36)


def crystal():
    cell = np.array([[3.6, 0.3, 0.0], [-1.0, 3.4, 0.4], [0.5, -0.7, 6.5]])
    rng = np.random.default_rng(0)
    fractions = np.array([[0, 0, 0], [0.5, 0.45, 0.3], [0.05, 0.4, 0.55], [0.6, 0.1, 0.8]])
    positions = fractions @ cell + rng.normal(size=(4, 3)) * 0.1
    system = System(positions, np.array([18, 36, 18, 36], np.int32), cell, np.ones(3, bool))
    return system, rng.normal(size=(4, 3))


def mace(interactions):
    config = MaceConfig(
        r_max=3.5, num_bessel=3, max_ell=1, hidden_irreps="2x0e + 2x1o", radial_mlp=(4,),
        num_interactions=interactions, correlation=2,
    )  # fmt: skip
    model = MaceModel(ELEMENTS, config)
    return trees.cast(Potential(model.init(key=jax.random.key(1)), model), np.float64)


def errors(potential):
    system, velocities = crystal()
    graph = build([system], ELEMENTS, potential.cutoff, dtype=np.float64)
    return jax.jit(form_errors)(potential, graph, velocities)


def test_both_are_exact_for_pair_potentials():
    found = errors(lennard_jones(ELEMENTS, sigma=2.4, cutoff=7.0))
    assert max(found) < 1e-12


def test_the_edge_form_is_exact_for_one_interaction_and_the_pairwise_form_is_not():
    found = errors(mace(1))
    assert found.edge < 1e-12
    assert found.pairwise > 1e-2


def test_neither_is_exact_for_two_interactions():
    found = errors(mace(2))
    assert found.edge > 1e-3
    assert found.pairwise > 1e-2


@pytest.mark.parametrize("form", [edge_flux, pairwise_flux])
def test_they_are_linear_in_the_velocities_and_follow_the_rigid_motion(form):
    """A common velocity: every form carries the virial, so that identity cannot tell them apart."""
    potential = mace(2)
    system, _ = crystal()
    graph = build([system], ELEMENTS, potential.cutoff, dtype=np.float64)
    rigid = np.broadcast_to([0.3, -0.7, 0.2], (4, 3))
    form = jax.jit(form)
    expected = jax.jit(heat_flux)(potential, graph, rigid, np.ones(4)).potential
    np.testing.assert_allclose(form(potential, graph, rigid), expected, rtol=1e-10)
    np.testing.assert_allclose(form(potential, graph, -2 * rigid), -2 * expected, rtol=1e-10)
