"""Networks that turn radial functions into the weights of messages, and into densities.

Both kinds end in a linear map that is left to the caller, because it can wait until channels are
summed over neighbours; what is given out are the features before it.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mlffjax.arrays import Array, Float, Int
from mlffjax.potential.mace.plan import FEW_ELEMENTS

NORM_EPSILON = 1e-5  # added to variances, as torch.nn.LayerNorm does


class Edges(NamedTuple):
    """What messages need to know of the edges."""

    harmonics: Float[Array, "atoms slots edge"]
    radial: Float[Array, "atoms slots radial"]
    cutoff: Float[Array, "atoms slots"] | None
    """Multiplies radial weights and densities; None if the radial functions vanish themselves."""
    senders: Int[Array, "atoms slots"]  # species
    receivers: Int[Array, "atoms"]  # species


class FoldedNorms(NamedTuple):
    """What a network with biases has beside its matrices; one entry per hidden layer.

    Inputs that depend on an element only are multiplied out to tables, one row per element; the
    first bias is part of the receivers'. The last bias is the last row of the last matrix.
    """

    biases: list[Float[Array, "width"]]  # of all hidden layers but the first
    gains: list[Float[Array, "width"]]
    offsets: list[Float[Array, "width"]]
    senders: Float[Array, "elements width"]
    receivers: Float[Array, "elements width"]


class FoldedMlp(NamedTuple):
    """A network with its normalisations multiplied in."""

    weights: list[Float[Array, "fan_in fan_out"]]
    norms: FoldedNorms | None = None


class RadialMlp(nn.Module):
    """Multi-layer perceptron without biases: zero beyond the cutoff stays zero."""

    inputs: int
    widths: tuple[int, ...]
    outputs: int

    def setup(self) -> None:
        """Declare the weights."""
        sizes = (self.inputs, *self.widths, self.outputs)
        self.weights = [
            self.param(f"layer_{k}", nn.initializers.ones, shape)
            for k, shape in enumerate(itertools.pairwise(sizes))
        ]

    def fold(self) -> FoldedMlp:
        """Weight matrices with their normalisations; the last one is linear."""
        return FoldedMlp([w / w.shape[0] ** 0.5 for w in self.weights])


class NormalisedMlp(nn.Module):
    """Perceptron of radial functions and of both elements, with biases and layer norms."""

    radial: int
    embedding: int
    widths: tuple[int, ...]
    outputs: int

    def setup(self) -> None:
        """Declare the weights."""
        sizes = (self.radial + 2 * self.embedding, *self.widths, self.outputs)
        pairs = list(enumerate(itertools.pairwise(sizes)))
        # torch draws uniformly up to 1 / sqrt(fan in).
        self.weights = [
            self.param(f"layer_{k}", deviation((3 * a) ** -0.5), (a, b)) for k, (a, b) in pairs
        ]
        self.biases = [
            self.param(f"bias_{k}", deviation((3 * a) ** -0.5), (b,)) for k, (a, b) in pairs
        ]
        self.gains = [centred(self, f"gain_{k}", 1.0, (n,)) for k, n in enumerate(self.widths)]
        self.offsets = [
            self.param(f"offset_{k}", nn.initializers.zeros, (n,))
            for k, n in enumerate(self.widths)
        ]

    def fold(
        self,
        senders: Float[Array, "elements embedding"],
        receivers: Float[Array, "elements embedding"],
    ) -> FoldedMlp:
        """Matrices, and tables of what the embeddings of the elements give."""
        ends = self.radial, self.radial + self.embedding
        first, *others = self.weights
        last = jnp.concatenate([others[-1], self.biases[-1][None]])
        norms = FoldedNorms(
            biases=self.biases[1:-1],
            gains=self.gains,
            offsets=self.offsets,
            senders=senders @ first[ends[0] : ends[1]],
            receivers=receivers @ first[ends[1] :] + self.biases[0],
        )
        return FoldedMlp([first[: ends[0]], *others[:-1], last], norms)


def deviation(value: float) -> nn.initializers.Initializer:
    """Initializer of a weight that is drawn with this standard deviation."""
    return nn.initializers.constant(value)


def centred(module: nn.Module, name: str, mean: float, shape: tuple[int, ...]) -> Array:
    """Declare a weight that starts at a number instead of being drawn."""
    if module.is_initializing():
        module.variable("means", name, jnp.full, shape, mean)
    return module.param(name, nn.initializers.zeros, shape)


def edge_features(
    folded: FoldedMlp, edges: Edges, activation_scale: float
) -> Float[Array, "atoms slots width"]:
    """Output of the last hidden layer on every edge; zero where the edge is beyond the cutoff."""
    if folded.norms is None:
        hidden = hidden_features(edges.radial, folded.weights, activation_scale)
    else:
        hidden = _normalised_features(folded.weights, folded.norms, edges)
    return hidden if edges.cutoff is None else hidden * edges.cutoff[..., None]


def hidden_features(
    features: Float[Array, "... radial"], weights: Sequence[Array], activation_scale: float
) -> Float[Array, "... width"]:
    """Output of the last hidden layer of a plain perceptron, before its final linear map."""
    for weight in weights[:-1]:
        features = jax.nn.silu(features @ weight) * activation_scale
    return features


def _normalised_features(weights: Sequence[Array], norms: FoldedNorms, edges: Edges) -> Array:
    """The same with layer norms; the last feature is one, for the bias of what comes after."""
    receivers = norms.receivers[edges.receivers][:, None]
    hidden = edges.radial @ weights[0] + receivers + _rows(norms.senders, edges.senders)
    for k, (gain, offset) in enumerate(zip(norms.gains, norms.offsets, strict=True)):
        if k:
            hidden = hidden @ weights[k] + norms.biases[k - 1]
        centred_hidden = hidden - hidden.mean(-1, keepdims=True)
        variance = (centred_hidden**2).mean(-1, keepdims=True)
        hidden = jax.nn.silu(
            centred_hidden * jax.lax.rsqrt(variance + NORM_EPSILON) * gain + offset
        )
    return jnp.concatenate([hidden, jnp.ones_like(hidden[..., :1])], axis=-1)


def _rows(table: Float[Array, "elements width"], species: Int[Array, "..."]) -> Array:
    """Rows of a table; a matmul for few elements, whose transpose is no scatter."""
    elements = table.shape[0]
    if elements > FEW_ELEMENTS:
        return table[species]
    return jax.nn.one_hot(species, elements, dtype=table.dtype) @ table
