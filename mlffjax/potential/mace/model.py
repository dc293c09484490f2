"""MACE: interactions, products and readouts put together behind ``EnergyModel``."""

import functools
import itertools
from dataclasses import dataclass
from typing import Any, NamedTuple

import e3nn_jax as e3nn
import flax.linen as nn
import jax
import jax.flatten_util
import jax.numpy as jnp

from mlffjax import trees
from mlffjax.arrays import Array, Float, Int, PRNGKey, PyTree
from mlffjax.graphs.graph import Graph, edge_vectors
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.contraction import SymmetricContraction, contraction_polynomial
from mlffjax.potential.mace.interaction import (
    FoldedInteraction,
    Interaction,
    collapsed_message,
    message,
    residual,
)
from mlffjax.potential.mace.irreps import Layout
from mlffjax.potential.mace.plan import FEW_ELEMENTS, LayerPlan
from mlffjax.potential.mace.radial import bessel_functions, hidden_features

CPU_BLOCK = 8
"""Atoms per block of message passing on CPUs, where a block then fits the cache."""


class FoldedLayer(NamedTuple):
    """Parameter-only products of one layer."""

    interaction: FoldedInteraction
    contraction: list[Float[Array, "elements ranks channels"]]  # one per hidden irrep
    linear: list[Float[Array, "channels channels"]]  # one per hidden irrep
    readout: list[Float[Array, "fan_in fan_out"]]  # one matrix, or two around the activation


class FoldedMace(NamedTuple):
    """Everything an evaluation needs; made by ``MaceModel.fold``."""

    embedding: Float[Array, "elements channels"]
    layers: list[FoldedLayer]
    frequencies: Float[Array, "radial"]
    scale: Float[Array, ""]
    shift: Float[Array, ""]


class Layer(nn.Module):
    """Weights of one interaction with its product basis and readout."""

    plan: LayerPlan

    def setup(self) -> None:
        """Declare the weights."""
        plan, one, c = self.plan, nn.initializers.ones, self.plan.channels
        self.interaction = Interaction(plan)
        self.contractions = [
            SymmetricContraction(
                plan.target, ir, plan.config.correlation, plan.elements, c, name=f"contraction_{ir}"
            )
            for ir in plan.hidden
        ]
        self.linear = [self.param(f"linear_{ir}", one, (c, c)) for ir in plan.hidden]
        self.readout = [
            self.param(f"readout_{k}", one, shape)
            for k, shape in enumerate(itertools.pairwise(plan.readout_widths))
        ]

    def fold(self, average_neighbors: Float[Array, ""]) -> FoldedLayer:
        """Weights with their normalisations multiplied in."""
        return FoldedLayer(
            interaction=self.interaction.fold(average_neighbors),
            contraction=[contraction.fold() for contraction in self.contractions],
            linear=[w / w.shape[0] ** 0.5 for w in self.linear],
            readout=[w / w.shape[0] ** 0.5 for w in self.readout],
        )


class Network(nn.Module):
    """Weights of a MACE; evaluation works on what ``fold`` returns.

    What flax calls the initial value of a weight is its standard deviation here: ``MaceModel.init``
    multiplies it by normal numbers.
    """

    plans: tuple[LayerPlan, ...]

    def setup(self) -> None:
        """Declare the weights."""
        shape = (self.plans[0].elements, self.plans[0].channels)
        self.embedding = self.param("embedding", nn.initializers.ones, shape)
        self.layers = [Layer(plan, name=f"layer_{plan.index}") for plan in self.plans]

    def fold(self, constants: dict[str, Array]) -> FoldedMace:
        """Multiply out what depends on parameters only; differentiable."""
        return FoldedMace(
            embedding=self.embedding / self.embedding.shape[0] ** 0.5,
            layers=[layer.fold(constants["average_neighbors"]) for layer in self.layers],
            frequencies=constants["bessel_frequencies"],
            scale=constants["scale"],
            shift=constants["shift"],
        )


@dataclass(frozen=True)
class MaceModel:
    """MACE for a set of elements; the static part of a ``Potential``.

    ``params["weights"]`` is trainable; ``params["constants"]`` holds reference energies, scale,
    shift, the average number of neighbours and the Bessel frequencies, which training leaves alone.
    """

    elements: tuple[int, ...]
    config: MaceConfig
    supports = frozenset({"atomic_energies", "hessian", "features"})

    @property
    def cutoff(self) -> float:
        """Longest edge, Å."""
        return self.config.r_max

    @property
    def reach(self) -> float:
        """Receptive field, Å."""
        return self.config.r_max * self.config.num_interactions

    @property
    def settings(self) -> dict[str, Any]:
        """Kind and hyper-parameters."""
        return {"kind": "mace", **self.config.model_dump(mode="json")}

    def init(self, *, key: PRNGKey) -> PyTree:
        """Weights drawn as mace-torch draws them; neutral constants, all float32."""
        constants = self._neutral_constants()
        # Compiled, because only the weights are wanted: eager flax would evaluate all of ``fold``.
        declare = jax.jit(lambda: Network(self.plans).init(key, constants, method=Network.fold))
        deviations = declare()["params"]
        flat, unflatten = jax.flatten_util.ravel_pytree(trees.cast(deviations, jnp.float32))
        # One draw for all weights: a generator per weight would take longer to compile than MACE.
        weights = unflatten(flat * jax.random.normal(key, flat.shape, flat.dtype))
        return {"weights": weights, "constants": constants}

    def fold(self, params: PyTree) -> FoldedMace:
        """What depends on parameters only; give it to ``folded_energies`` to save repeating it."""
        variables = {"params": params["weights"]}
        folded: Any = Network(self.plans).apply(variables, params["constants"], method=Network.fold)
        return folded

    def folded_energies(self, folded: FoldedMace, graph: Graph) -> Float[Array, "atoms"]:
        """Interaction energies, eV, from folded parameters."""
        outputs = self._node_features(folded, graph)
        readouts = [
            _readout(plan, layer, features[:, 0])
            for plan, layer, features in zip(self.plans, folded.layers, outputs, strict=True)
        ]
        return folded.scale * sum(readouts) + folded.shift

    def atomic_energies(self, params: PyTree, graph: Graph) -> Float[Array, "atoms"]:
        """Interaction energy of each atom, eV, without reference energies."""
        return self.folded_energies(self.fold(params), graph)

    def features(self, params: PyTree, graph: Graph) -> tuple[Float[Array, "atoms channels"], ...]:
        """Invariant (scalar) node features after every layer."""
        return tuple(f[:, 0] for f in self._node_features(self.fold(params), graph))

    def reference_energies(self, params: PyTree) -> Float[Array, "elements"]:
        """E0 of each element, eV."""
        return params["constants"]["atomic_energies"]

    @functools.cached_property
    def plans(self) -> tuple[LayerPlan, ...]:
        """Static description of the layers."""
        return tuple(
            LayerPlan(self.config, len(self.elements), index)
            for index in range(self.config.num_interactions)
        )

    def _node_features(
        self, folded: FoldedMace, graph: Graph
    ) -> list[Float[Array, "atoms hidden channels"]]:
        """Node features after every layer."""
        vectors = edge_vectors(graph, outside=2 * self.cutoff)
        distance = _safe_norm(vectors)
        # mace-torch points from sender to receiver; odd harmonics feel the sign.
        harmonics = _spherical_harmonics(-vectors / distance[..., None], self.plans[0].edge)
        radial = bessel_functions(distance, folded.frequencies, self.config)
        block = CPU_BLOCK if jax.default_backend() == "cpu" else None
        features = folded.embedding[graph.species][:, None]
        outputs = []
        for plan, layer in zip(self.plans, folded.layers, strict=True):
            if plan.is_collapsed:
                messages = collapsed_message(
                    plan,
                    layer.interaction,
                    folded.embedding,
                    radial,
                    harmonics,
                    graph.species[graph.neighbors],
                )
            else:
                messages = message(
                    plan, layer.interaction, features, radial, harmonics, graph, block
                )
            kept = residual(plan, layer.interaction, features, graph.species)
            features = _product(plan, layer, messages, graph.species) + kept
            outputs.append(features)
        return outputs

    def _neutral_constants(self) -> dict[str, Array]:
        config = self.config
        return {
            "atomic_energies": jnp.zeros(len(self.elements), jnp.float32),
            "scale": jnp.ones((), jnp.float32),
            "shift": jnp.zeros((), jnp.float32),
            "average_neighbors": jnp.ones((), jnp.float32),
            "bessel_frequencies": jnp.arange(1, config.num_bessel + 1, dtype=jnp.float32)
            * (jnp.pi / config.r_max),
        }


def _spherical_harmonics(
    directions: Float[Array, "atoms slots 3"], layout: Layout
) -> Float[Array, "atoms slots edge"]:
    """Real spherical harmonics of unit vectors, component-normalised, in e3nn's order and sign."""
    irreps = e3nn.Irreps("+".join(map(str, layout)))
    return e3nn.spherical_harmonics(
        irreps, directions, normalize=False, normalization="component"
    ).array


def _safe_norm(vectors: Float[Array, "... 3"]) -> Float[Array, "..."]:
    """Length; one with zero derivative for a zero vector, so that gradients stay finite."""
    squared = (vectors**2).sum(-1)
    nonzero = squared > 0
    return jnp.where(nonzero, jnp.sqrt(jnp.where(nonzero, squared, 1)), 1)


def _product(
    plan: LayerPlan,
    folded: FoldedLayer,
    messages: Float[Array, "atoms target channels"],
    species: Int[Array, "atoms"],
) -> Float[Array, "atoms hidden channels"]:
    """Symmetric contraction and the linear map after it."""
    parts = []
    for ir, weights, linear in zip(plan.hidden, folded.contraction, folded.linear, strict=True):
        polynomial = contraction_polynomial(plan.target, ir, plan.config.correlation)
        parts.append(polynomial(messages, _element_rows(weights, species)) @ linear)
    return jnp.concatenate(parts, axis=1)


def _readout(
    plan: LayerPlan, folded: FoldedLayer, scalars: Float[Array, "atoms channels"]
) -> Float[Array, "atoms"]:
    """Energy of the scalar features, before scale and shift."""
    hidden = hidden_features(scalars, folded.readout, plan.config.activation_scale)
    return (hidden @ folded.readout[-1])[:, 0]


def _element_rows(
    table: Float[Array, "elements ranks channels"], species: Int[Array, "atoms"]
) -> Float[Array, "atoms ranks channels"]:
    """Rows of a per-element table; a matmul for few elements, whose transpose is no scatter."""
    elements = table.shape[0]
    if elements > FEW_ELEMENTS:
        return table[species]
    one_hot = jax.nn.one_hot(species, elements, dtype=table.dtype)
    return (one_hot @ table.reshape(elements, table[0].size)).reshape(
        species.shape + table.shape[1:]
    )
