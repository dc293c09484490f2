"""MACE: interactions, products and readouts put together behind ``EnergyModel``."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import e3nn_jax as e3nn
import flax.linen as nn
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from mlffjax import trees
from mlffjax.arrays import Array, Float, Int, PRNGKey, PyTree
from mlffjax.graphs.graph import Graph, edge_vectors
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.contraction import SymmetricContraction, contraction_polynomial
from mlffjax.potential.mace.gate import GatedInteraction
from mlffjax.potential.mace.interaction import FoldedInteraction, Interaction, interact, residual
from mlffjax.potential.mace.irreps import Layout
from mlffjax.potential.mace.plan import FEW_ELEMENTS, LayerPlan
from mlffjax.potential.mace.radial import envelope, radial_constants, radial_functions
from mlffjax.potential.mace.radial_mlp import Edges
from mlffjax.potential.mace.readout import (
    FoldedReadout,
    declare_readout,
    fold_readout,
    last_inputs,
    read_out,
)
from mlffjax.potential.mace.repulsion import CONSTANTS, repulsion
from mlffjax.potential.mace.transforms import TRANSFORMS, radii_sums

CPU_BLOCK = 8
"""Atoms per block of message passing on CPUs, where a block then fits the cache."""


class FoldedLayer(NamedTuple):
    """Parameter-only products of one layer."""

    interaction: FoldedInteraction
    contraction: list[Float[Array, "elements ranks channels"]]  # one per hidden irrep
    linear: list[Float[Array, "channels channels"]]  # one per hidden irrep
    readout: FoldedReadout


class FoldedMace(NamedTuple):
    """Everything an evaluation needs; made by ``MaceModel.fold``."""

    embedding: Float[Array, "elements channels"]
    layers: list[FoldedLayer]
    constants: dict[str, PyTree]


class Layer(nn.Module):
    """Weights of one interaction with its product basis and readout."""

    plan: LayerPlan

    def setup(self) -> None:
        """Declare the weights."""
        plan, one, c = self.plan, nn.initializers.ones, self.plan.channels
        kind = GatedInteraction if plan.kind.is_gated else Interaction
        self.interaction = kind(plan)
        self.contractions = [
            SymmetricContraction(
                plan.target,
                ir,
                plan.config.correlation,
                plan.product_elements,
                c,
                name=f"contraction_{ir}",
            )
            for ir in plan.hidden
        ]
        self.linear = [self.param(f"linear_{ir}", one, (c, c)) for ir in plan.hidden]
        self.readout = declare_readout(self, plan)

    def fold(self, average_neighbors: Float[Array, ""]) -> FoldedLayer:
        """Weights with their normalisations multiplied in."""
        return FoldedLayer(
            interaction=self.interaction.fold(average_neighbors),
            contraction=[contraction.fold() for contraction in self.contractions],
            linear=[w / w.shape[0] ** 0.5 for w in self.linear],
            readout=fold_readout(self.readout),
        )


class Network(nn.Module):
    """Weights of a MACE; evaluation works on what ``fold`` returns.

    What flax calls the initial value of a weight is its standard deviation here, and the collection
    ``means`` holds what is not drawn around zero: ``MaceModel.init`` multiplies and adds.
    """

    plans: tuple[LayerPlan, ...]

    def setup(self) -> None:
        """Declare the weights."""
        shape = (self.plans[0].elements, self.plans[0].channels)
        self.embedding = self.param("embedding", nn.initializers.ones, shape)
        self.layers = [Layer(plan, name=f"layer_{plan.index}") for plan in self.plans]

    def fold(self, constants: dict[str, PyTree]) -> FoldedMace:
        """Multiply out what depends on parameters only; differentiable."""
        return FoldedMace(
            embedding=self.embedding / self.embedding.shape[0] ** 0.5,
            layers=[layer.fold(constants["average_neighbors"]) for layer in self.layers],
            constants=constants,
        )


@dataclass(frozen=True)
class MaceModel:
    """MACE for a set of elements; the static part of a ``Potential``.

    ``params["weights"]`` is trainable; ``params["constants"]`` holds reference energies, scale,
    shift, the average number of neighbours and the constants of radial functions, transform and
    repulsion, which training leaves alone.
    """

    elements: tuple[int, ...]
    config: MaceConfig
    supports = frozenset(
        {"atomic_energies", "hessian", "features", "readout_features", "heat_flux"}
    )

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
        declared = trees.cast(declare(), jnp.float32)
        flat, unflatten = jax.flatten_util.ravel_pytree(declared["params"])
        # One draw for all weights: a generator per weight would take longer to compile than MACE.
        weights = unflatten(flat * jax.random.normal(key, flat.shape, flat.dtype))
        if means := trees.names(declared.get("means", {})):
            weights = trees.from_names(trees.names(weights) | means)
        return {"weights": weights, "constants": constants}

    def fold(self, params: PyTree) -> FoldedMace:
        """What depends on parameters only; give it to ``folded_energies`` to save repeating it."""
        variables = {"params": params["weights"]}
        folded: Any = Network(self.plans).apply(variables, params["constants"], method=Network.fold)
        return folded

    def folded_energies(self, folded: FoldedMace, graph: Graph) -> Float[Array, "atoms"]:
        """Interaction energies, eV, from folded parameters."""
        distance, edges = self._edges(folded, graph)
        outputs = self._node_features(folded, graph, edges)
        return self._head_energies(folded, outputs, distance, edges)

    def head_energies(self, heads: Sequence[PyTree], graph: Graph) -> Float[Array, "heads atoms"]:
        """Interaction energies, eV, of parameters that differ in readouts, scale and shift only.

        The features, which cost nearly everything, are computed once, from the first.
        """
        folded = [self.fold(params) for params in heads]
        distance, edges = self._edges(folded[0], graph)
        outputs = self._node_features(folded[0], graph, edges)
        return jnp.stack([self._head_energies(head, outputs, distance, edges) for head in folded])

    def _head_energies(
        self,
        folded: FoldedMace,
        outputs: Sequence[Float[Array, "atoms hidden channels"]],
        distance: Float[Array, "atoms slots"],
        edges: Edges,
    ) -> Float[Array, "atoms"]:
        scale = self.config.activation_scale
        parts = [
            read_out(layer.readout, features[:, 0], scale)
            for plan, layer, features in zip(self.plans, folded.layers, outputs, strict=True)
            if plan.readout_widths
        ]
        if self.config.pair_repulsion:
            parts.append(self._repulsion(folded, distance, edges))
        return folded.constants["scale"] * sum(parts) + folded.constants["shift"]

    def atomic_energies(self, params: PyTree, graph: Graph) -> Float[Array, "atoms"]:
        """Interaction energy of each atom, eV, without reference energies."""
        return self.folded_energies(self.fold(params), graph)

    def features(self, params: PyTree, graph: Graph) -> tuple[Float[Array, "atoms channels"], ...]:
        """Invariant (scalar) node features after every layer."""
        folded = self.fold(params)
        _, edges = self._edges(folded, graph)
        return tuple(f[:, 0] for f in self._node_features(folded, graph, edges))

    def readout_features(self, params: PyTree, graph: Graph) -> Float[Array, "atoms features"]:
        """What the last linear maps of all readouts multiply, side by side, times the scale.

        Atomic energies are these times those maps, plus what no readout contributes to.
        """
        folded, scale = self.fold(params), self.config.activation_scale
        outputs = self._node_features(folded, graph, self._edges(folded, graph)[1])
        parts = [
            last_inputs(layer.readout, features[:, 0], scale)
            for plan, layer, features in zip(self.plans, folded.layers, outputs, strict=True)
            if plan.readout_widths
        ]
        return folded.constants["scale"] * jnp.concatenate(parts, axis=1)

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

    def _edges(self, folded: FoldedMace, graph: Graph) -> tuple[Float[Array, "atoms slots"], Edges]:
        """Lengths of the edges, Å, and what messages need to know of them."""
        config = self.config
        vectors = edge_vectors(graph, outside=2 * self.cutoff)
        distance = _safe_norm(vectors)
        senders = graph.species[graph.neighbors]
        # mace-torch points from sender to receiver; odd harmonics feel the sign.
        harmonics = _spherical_harmonics(-vectors / distance[..., None], config.max_ell)
        argument, factor = distance, envelope(distance / config.r_max, config.num_polynomial_cutoff)
        cutoff = None
        if not config.apply_cutoff:
            cutoff, factor = factor, jnp.ones_like(factor)
        elif any(plan.kind.is_gated for plan in self.plans):
            # Networks with biases do not vanish with their input: edges beyond have to be silenced.
            cutoff = (distance < config.r_max).astype(distance.dtype)
        if config.distance_transform:
            sums = radii_sums(self.elements, graph.species, senders, distance.dtype)
            transform = TRANSFORMS[config.distance_transform]
            argument = transform.function(distance, sums, folded.constants["distance_transform"])
        radial = radial_functions(argument, factor, folded.constants, config)
        return distance, Edges(harmonics, radial, cutoff, senders, graph.species)

    def _node_features(
        self, folded: FoldedMace, graph: Graph, edges: Edges
    ) -> list[Float[Array, "atoms hidden channels"]]:
        """Node features after every layer."""
        block = CPU_BLOCK if jax.default_backend() == "cpu" else None
        features = folded.embedding[graph.species][:, None]
        outputs = []
        for plan, layer in zip(self.plans, folded.layers, strict=True):
            messages = interact(
                plan, layer.interaction, features, folded.embedding, edges, graph, block
            )
            product = _product(plan, layer, messages, graph.species)
            if plan.kind.is_residual:
                product += residual(plan, layer.interaction, features, graph.species)
            features = product
            outputs.append(features)
        return outputs

    def _repulsion(
        self, folded: FoldedMace, distance: Float[Array, "atoms slots"], edges: Edges
    ) -> Float[Array, "atoms"]:
        return repulsion(
            distance,
            self.elements,
            edges.receivers,
            edges.senders,
            folded.constants["pair_repulsion"],
            power=self.config.num_polynomial_cutoff,
            cutoff=self.cutoff,
        )

    def _neutral_constants(self) -> dict[str, PyTree]:
        config = self.config
        constants: dict[str, PyTree] = {
            "atomic_energies": jnp.zeros(len(self.elements)),
            "scale": jnp.ones(()),
            "shift": jnp.zeros(()),
            "average_neighbors": jnp.ones(()),
            **radial_constants(config, np.float32),
        }
        if config.distance_transform:
            constants["distance_transform"] = TRANSFORMS[config.distance_transform].constants
        if config.pair_repulsion:
            constants["pair_repulsion"] = CONSTANTS
        return jax.tree.map(
            lambda value: jnp.asarray(value, jnp.float32),
            constants,
            is_leaf=lambda value: isinstance(value, tuple),
        )


def _spherical_harmonics(
    directions: Float[Array, "atoms slots 3"], max_ell: int
) -> Float[Array, "atoms slots edge"]:
    """Real spherical harmonics of unit vectors, component-normalised, in e3nn's order and sign."""
    irreps = e3nn.Irreps("+".join(map(str, Layout.harmonics(max_ell))))
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


def _element_rows(
    table: Float[Array, "elements ranks channels"], species: Int[Array, "atoms"]
) -> Float[Array, "atoms ranks channels"]:
    """Rows of a per-element table; a matmul for few elements, whose transpose is no scatter."""
    elements = table.shape[0]
    if elements == 1:  # of the only element, or of all of them together
        return jnp.broadcast_to(table, (species.shape[0], *table.shape[1:]))
    if elements > FEW_ELEMENTS:
        return table[species]
    one_hot = jax.nn.one_hot(species, elements, dtype=table.dtype)
    return (one_hot @ table.reshape(elements, table[0].size)).reshape(
        species.shape + table.shape[1:]
    )
