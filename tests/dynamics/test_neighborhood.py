"""Lists in local positions give the graph of the unwrapped ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax.dynamics import neighborhood
from mlffjax.graphs.batching import build
from mlffjax.potential.derivatives import predict

CUTOFF = 6.5


def made(system, **choices):
    species = np.zeros(len(system.numbers), np.int32)
    return neighborhood.build(system, species, CUTOFF, 0.5, radius=CUTOFF, **choices)[0]


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, False, False)])
def test_energies_do_not_depend_on_how_far_atoms_went(argon, rng, pbc):
    potential, system = argon
    system = system._replace(
        positions=system.positions + 0.1 * rng.normal(size=(32, 3)), pbc=np.array(pbc)
    )
    trips = rng.integers(-40, 40, size=(32, 3)) * np.array(pbc)
    far = system._replace(positions=system.positions + trips @ system.cell)
    near = made(far)
    graph, narrowing = neighborhood.narrowed(near, far.positions, far.cell, CUTOFF, 60)
    assert narrowing.slots <= 60
    found = predict(potential, graph)
    expected = predict(potential, build([system], (18, 36), CUTOFF, dtype=np.float64))
    # Positions of 400 Å carry 1e-13 Å; sums in another order.
    np.testing.assert_allclose(found.energy, expected.energy, rtol=1e-11)
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-11)
    left = neighborhood.slack(near, far.positions, far.cell, CUTOFF, 0.5)
    np.testing.assert_allclose(left, 0.5, atol=1e-10)


def test_wider_lists_hold_the_same_edges(argon):
    _, system = argon
    near = made(system)
    wide = neighborhood.widened(near, near.graph.neighbors.shape[1] + 7)
    one, other = (
        neighborhood.narrowed(each, system.positions, system.cell, CUTOFF, 60)[0]
        for each in (near, wide)
    )
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert made(system, slots=101).graph.neighbors.shape[1] == 101


def test_the_closest_pair_is_measured_in_radii(argon):
    _, system = argon
    moved = system._replace(positions=system.positions.copy())
    moved.positions[5] += 0.7 * (moved.positions[9] - moved.positions[5])
    radii = np.linspace(0.8, 1.2, 32)
    near = made(moved)
    first, second, distance, ratio = neighborhood.shortest(near, radii)
    graph, _ = neighborhood.narrowed(near, moved.positions, moved.cell, CUTOFF, 80)
    contact = neighborhood.closest(graph, jnp.asarray(radii), CUTOFF)
    np.testing.assert_allclose(contact.ratio, ratio, rtol=1e-12)
    assert int(contact.atom) in (first, second)
    np.testing.assert_allclose(ratio, distance / (radii[first] + radii[second]))
    differences = moved.positions[:, None] - moved.positions
    differences -= np.round(differences / 10.6) * 10.6
    lengths = np.linalg.norm(differences, axis=2) + 99 * np.eye(32)
    ratios = lengths / (radii[:, None] + radii)
    np.testing.assert_allclose(ratio, ratios.min(), rtol=1e-12)


def test_lonely_atoms_touch_nobody(argon):
    _, system = argon
    two = system._replace(
        positions=np.array([[0.0, 0, 0], [50.0, 0, 0]]),
        numbers=system.numbers[:2],
        pbc=np.zeros(3, bool),
    )
    assert neighborhood.shortest(made(two), np.ones(2))[3] == np.inf
