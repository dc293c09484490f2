"""The same heat flux from a cell unfolded into a cluster: slow, simple, a reference.

Every periodic image within the model's reach of the cell becomes an atom of its own, so that the
derivative of each original atom's energy by each image is an ordinary derivative and distances
need no images [1]::

    J_pot = d/dt sum_i r_i U_i (r_i held) - sum_j r_j (dU/dr_j . v_j)

with i over the originals and j over all atoms of the cluster. Any number of images per direction,
any cell, atoms outside the cell. The cluster grows as the cube of the reach.

References:
    [1] Langer, Frank and Knoop, J. Chem. Phys. 159, 174105 (2023), doi:10.1063/5.0173967.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlffjax.arrays import Array, Float
from mlffjax.dynamics.heat_flux import check
from mlffjax.errors import InputError
from mlffjax.graphs.batching import build
from mlffjax.graphs.graph import Graph
from mlffjax.potential.base import Potential
from mlffjax.structures.system import System


class Cluster(NamedTuple):
    """A structure with its images as atoms of their own, the originals first; NumPy leaves."""

    system: System  # not periodic
    origin: np.ndarray  # i8 [atoms of the cluster]: which original an atom is an image of


def unfold(system: System, reach: float) -> Cluster:
    """Add every periodic image that may be within ``reach`` (Å) of an atom of the structure.

    Distances are bounded by those between lattice planes, so some images are farther than that.

    Raises:
        InputError: periodic cell vectors are dependent, or the reach is not a finite number.
    """
    positions = np.asarray(system.positions, np.float64)
    periods = np.asarray(system.cell, np.float64)[system.pbc]
    if not (np.isfinite(reach) and reach >= 0):
        raise InputError(f"expected a finite reach, Å, got {reach}")
    if np.linalg.matrix_rank(periods) < len(periods):
        raise InputError(f"the periodic cell vectors are dependent: {periods.tolist()}")
    dual = np.linalg.pinv(periods)  # [3, periods]
    heights = 1 / np.linalg.norm(dual, axis=0)
    fractions = positions @ dual
    low, high = fractions.min(axis=0), fractions.max(axis=0)
    most = np.ceil(reach / heights + high - low).astype(int)
    shifts = np.array(list(np.ndindex(*(2 * most + 1))), int) - most
    shifts = shifts[np.argsort((shifts**2).sum(axis=1), kind="stable")]  # the cell itself first
    moved = fractions + shifts[:, None]
    near = ((low - moved) * heights <= reach) & ((moved - high) * heights <= reach)
    image, atom = np.nonzero(near.all(axis=-1))
    cluster = System(
        positions=positions[atom] + shifts[image] @ periods,
        numbers=np.asarray(system.numbers)[atom],
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, bool),
    )
    return Cluster(cluster, atom)


def unfolded_potential_flux(
    potential: Potential, system: System, velocities: Float[Array, "atoms 3"]
) -> Float[Array, "3"]:
    """Potential part of the heat flux from the unfolded structure, eV Å per unit of time, float64.

    Runs partly on the host; not to be compiled as a whole. For numbers beyond float32, enable
    64-bit jax and give parameters in float64.

    Raises:
        CompatibilityError: the model does not support heat fluxes.
        InputError: see ``unfold``, or shapes do not fit.
    """
    cluster = unfold(system, potential.model.reach)
    count = len(system.numbers)
    velocities = jnp.asarray(velocities)
    if velocities.shape != (count, 3):
        raise InputError(f"expected velocities of shape {(count, 3)}, got {velocities.shape}")
    graph = jax.tree.map(
        jnp.asarray, build([cluster.system], potential.elements, potential.cutoff, dtype=np.float64)
    )
    moving = velocities[cluster.origin]
    check(potential, graph, moving)
    return _flux(potential, graph, moving, count)


@partial(jax.jit, static_argnums=3)
def _flux(
    potential: Potential, graph: Graph, velocities: Float[Array, "cluster 3"], count: int
) -> Float[Array, "3"]:
    """The formula of the module; the first ``count`` atoms are the originals."""

    def of_originals(positions: Float[Array, "cluster 3"]) -> Float[Array, "atoms"]:
        moved = graph._replace(positions=positions)
        return potential.model.atomic_energies(potential.params, moved)[:count]

    def barycentre(positions: Float[Array, "cluster 3"]) -> Float[Array, "3"]:
        return of_originals(positions) @ graph.positions[:count]

    _, first = jax.jvp(barycentre, (graph.positions,), (velocities,))
    gradient = jax.grad(lambda positions: of_originals(positions).sum())(graph.positions)
    return first - graph.positions.T @ (gradient * velocities).sum(axis=1)
