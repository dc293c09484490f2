"""Prediction rigidity of the last layer: the uncertainty of one potential, without a committee.

Energies are linear in the last maps of a potential, times its readout features f. With the
covariance of these features over the structures it was trained on (the Gauss-Newton matrix of the
loss in the last layer) the variance of any prediction is that of a Bayesian linear model::

    F = sum of f over the atoms of a structure             feature of its energy
    J = -dF/dr                                             features of its forces
    C = w_E <(F/N) (F/N)^T> + w_F <J J^T>                  means over structures, components
    variance of the energy = (a_E)^2 F^T (C + ridge)^-1 F  and with J, a_F of the forces

The scales a_E and a_F are those of highest likelihood on structures that were not trained on. For
the difference of two energies F is the difference of their features, so whatever both structures
share cancels. What a potential lacks besides its last layer (features that do not tell structures
apart) is not seen: compare with errors (``analysis.calibration``) before a spread is believed.

Reference: Bigi, Chong, Ceriotti, Grasselli, Mach. Learn.: Sci. Technol. 5, 045018 (2024),
doi:10.1088/2632-2153/ad805f.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlffjax.arrays import Array, Float
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.graphs.graph import Graph, atom_counts, graph_sums
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import energies_and_forces

WORST = 1e10
"""Condition number of the covariance above which the ridge is raised."""
COLUMNS = 8
"""Features differentiated together on a CPU, where more leave the cache: measured with 64."""
LANES = 64
"""The same on accelerators."""


class Features(NamedTuple):
    """What the last maps multiply to give energies and forces; zero for padding."""

    energy: Float[Array, "graphs features"]
    forces: Float[Array, "atoms 3 features"]  # 1/Å


class Rigidity(NamedTuple):
    """How well the last layer is determined by what it was trained on."""

    factor: Float[Array | np.ndarray, "features features"]  # L of (C + ridge)^-1 = L L^T
    energy_scale: Float[Array | np.ndarray, ""]
    force_scale: Float[Array | np.ndarray, ""]
    ridge: Float[Array | np.ndarray, ""]  # the one used
    condition: Float[Array | np.ndarray, ""]  # of C + ridge


class Spreads(NamedTuple):
    """Predictions, and one standard deviation of each.

    The norm of the difference of two rows of ``whitened`` is the standard deviation of the
    difference of these energies.
    """

    energy: Float[Array, "graphs"]  # eV, interaction energy
    forces: Float[Array, "atoms 3"]  # eV/Å
    energy_spread: Float[Array, "graphs"]  # eV, total
    force_spread: Float[Array, "atoms 3"]  # eV/Å, by component
    whitened: Float[Array, "graphs features"]  # eV


def features(potential: Potential, graph: Graph) -> Features:
    """Features of energies and forces of the structures of a graph without leading axes.

    One reverse pass a feature: with some tens of features and of atoms that costs as much as one
    forward pass a coordinate does, and less the more atoms there are.

    Raises:
        CompatibilityError: the potential has no readout features.
    """
    require_readout(potential)
    model, params = potential.model, potential.params

    def totals(positions: Float[Array, "atoms 3"]) -> tuple[Array, Array]:
        moved = graph._replace(positions=positions)
        atomic = model.readout_features(params, moved)  # type: ignore[attr-defined]
        atomic = jnp.where(graph.atom_mask[:, None], atomic, 0)
        return atomic.sum(axis=0), atomic  # structures of one graph do not feel each other

    _, pull, atomic = jax.vjp(totals, graph.positions, has_aux=True)
    count = atomic.shape[1]
    width = min(count, COLUMNS if jax.default_backend() == "cpu" else LANES)
    # Rows of zeros fill the last batch: a shorter one would be compiled as a program of its own.
    columns = jnp.eye(-(-count // width) * width, count, dtype=atomic.dtype)
    gradient = jax.lax.map(lambda column: pull(column)[0], columns, batch_size=width)[:count]
    sums = jax.vmap(graph_sums, in_axes=(1, None), out_axes=1)(atomic, graph)
    forces = jnp.where(graph.atom_mask[:, None, None], -jnp.moveaxis(gradient, 0, -1), 0)
    return Features(sums, forces)


@jax.jit
def covariance(
    potential: Potential, graphs: Graph, energy_weight: float = 1.0, forces_weight: float = 10.0
) -> Float[Array, "features features"]:
    """Covariance of features, in double precision where jax has it enabled.

    Args:
        potential: one with readout features.
        graphs: structures it was trained on, with one leading axis; padding does not count.
        energy_weight: of the mean over structures, energies per atom, as in the loss.
        forces_weight: of the mean over components.

    Raises:
        CompatibilityError: the potential has no readout features.
    """
    exact = jax.dtypes.canonicalize_dtype(np.float64)

    def add(sums: tuple[Array, Array], graph: Graph) -> tuple[tuple[Array, Array], None]:
        found = features(potential, graph)
        energy = (found.energy / atom_counts(graph)[:, None]).astype(exact)
        forces = found.forces.astype(exact).reshape(-1, energy.shape[1])
        return (sums[0] + energy.T @ energy, sums[1] + forces.T @ forces), None

    first = jax.tree.map(lambda leaf: leaf[0], graphs)
    count = jax.eval_shape(features, potential, first).energy.shape[1]
    nothing = jnp.zeros((count, count), exact)
    (energy, forces), _ = jax.lax.scan(add, (nothing, nothing), graphs)
    structures, atoms = graphs.graph_mask.sum(), graphs.atom_mask.sum()
    return energy_weight * energy / structures + forces_weight * forces / (3 * atoms)


def fit(
    covariance: Float[Array | np.ndarray, "features features"], *, ridge: float = 0.0
) -> Rigidity:
    """Invert a covariance on the host in float64; scales are 1 until ``calibrated``.

    Args:
        covariance: from ``covariance``.
        ridge: what is added to its diagonal at least; more where its condition number would
            exceed ``WORST`` (the value used is in the result).

    Raises:
        InputError: it is not finite, or zero (nothing was learned from these structures).
    """
    matrix = np.asarray(covariance, np.float64)
    if not np.isfinite(matrix).all():
        raise InputError(
            "expected a finite covariance of features, got NaN or infinities: the potential has "
            "diverged, or a structure is broken"
        )
    values, vectors = np.linalg.eigh(matrix)
    least, most = max(values[0], 0.0), values[-1]
    if most <= 0:
        raise InputError(
            "expected features that vary, got a covariance of zero; give structures with atoms "
            "within the cutoff"
        )
    ridge = max(ridge, (most - WORST * least) / (WORST - 1))
    values = np.maximum(values, 0.0) + ridge
    one = np.asarray(1.0)
    return Rigidity(
        vectors / np.sqrt(values), one, one, np.asarray(ridge), np.asarray(values[-1] / values[0])
    )


def spread(potential: Potential, rigidity: Rigidity, graph: Graph) -> Spreads:
    """Predictions and their standard deviations for a graph without leading axes.

    Raises:
        CompatibilityError: the potential has no readout features.
    """
    found = features(potential, graph)
    energy, forces = energies_and_forces(potential, graph)
    factor = jnp.asarray(rigidity.factor)
    whitened = jnp.asarray(rigidity.energy_scale) * (found.energy @ factor)
    return Spreads(
        energy=energy,
        forces=forces,
        energy_spread=jnp.linalg.norm(whitened, axis=-1),
        force_spread=rigidity.force_scale * jnp.linalg.norm(found.forces @ factor, axis=-1),
        whitened=whitened,
    )


@jax.jit
def spreads(potential: Potential, rigidity: Rigidity, graphs: Graph) -> Spreads:
    """``spread`` of many graphs (one leading axis), one after the other in one program."""
    return jax.lax.map(lambda graph: spread(potential, rigidity, graph), graphs)


def calibrated(
    rigidity: Rigidity,
    energy: tuple[Float[np.ndarray, "structures"], Float[np.ndarray, "structures"]],
    forces: tuple[Float[np.ndarray, "components"], Float[np.ndarray, "components"]],
) -> Rigidity:
    """Set both scales so that errors and spreads agree on average.

    Args:
        rigidity: the one that gave the spreads.
        energy: errors, and standard deviations, of energies of structures not trained on.
        forces: the same of components of forces.

    Raises:
        InputError: as ``likeliest_scale``.
    """
    return rigidity._replace(
        energy_scale=rigidity.energy_scale * likeliest_scale(*energy),
        force_scale=rigidity.force_scale * likeliest_scale(*forces),
    )


def likeliest_scale(
    errors: Float[np.ndarray, "values"], deviations: Float[np.ndarray, "values"]
) -> np.ndarray:
    """The factor of standard deviations that makes errors most likely: rms of their ratio.

    Raises:
        InputError: there are none; one is not finite; a deviation is not positive; there is no
            error at all.
    """
    errors, deviations = (np.asarray(v, np.float64).ravel() for v in (errors, deviations))
    if not len(errors):
        raise InputError(
            "expected errors on validation structures to scale uncertainties by, got none; keep a "
            "validation split"
        )
    if not (np.isfinite(errors).all() and np.isfinite(deviations).all() and (deviations > 0).all()):
        raise InputError(
            "expected finite errors and positive standard deviations of validation structures, got "
            "others: the potential has diverged, or a structure has no neighbours"
        )
    scale = np.sqrt(np.mean((errors / deviations) ** 2))
    if scale == 0:
        raise InputError(
            "expected errors on validation structures, got none but zeros: their labels are the "
            "potential's own, which say nothing of its errors"
        )
    return scale


def require_readout(potential: Potential) -> None:
    """Refuse a potential without readout features.

    Raises:
        CompatibilityError: names its kind and what can be done.
    """
    if "readout_features" not in potential.model.supports:
        kind = potential.model.settings.get("kind", type(potential.model).__name__)
        raise CompatibilityError(
            f"expected a potential with readout features, got one of kind {kind!r}, which has "
            "none; use a committee (potential.committee)"
        )
