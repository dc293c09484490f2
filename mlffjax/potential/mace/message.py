"""Messages: neighbours' features, coupled with the edge directions and summed.

For receiver i and path p = (sent irrep, edge degree -> target irrep)::

    A_i = sum_p Linear_p [ sum_j  R_p(r_ij) (Y(r_ij) x Up h_j)_p ]

R is a radial network, x the coupling. Every kind of interaction uses this; they differ in what they
do to A. The order of the operations is explained where they are done.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from mlffjax.arrays import Array, Float
from mlffjax.graphs.graph import Graph, from_senders
from mlffjax.potential.mace.irreps import Path, coupling_coefficients
from mlffjax.potential.mace.plan import LayerPlan
from mlffjax.potential.mace.radial_mlp import Edges


def collapsed_message(
    plan: LayerPlan,
    sent: Float[Array, "elements width"],
    down: Sequence[Float[Array, "paths_width out"]],
    last: Float[Array, "hidden paths_width"],
    hidden: Float[Array, "atoms slots hidden"],
    edges: Edges,
) -> Float[Array, "atoms components channels"]:
    """First interaction: what is sent is a table over elements.

    ``D[i, m, (z, q)] = sum_j Y_m 1[z_j = z] phi_q`` carries no channels; what maps (z, q) to
    channels is one matrix per degree, multiplied out from the weights.
    """
    one_hot = jax.nn.one_hot(edges.senders, plan.elements, dtype=hidden.dtype)
    weighted = (one_hot[..., None] * hidden[:, :, None]).reshape(*hidden.shape[:2], -1)
    moments = jnp.einsum("nkm,nkx->nmx", edges.harmonics, weighted)
    last = last.reshape(hidden.shape[-1], len(plan.paths), -1)
    parts = []
    for index, path in enumerate(plan.paths):
        matrix = jnp.einsum("zc,qc,cd->zqd", sent, last[:, index], down[path.target])
        # A scalar sender couples with Y to Y itself: the coefficient is one.
        rows = moments[:, plan.edge.slices[path.edge]]
        mixed = rows @ matrix.reshape(-1, matrix.shape[-1])
        parts.append(mixed.reshape(mixed.shape[0], -1, plan.channels))
    return jnp.concatenate(parts, axis=1)


def message(
    plan: LayerPlan,
    sent: Float[Array, "atoms alive width"],
    down: Sequence[Float[Array, "paths_width out"]],
    last: Float[Array, "hidden paths_width"],
    hidden: Float[Array, "atoms slots hidden"],
    edges: Edges,
    graph: Graph,
    block: int | None,
) -> Float[Array, "atoms components channels"]:
    """Any interaction; ``block`` atoms at a time, recomputed in the backward pass."""
    senders = from_senders(graph, sent)

    def couple(rows: tuple[Array, ...]) -> Array:
        block_hidden, block_harmonics, block_senders = rows
        return _sum_and_couple(plan, block_hidden, block_harmonics, block_senders, last)

    coupled = _map_blocks(couple, (hidden, edges.harmonics, senders), block)
    return _mix_paths(plan, coupled, down)


def _sum_and_couple(
    plan: LayerPlan, hidden: Array, harmonics: Array, senders: Array, last: Array
) -> Array:
    """Couple and sum over slots: [atoms, dims of all paths' targets, channels].

    One radial matmul per path rather than one for all: its result stays in the cache.
    """
    atoms, slots, width = hidden.shape
    rows = hidden.reshape(atoms * slots, width)
    columns = last.reshape(width, len(plan.paths), plan.width)
    parts = []
    for index, path in enumerate(plan.paths):
        radial = (rows @ columns[:, index]).reshape(atoms, slots, plan.width)
        own = senders[:, :, plan.alive.slices[path.sender]]
        parts.append(_couple(plan, path, radial, harmonics[:, :, plan.edge.slices[path.edge]], own))
    return jnp.concatenate(parts, axis=1)


def _couple(plan: LayerPlan, path: Path, radial: Array, harmonics: Array, senders: Array) -> Array:
    """One path summed over slots: [atoms, target dim, channels].

    The coefficients are contracted with the harmonics first, which have no channels; coupling and
    sum are then one matmul per atom over pairs of slot and sender component.
    """
    atoms, _, channels = radial.shape
    sender = plan.alive.irreps[path.sender]
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


def _mix_paths(plan: LayerPlan, coupled: Array, down: Sequence[Array]) -> Array:
    """Mix the paths into each target irrep by one matmul."""
    parts, first = [], 0
    for target, (ir, weight) in enumerate(zip(plan.target, down, strict=True)):
        count = plan.path_count(target)
        rows = coupled[:, first : first + count * ir.dim]
        first += count * ir.dim
        rows = rows.reshape(-1, count, ir.dim, plan.width).swapaxes(1, 2)
        mixed = rows.reshape(-1, ir.dim, count * plan.width) @ weight
        parts.append(mixed.reshape(mixed.shape[0], -1, plan.channels))
    return jnp.concatenate(parts, axis=1)


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
