"""The same forces and start, integrated by jax-md, where it is right: velocity Verlet."""

import jax
import jax.numpy as jnp
import numpy as np

from mlffjax import trees, units
from mlffjax.dynamics.run import run
from mlffjax.graphs import skin
from mlffjax.graphs.batching import species_of
from mlffjax.potential import derivatives
from mlffjax.structures.elements import masses

STEPS = 30


def test_velocity_verlet_is_that_of_jax_md(mixture, settings):
    from jax_md import simulate, space  # takes seconds, and only this test needs it

    potential, system = mixture
    potential = trees.cast(potential, np.float64)
    # jax-md rounds the time step to single precision: take one that survives.
    timestep = float(np.float32(0.3))
    intervals = {"thermo": 1, "positions": 1, "velocities": 1}
    config = settings(steps=STEPS, timestep_fs=timestep / units.FS, intervals=intervals)
    ours = run(potential, system, config).lanes[0].samples["production"]

    near = skin.make(system, potential.cutoff, 1.5)  # valid for so few steps
    species = species_of(system, potential.elements)
    graph = jax.tree.map(jnp.asarray, near.graph._replace(species=species))

    def energy(positions, **_):
        return derivatives.energies(potential, graph._replace(positions=positions))[0]

    weights = jnp.asarray(masses(system.numbers))
    start, step = simulate.nve(energy, space.free()[1], timestep)
    state = start(jax.random.key(0), jnp.asarray(system.positions), kT=0.0, mass=weights)
    velocities = ours["velocities"].values[0] / units.FS
    state = state.set(momentum=jnp.asarray(velocities) * weights[:, None])
    advance, places = jax.jit(step), [state.position]
    for _ in range(STEPS):
        state = advance(state)
        places.append(state.position)
    moved = places[-1] - places[0]
    assert float(jnp.abs(moved).max()) > 0.05
    # Sums in another order, growing slowly by chaos; velocities in memory are not rounded.
    np.testing.assert_allclose(ours["positions"].values, np.array(places), atol=1e-10)
