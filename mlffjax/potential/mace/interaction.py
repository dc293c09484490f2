"""Residual interaction: neighbours' features, coupled with the edge directions and summed.

For receiver i and path p = (sender irrep, edge degree -> target irrep)::

    A_i = 1/n  sum_p Linear_p [ sum_j  R_p(r_ij) (Y(r_ij) x Up h_j)_p ]

``n`` is the average number of neighbours, R the radial MLP, x the coupling. The residual part adds
a linear map of h_i per element. The order of the operations is explained where they are done.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mlffjax.arrays import Array, Float, Int
from mlffjax.graphs.graph import Graph, from_senders
from mlffjax.potential.mace.irreps import Path, coupling_coefficients
from mlffjax.potential.mace.plan import FEW_ELEMENTS, LayerPlan
from mlffjax.potential.mace.radial import RadialMlp, hidden_features


class FoldedInteraction(NamedTuple):
    """Weights with their normalisations multiplied in."""

    radial: list[Float[Array, "fan_in fan_out"]]
    up: list[Float[Array, "channels channels"]]  # one per sender irrep
    down: list[Float[Array, "paths_channels channels"]]  # one per target irrep
    skip: list[Float[Array, "elements channels channels"]]  # one per kept irrep


class Interaction(nn.Module):
    """Weights of one interaction; shapes and meaning follow mace-torch block by block."""

    plan: LayerPlan

    def setup(self) -> None:
        """Declare the weights."""
        plan, one, c = self.plan, nn.initializers.ones, self.plan.channels
        self.radial = RadialMlp(plan.config.num_bessel, plan.config.radial_mlp, len(plan.paths) * c)
        self.up = [self.param(f"linear_up_{ir}", one, (c, c)) for ir in plan.sender]
        self.down = [
            self.param(f"linear_{ir}", one, (plan.path_count(target) * c, c))
            for target, ir in enumerate(plan.target)
        ]
        self.skip = [self.param(f"skip_{ir}", one, (c, plan.elements, c)) for ir in plan.kept]

    def fold(self, average_neighbors: Float[Array, ""]) -> FoldedInteraction:
        """Multiply the normalisations in; ``average_neighbors`` divides the messages."""
        c, elements = self.plan.channels, self.plan.elements
        return FoldedInteraction(
            radial=self.radial.fold(),
            up=[w / c**0.5 for w in self.up],
            down=[w / (max(w.shape[0], 1) ** 0.5 * average_neighbors) for w in self.down],
            skip=[w.transpose(1, 0, 2) / (c * elements) ** 0.5 for w in self.skip],
        )


def collapsed_message(
    plan: LayerPlan,
    folded: FoldedInteraction,
    embedding: Float[Array, "elements channels"],
    radial: Float[Array, "atoms slots radial"],
    harmonics: Float[Array, "atoms slots edge"],
    sender_species: Int[Array, "atoms slots"],
) -> Float[Array, "atoms target channels"]:
    """First interaction: sender features are a table over elements.

    ``D[i, m, (z, q)] = sum_j Y_m 1[z_j = z] phi_q`` carries no channels; what maps (z, q) to
    channels is one matrix per degree, multiplied out from the weights.
    """
    hidden = hidden_features(radial, folded.radial, plan.config.activation_scale)
    one_hot = jax.nn.one_hot(sender_species, plan.elements, dtype=hidden.dtype)
    weighted = (one_hot[..., None] * hidden[:, :, None]).reshape(*hidden.shape[:2], -1)
    moments = jnp.einsum("nkm,nkx->nmx", harmonics, weighted)
    last = folded.radial[-1].reshape(hidden.shape[-1], len(plan.paths), -1)
    table = embedding @ folded.up[0]
    parts = []
    for index, path in enumerate(plan.paths):
        matrix = jnp.einsum("zc,qc,cd->zqd", table, last[:, index], folded.down[path.target])
        # A scalar sender couples with Y to Y itself: the coefficient is one.
        rows = moments[:, plan.edge.slices[path.edge]]
        parts.append(rows @ matrix.reshape(-1, matrix.shape[-1]))
    return jnp.concatenate(parts, axis=1)


def message(
    plan: LayerPlan,
    folded: FoldedInteraction,
    features: Float[Array, "atoms sender channels"],
    radial: Float[Array, "atoms slots radial"],
    harmonics: Float[Array, "atoms slots edge"],
    graph: Graph,
    block: int | None,
) -> Float[Array, "atoms target channels"]:
    """Any interaction; ``block`` atoms at a time, recomputed in the backward pass."""
    up = [features[:, rows] @ w for rows, w in zip(plan.sender.slices, folded.up, strict=True)]
    senders = from_senders(graph, jnp.concatenate(up, axis=1))
    hidden = hidden_features(radial, folded.radial, plan.config.activation_scale)

    def couple(rows: tuple[Array, ...]) -> Array:
        block_hidden, block_harmonics, block_senders = rows
        return _sum_and_couple(
            plan, block_hidden, block_harmonics, block_senders, folded.radial[-1]
        )

    coupled = _map_blocks(couple, (hidden, harmonics, senders), block)
    return _mix_paths(plan, coupled, folded.down)


def residual(
    plan: LayerPlan,
    folded: FoldedInteraction,
    features: Float[Array, "atoms sender channels"],
    species: Int[Array, "atoms"],
) -> Float[Array, "atoms hidden channels"]:
    """Per-element linear map of the receiver's own features; zero where nothing comes in."""
    matrices = dict(zip(plan.kept, folded.skip, strict=True))
    rows = dict(zip(plan.sender, plan.sender.slices, strict=True))
    parts = [
        _per_element(features[:, rows[ir]], matrices[ir], species)
        if ir in matrices
        else jnp.zeros((features.shape[0], ir.dim, plan.channels), features.dtype)
        for ir in plan.hidden
    ]
    return jnp.concatenate(parts, axis=1)


def _sum_and_couple(
    plan: LayerPlan, hidden: Array, harmonics: Array, senders: Array, last: Array
) -> Array:
    """Couple and sum over slots: [atoms, dims of all paths' targets, channels].

    One radial matmul per path rather than one for all: its result stays in the cache.
    """
    atoms, slots, width = hidden.shape
    rows = hidden.reshape(atoms * slots, width)
    columns = last.reshape(width, len(plan.paths), plan.channels)
    parts = []
    for index, path in enumerate(plan.paths):
        radial = (rows @ columns[:, index]).reshape(atoms, slots, plan.channels)
        own = senders[:, :, plan.sender.slices[path.sender]]
        parts.append(_couple(plan, path, radial, harmonics[:, :, plan.edge.slices[path.edge]], own))
    return jnp.concatenate(parts, axis=1)


def _couple(plan: LayerPlan, path: Path, radial: Array, harmonics: Array, senders: Array) -> Array:
    """One path summed over slots: [atoms, target dim, channels].

    The coefficients are contracted with the harmonics first, which have no channels; coupling and
    sum are then one matmul per atom over pairs of slot and sender component.
    """
    atoms, _, channels = radial.shape
    sender = plan.sender.irreps[path.sender]
    edge = plan.edge.irreps[path.edge]
    target = plan.target.irreps[path.target]
    if sender.l == 0:  # coefficients are one: the harmonic itself
        return jnp.einsum("nkb,nkc->nbc", harmonics, radial * senders[:, :, 0])
    weighted = radial[:, :, None] * senders
    if edge.l == 0:
        return weighted.sum(axis=1)
    coefficients = coupling_coefficients(sender.l, edge.l, target.l) * target.dim**0.5
    matrix = jnp.einsum("abd,nkb->nkad", jnp.asarray(coefficients, radial.dtype), harmonics)
    return jnp.einsum(
        "nxd,nxc->ndc",
        matrix.reshape(atoms, -1, target.dim),
        weighted.reshape(atoms, -1, channels),
    )


def _mix_paths(plan: LayerPlan, coupled: Array, down: list[Array]) -> Array:
    """Mix the paths into each target irrep by one matmul."""
    parts, first = [], 0
    for target, (ir, weight) in enumerate(zip(plan.target, down, strict=True)):
        count = plan.path_count(target)
        rows = coupled[:, first : first + count * ir.dim]
        first += count * ir.dim
        rows = rows.reshape(-1, count, ir.dim, plan.channels).swapaxes(1, 2)
        parts.append(rows.reshape(-1, ir.dim, count * plan.channels) @ weight)
    return jnp.concatenate(parts, axis=1)


def _per_element(
    features: Float[Array, "atoms dim channels"],
    matrices: Float[Array, "elements channels out"],
    species: Int[Array, "atoms"],
) -> Float[Array, "atoms dim out"]:
    """Multiply each atom's features by its element's matrix."""
    elements = matrices.shape[0]
    if elements > FEW_ELEMENTS:
        return jnp.einsum("nmc,ncd->nmd", features, matrices[species])
    one_hot = jax.nn.one_hot(species, elements, dtype=features.dtype)
    spread = one_hot[:, None, :, None] * features[:, :, None]
    return spread.reshape(*features.shape[:2], -1) @ matrices.reshape(-1, matrices.shape[-1])


def _map_blocks(
    function: Callable[[tuple[Array, ...]], Array], rows: tuple[Array, ...], block: int | None
) -> Array:
    """Apply to blocks of atoms in turn; intermediate edge arrays exist for one block at a time."""
    atoms = rows[0].shape[0]
    if block is None or block >= atoms:
        return jax.checkpoint(function)(rows)
    count = -(-atoms // block)
    pad = count * block - atoms

    def split(x: Array) -> Array:
        x = jnp.pad(x, ((0, pad),) + ((0, 0),) * (x.ndim - 1))
        return x.reshape((count, block, *x.shape[1:]))

    out = jax.lax.map(jax.checkpoint(function), tuple(map(split, rows)))
    return out.reshape((-1, *out.shape[2:]))[:atoms]
