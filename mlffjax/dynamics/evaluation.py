"""A potential made ready for many evaluations of one composition."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from mlffjax import trees
from mlffjax.arrays import Array, Float, PRNGKey, PyTree
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.graphs.graph import Graph
from mlffjax.potential import derivatives
from mlffjax.potential.base import EnergyModel, Potential


@runtime_checkable
class Foldable(Protocol):
    """A model that can multiply out once what depends on its parameters only."""

    def fold(self, params: PyTree) -> PyTree:
        """What ``folded_energies`` takes in place of parameters."""
        ...

    def folded_energies(self, folded: PyTree, graph: Graph) -> Float[Array, "atoms"]:
        """As ``atomic_energies``."""
        ...


@dataclass(frozen=True)
class FoldedModel:
    """A model whose parameters are those of another one, folded, beside the original ones."""

    model: EnergyModel

    @property
    def elements(self) -> tuple[int, ...]:
        """As of the model."""
        return self.model.elements

    @property
    def cutoff(self) -> float:
        """As of the model, Å."""
        return self.model.cutoff

    @property
    def reach(self) -> float:
        """As of the model, Å."""
        return self.model.reach

    @property
    def supports(self) -> frozenset[str]:
        """Without features, which come from unfolded parameters."""
        return self.model.supports - {"features", "readout_features"}

    @property
    def settings(self) -> dict[str, Any]:
        """As of the model."""
        return self.model.settings

    def init(self, *, key: PRNGKey) -> PyTree:
        """Random parameters, folded."""
        return folded(Potential(self.model.init(key=key), self.model)).params

    def atomic_energies(self, params: PyTree, graph: Graph) -> Float[Array, "atoms"]:
        """As of the model, eV."""
        assert isinstance(self.model, Foldable)
        return self.model.folded_energies(params["folded"], graph)

    def reference_energies(self, params: PyTree) -> Float[Array, "elements"]:
        """As of the model, eV."""
        return params["references"]


class Forces(NamedTuple):
    """What a step needs to know of the potential; float64 whatever the model computes in."""

    energy: Float[Array, ""]  # eV, interaction energy, summed in float64
    forces: Float[Array, "atoms 3"]  # eV/Å
    virial: Float[Array, "3 3"]  # -dU/dstrain, eV; zero without a volume


def evaluate(potential: Potential, graph: Graph) -> Forces:
    """Energy, forces and virial of one structure without padded atoms."""
    found = derivatives.predict(potential, graph)
    forces = found.forces.astype(jnp.float64)
    if found.forces.dtype != jnp.float64:
        # Forces among atoms add up to zero; the rounding of single precision must not push the
        # whole, step after step.
        forces -= forces.mean(axis=0)
    volume = jnp.abs(jnp.linalg.det(graph.cell[0].astype(jnp.float64)))
    return Forces(
        energy=found.atomic_energies.astype(jnp.float64).sum(),
        forces=forces,
        virial=-found.stress[0].astype(jnp.float64) * volume,
    )


def folded(potential: Potential) -> Potential:
    """The same potential with what depends on parameters only computed once, if it can be."""
    model = potential.model
    if not isinstance(model, Foldable):
        return potential
    params = {
        "folded": model.fold(potential.params),
        "references": model.reference_energies(potential.params),
    }
    return Potential(params, FoldedModel(model))


def prepared(potential: Potential, dtype: type, members: int | None) -> Potential:
    """Parameters folded, in a precision, on the device; of each member if it is a stack."""
    fold = _folded if members is None else _folded_each
    return fold(trees.cast(potential, dtype))


_folded = jax.jit(folded)
_folded_each = jax.jit(jax.vmap(folded))


def members(potential: Potential) -> int | None:
    """How many potentials are stacked along a leading axis; None for a single one.

    Raises:
        InputError: a parameter is not finite.
        CompatibilityError: the parameters are neither those of the model nor a stack of them.
    """
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(potential.params)):
        raise InputError("expected a potential with finite parameters, but some are NaN or inf")
    expected = jax.eval_shape(lambda: potential.model.init(key=jax.random.key(0)))
    wanted = [leaf.shape for leaf in jax.tree.leaves(expected)]
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(potential.params)]
    if shapes == wanted:
        return None
    if [shape[1:] for shape in shapes] == wanted and len({shape[:1] for shape in shapes}) == 1:
        return shapes[0][0]
    raise CompatibilityError(
        "the parameters do not have the shapes of the potential's model, nor those of a stack "
        "along one leading axis (mlffjax.trees.stack)"
    )
