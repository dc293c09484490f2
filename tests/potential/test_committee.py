"""Committees: their spreads against numpy, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.graphs.batching import Shape, build
from mlffjax.potential import committee
from mlffjax.potential.derivatives import energies_and_forces
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures.system import System

STRENGTHS = ((0.0104, 3.4, 0.0), (0.02, 3.3, 0.5), (0.005, 3.5, -1.25))


def member(epsilon, sigma, reference):
    potential = lennard_jones((18,), epsilon=epsilon, sigma=sigma, cutoff=5.5)
    constants = {"atomic_energies": jnp.array([reference])}
    return trees.cast(
        potential.replace(params=potential.params | {"constants": constants}), np.float64
    )


@pytest.fixture(scope="module")
def members():
    return [member(*values) for values in STRENGTHS]


@pytest.fixture(scope="module")
def graph():
    """Two structures of different size, with padding of atoms and structures."""
    rng = np.random.default_rng(3)
    corners = np.array([[i, j, k] for k in (0, 1) for j in (0, 1) for i in (0, 1)], float)
    systems = [
        System(
            3.9 * corners[:count] + rng.normal(scale=0.1, size=(count, 3)),
            np.full(count, 18, np.int32),
            np.diag([7.8, 7.8, 3.9 * count / 4]),
            np.ones(3, bool),
        )
        for count in (4, 8)
    ]
    return build(systems, (18,), 5.5, shape=Shape(14, 64, 3), dtype=np.float64)


def test_means_and_spreads_equal_those_of_numpy(members, graph):
    found = jax.jit(committee.predict)(committee.assemble(members), graph)
    single = [jax.jit(energies_and_forces)(each, graph) for each in members]
    forces = np.array([f for _, f in single])
    counts = np.array([4, 8, 0])
    totals = np.array([e + r * counts for (e, _), (*_, r) in zip(single, STRENGTHS, strict=True)])
    totals -= np.mean([r for *_, r in STRENGTHS]) * counts
    # Sums of some hundred terms of order one in float64.
    close = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(found.energies, totals, **close)
    np.testing.assert_allclose(found.energy, totals.mean(0), **close)
    np.testing.assert_allclose(found.energy_spread, totals.std(0), **close)
    np.testing.assert_allclose(found.forces, forces.mean(0), **close)
    expected = np.sqrt(forces.var(axis=0).sum(axis=-1))
    np.testing.assert_allclose(found.force_spread, expected, **close)
    assert (found.force_spread[12:] == 0).all()
    assert (found.force_spread[:12] > 0).all()


def test_equal_members_agree(members, graph):
    found = committee.predict(committee.assemble([members[0]] * 2), graph)
    assert not np.any(found.energy_spread)
    assert not np.any(found.force_spread)


def test_a_stack_is_a_committee(members):
    stack = trees.stack(members)
    assert jax.tree.all(jax.tree.map(np.array_equal, committee.assemble(stack), stack))


def test_one_cannot_disagree(members):
    with pytest.raises(InputError, match="at least two"):
        committee.assemble(members[:1])
    with pytest.raises(InputError, match="at least one"):
        committee.members([])


def test_other_elements_and_nan_are_refused(members):
    other = lennard_jones((18, 36), cutoff=5.5)
    with pytest.raises(CompatibilityError, match="one model"):
        committee.assemble([members[0], other])
    with pytest.raises(InputError, match="finite"):
        committee.assemble([members[0], member(np.nan, 3.4, 0.0)])
