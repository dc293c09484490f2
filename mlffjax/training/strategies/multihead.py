"""Fine-tuning with two heads: one for the material, one for labelled generic structures.

Both share everything up to the invariant features of the atoms. Each has its own readouts, scale,
shift and reference energies (E0), so that two reference methods need not agree. The readouts of
both are trained; scale and shift stay the foundation's, because readouts and E0s can do all that
they could. The potential that is returned is the material's head, in the tree of all others. The
other head is thrown away after it has served: its errors before and after are among the notes.

Like multihead fine-tuning of MACE (arXiv:2401.00096); the generic half that may be learned from is
mixed in as by ``replay``.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
from jax.tree_util import Partial

from mlffjax import trees
from mlffjax.arrays import Array, Float, PRNGKey, PyTree
from mlffjax.errors import CompatibilityError
from mlffjax.graphs.graph import Graph
from mlffjax.potential.base import Potential
from mlffjax.training.batches import Batch
from mlffjax.training.config import LossConfig
from mlffjax.training.generic_data import labelled, with_generic
from mlffjax.training.ingredients import Ingredients, referenced_foundation
from mlffjax.training.losses import Realize, supervised
from mlffjax.training.recipe import Recipe, all_weights, standard
from mlffjax.training.reference_energies import Foundational
from mlffjax.training.strategies._mixing import Mixing

READOUT = "readout_"
"""Beginning of the names of a head's own weights."""
OTHER = 1
"""Number of the generic head; the material's is 0."""


class Config(Mixing):
    """Choices of ``multihead``."""

    generic = "labels"
    needs_network = True
    kind: Literal["multihead"] = "multihead"
    generic_reference_energies: Foundational = "reestimated"


def example() -> Config:
    """One generic structure for each of the material; needs a network with readouts."""
    return Config()


def build(config: Config, ingredients: Ingredients, *, key: PRNGKey) -> Recipe:
    """Both heads start from the foundation's; with weight or ratio 0 there is only one.

    Raises:
        CompatibilityError: the foundation has no readouts, or it, generic structures or their
            labels are missing, or reference methods would be mixed.
    """
    del key  # nothing is drawn
    potential, notes = referenced_foundation(ingredients, config.kind, config.reference_energies)
    if not hasattr(potential.model, "head_energies"):
        raise CompatibilityError(
            f"strategy {config.kind} gives a network a second readout, but a "
            f"{type(potential.model).__name__} has no features to read out; use replay"
        )
    data = labelled(ingredients, config.kind, config.generic_reference_energies)
    training = ingredients.training
    weights, material = all_weights(potential)
    if config.ratio == 0 or config.weight == 0:
        return standard(
            weights, material, training, learning_rate=config.learning_rate, notes=notes
        )
    trainable = {"weights": weights, "other_head": readouts(weights)}
    realize, other = Partial(_material, material), Partial(_other, all_weights(data.potential)[1])
    recipe = standard(trainable, realize, training, learning_rate=config.learning_rate, notes=notes)
    loss = _loss(training.loss)  # pyright: ignore[reportArgumentType]
    recipe = recipe._replace(loss=Partial(loss, realize, other))
    return with_generic(
        recipe,
        data,
        training,
        ratio=config.ratio,
        weight=config.weight,
        head=OTHER,
        realize=other,
    )


def readouts(weights: PyTree) -> PyTree:
    """The part of a tree of weights that belongs to a head."""
    named = trees.names(weights)
    return trees.from_names(
        {name: leaf for name, leaf in named.items() if name.split("/")[-1].startswith(READOUT)}
    )


def _material(realize: Realize, trainable: PyTree) -> Potential:
    return realize(trainable["weights"])


def _other(realize: Realize, trainable: PyTree) -> Potential:
    """The generic head on the common trunk."""
    named = trees.names(trainable["weights"]) | trees.names(trainable["other_head"])
    return realize(trees.from_names(named))


@dataclass(frozen=True)
class _Heads:
    """A model of several heads, as far as a loss needs one; each structure has its own head.

    ``params`` are ``heads``, the parameters of each, and ``head`` [graphs], the one to be used.
    """

    model: Any

    def atomic_energies(self, params: PyTree, graph: Graph) -> Float[Array, "atoms"]:
        """Interaction energy of each atom by the head of its structure, eV."""
        material, other = self.model.head_energies(params["heads"], graph)
        return jnp.where(params["head"][graph.atom_graph] == OTHER, other, material)


@functools.cache
def _loss(config: LossConfig) -> Any:
    """The supervised loss of (realize, realize of the other head, trainable, batch)."""
    single = supervised(config)  # pyright: ignore[reportArgumentType]

    def loss(
        material: Realize, other: Realize, trainable: PyTree, batch: Batch
    ) -> Float[Array, ""]:
        heads: Sequence[Potential] = (material(trainable), other(trainable))
        params = {"heads": [head.params for head in heads], "head": batch.head}
        joined = Potential(params, _Heads(heads[0].model))  # pyright: ignore[reportArgumentType]
        return single(_as_given, joined, batch)

    return loss


def _as_given(potential: Potential) -> Potential:
    return potential
