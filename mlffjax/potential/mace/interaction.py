"""Interactions: what messages are made with and what becomes of them.

``Interaction`` holds the weights of mace-torch's four RealAgnostic kinds. Their messages are
divided by the average number of neighbours, or by a density that the neighbours' distances give.
Residual kinds pass on an atom's own features by one linear map per element; the others map the
message by it. ``gate.GatedInteraction`` is the fifth kind. All fold to the same record.
"""

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mlffjax.arrays import Array, Float, Int
from mlffjax.graphs.graph import Graph
from mlffjax.potential.mace.message import collapsed_message, message
from mlffjax.potential.mace.plan import FEW_ELEMENTS, LayerPlan
from mlffjax.potential.mace.radial_mlp import Edges, FoldedMlp, RadialMlp, edge_features


class FoldedDensity(NamedTuple):
    """Messages are divided by ``slope * density + offset``."""

    network: FoldedMlp
    slope: Float[Array, ""]
    offset: Float[Array, ""]


class FoldedGate(NamedTuple):
    """What a gated interaction does with a message and the atom's own features."""

    own: list[Float[Array, "width out"]]  # one per alive irrep; no columns if it is no target
    mix: list[Float[Array, "channels channels"]]  # one per target irrep


class FoldedInteraction(NamedTuple):
    """Weights with their normalisations multiplied in."""

    radial: FoldedMlp  # its last matrix has a block of columns per path
    up: list[Float[Array, "channels width"]]  # one per alive irrep
    down: list[Float[Array, "paths_width out"]]  # one per target irrep
    skip: list[Array]  # one map per irrep, of all elements or, with a gate, of any
    density: FoldedDensity | None
    gate: FoldedGate | None


class Interaction(nn.Module):
    """Weights of one interaction; shapes and meaning follow mace-torch block by block."""

    plan: LayerPlan

    def setup(self) -> None:
        """Declare the weights."""
        plan, one, c = self.plan, nn.initializers.ones, self.plan.channels
        inputs = plan.config.num_bessel
        self.radial = RadialMlp(inputs, plan.config.radial_mlp, sum(plan.stored_widths))
        self.up = [self.param(f"linear_up_{ir}", one, (c, plan.sent[ir])) for ir in up_irreps(plan)]
        self.down = [
            self.param(f"linear_{ir}", one, (plan.stored_rows(target), c))
            for target, ir in enumerate(plan.target)
        ]
        mapped = plan.kept if plan.kind.is_residual else plan.target
        self.skip = [self.param(f"skip_{ir}", one, (c, plan.elements, c)) for ir in mapped]
        if plan.kind.has_density:
            self.density = RadialMlp(inputs, (), 1)

    def fold(self, average_neighbors: Float[Array, ""]) -> FoldedInteraction:
        """Multiply the normalisations in; ``average_neighbors`` divides where no density does."""
        c, elements = self.plan.channels, self.plan.elements
        density, divisor = None, average_neighbors
        if self.plan.kind.has_density:
            one = jnp.ones_like(average_neighbors)
            density, divisor = FoldedDensity(self.density.fold(), one, one), 1
        return FoldedInteraction(
            radial=align_columns(self.plan, self.radial.fold()),
            up=align_up(self.plan, [w / c**0.5 for w in self.up]),
            down=align_rows(
                self.plan, [w / (max(w.shape[0], 1) ** 0.5 * divisor) for w in self.down]
            ),
            skip=[w.transpose(1, 0, 2) / (c * elements) ** 0.5 for w in self.skip],
            density=density,
            gate=None,
        )


def up_irreps(plan: LayerPlan) -> list:
    """Irreps with a map from node features to what is sent, in the order of mace-torch."""
    return [ir for ir in plan.sender if ir in plan.sent]


def align_up(plan: LayerPlan, up: Sequence[Array]) -> list[Array]:
    """One map per alive irrep, all equally wide."""
    named = dict(zip(up_irreps(plan), up, strict=True))
    return [_widened(named[ir], plan.width, axis=1) for ir in plan.alive]


def align_columns(plan: LayerPlan, radial: FoldedMlp) -> FoldedMlp:
    """Drop the columns of dead paths and widen the others to equal blocks."""
    if plan.is_uniform:
        return radial
    blocks = _blocks(plan, radial.weights[-1], range(len(plan.stored_paths)), axis=1)
    return radial._replace(weights=[*radial.weights[:-1], jnp.concatenate(blocks, axis=1)])


def align_rows(plan: LayerPlan, down: Sequence[Array]) -> list[Array]:
    """Drop the rows of dead paths and widen the others to equal blocks."""
    if plan.is_uniform:
        return list(down)
    aligned = []
    for target, weight in enumerate(down):
        own = [k for k, path in enumerate(plan.stored_paths) if path.target == target]
        aligned.append(jnp.concatenate([weight[:0], *_blocks(plan, weight, own, axis=0)]))
    return aligned


def interact(
    plan: LayerPlan,
    folded: FoldedInteraction,
    features: Float[Array, "atoms sender channels"],
    embedding: Float[Array, "elements channels"],
    edges: Edges,
    graph: Graph,
    block: int | None,
) -> Float[Array, "atoms target channels"]:
    """What an atom learns from its neighbours.

    Args:
        plan: of the layer.
        folded: its weights.
        features: of the nodes, by which the first layer is told nothing beyond ``embedding``.
        embedding: of the elements.
        edges: their geometry.
        graph: who neighbours whom.
        block: atoms per block of message passing; None for all at once.
    """
    scale = plan.config.activation_scale
    hidden = edge_features(folded.radial, edges, scale)
    last = folded.radial.weights[-1]
    if plan.is_collapsed:
        table = embedding @ folded.up[0]
        messages = collapsed_message(plan, table, folded.down, last, hidden, edges)
    else:
        sent = sent_features(plan, folded, features)
        messages = message(plan, sent, folded.down, last, hidden, edges, graph, block)
    if folded.density is not None:
        messages = messages / _divisor(folded.density, edges, scale)[:, None, None]
    if folded.gate is not None:
        own = own_features(plan, folded.gate, sent_features(plan, folded, features))
        return gated(plan, folded.gate, messages + own)
    if plan.kind.is_residual:
        return messages
    parts = [
        _per_element(messages[:, rows], matrices, edges.receivers)
        for rows, matrices in zip(plan.target.slices, folded.skip, strict=True)
    ]
    return jnp.concatenate(parts, axis=1)


def residual(
    plan: LayerPlan,
    folded: FoldedInteraction,
    features: Float[Array, "atoms sender channels"],
    species: Int[Array, "atoms"],
) -> Float[Array, "atoms hidden channels"]:
    """Linear map of the receiver's own features; zero where nothing comes in."""
    matrices = dict(zip(plan.kept, folded.skip, strict=True))
    rows = dict(zip(plan.sender, plan.sender.slices, strict=True))
    parts = [
        _mapped(features[:, rows[ir]], matrices[ir], species)
        if ir in matrices
        else jnp.zeros((features.shape[0], ir.dim, plan.channels), features.dtype)
        for ir in plan.hidden
    ]
    return jnp.concatenate(parts, axis=1)


def sent_features(
    plan: LayerPlan, folded: FoldedInteraction, features: Float[Array, "atoms sender channels"]
) -> Float[Array, "atoms alive width"]:
    """What atoms send to their neighbours."""
    rows = dict(zip(plan.sender, plan.sender.slices, strict=True))
    up = [features[:, rows[ir]] @ w for ir, w in zip(plan.alive, folded.up, strict=True)]
    return jnp.concatenate(up, axis=1)


def own_features(
    plan: LayerPlan, gate: FoldedGate, sent: Float[Array, "atoms alive width"]
) -> Float[Array, "atoms components channels"]:
    """The atom's own part of what enters a gate."""
    maps = dict(zip(plan.alive, zip(plan.alive.slices, gate.own, strict=True), strict=True))
    parts = []
    for ir in plan.target:
        count = ir.dim * plan.message_width(ir) // plan.channels
        part = jnp.zeros((sent.shape[0], count, plan.channels), sent.dtype)
        if ir in maps:
            rows, weight = maps[ir]
            part = (sent[:, rows] @ weight).reshape(part.shape)
        parts.append(part)
    return jnp.concatenate(parts, axis=1)


def gated(
    plan: LayerPlan, gate: FoldedGate, values: Float[Array, "atoms components channels"]
) -> Float[Array, "atoms target channels"]:
    """Activate the scalars, multiply every other irrep by a gate of its own, mix channels.

    The first component is the scalar, then come the gates in the order of the irreps.
    """
    config, gates = plan.config, len(plan.target) - 1
    scalar = jax.nn.silu(values[:, :1]) * config.activation_scale
    open_by = jax.nn.sigmoid(values[:, 1 : 1 + gates]) * config.sigmoid_scale
    parts = [scalar @ gate.mix[0]]
    for k, rows in enumerate(plan.target.slices[1:]):
        component = values[:, rows.start + gates : rows.stop + gates] * open_by[:, k : k + 1]
        parts.append(component @ gate.mix[1 + k])
    return jnp.concatenate(parts, axis=1)


def _divisor(density: FoldedDensity, edges: Edges, scale: float) -> Float[Array, "atoms"]:
    """What messages are divided by: more where neighbours are many and close."""
    hidden = _with_late_cutoff(density.network, edges, scale)
    return density.slope * hidden.sum(axis=1) + density.offset


def _with_late_cutoff(network: FoldedMlp, edges: Edges, scale: float) -> Array:
    """tanh(network^2) on every edge; the cutoff comes after the activation."""
    hidden = edge_features(network, edges._replace(cutoff=None), scale)
    values = jnp.tanh((hidden @ network.weights[-1])[..., 0] ** 2)
    return values if edges.cutoff is None else values * edges.cutoff


def _blocks(plan: LayerPlan, weight: Array, paths: Sequence[int], axis: int) -> list[Array]:
    """The part of each living path along an axis on which the given stored paths lie in a row."""
    ends = np.cumsum([plan.stored_widths[k] for k in paths]).tolist()
    starts = [end - plan.stored_widths[k] for end, k in zip(ends, paths, strict=True)]
    return [
        _widened(jax.lax.slice_in_dim(weight, start, end, axis=axis), plan.width, axis)
        for start, end, k in zip(starts, ends, paths, strict=True)
        if plan.is_alive[k]
    ]


def _widened(weight: Array, width: int, axis: int) -> Array:
    """Zeros added along an axis."""
    missing = width - weight.shape[axis]
    return jnp.pad(weight, [(0, missing if k == axis else 0) for k in range(weight.ndim)])


def _mapped(features: Array, matrices: Array, species: Int[Array, "atoms"]) -> Array:
    """One matrix for all atoms, or one per element."""
    per_element = matrices.ndim == 3
    return _per_element(features, matrices, species) if per_element else features @ matrices


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
