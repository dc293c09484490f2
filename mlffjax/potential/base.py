"""What every potential is: parameters as leaves, a model as the static part."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from flax import struct

from mlffjax.arrays import Array, Float, PRNGKey, PyTree
from mlffjax.graphs.batching import species_of
from mlffjax.graphs.graph import Graph
from mlffjax.structures.system import System


@runtime_checkable
class EnergyModel(Protocol):
    """Hyper-parameters and the energy function; hashable, compared by value, without arrays."""

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers; ``Graph.species`` indexes this tuple."""
        ...

    @property
    def cutoff(self) -> float:
        """Longest edge, Å."""
        ...

    @property
    def reach(self) -> float:
        """Distance at which a moved atom can change another's energy, Å."""
        ...

    @property
    def supports(self) -> frozenset[str]:
        """Subset of {"atomic_energies", "hessian", "features", "readout_features", "heat_flux"}.

        ``readout_features(params, graph)``, [atoms, features], is what the last linear maps
        multiply: atomic energies are linear in the weights of these maps, times the features.
        """
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """Kind and hyper-parameters, as a ``model:`` section or a card states them."""
        ...

    def init(self, *, key: PRNGKey) -> PyTree:
        """Random parameters."""
        ...

    def atomic_energies(self, params: PyTree, graph: Graph) -> Float[Array, "atoms"]:
        """Interaction energy of each atom, eV, without reference energies."""
        ...

    def reference_energies(self, params: PyTree) -> Float[Array, "elements"]:
        """Energy of each element's reference atom (E0), eV."""
        ...


@struct.dataclass
class Potential:
    """An energy model with its parameters; a pytree whose leaves are the parameters."""

    params: PyTree
    model: EnergyModel = struct.field(pytree_node=False)

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers the potential knows, in the order of ``Graph.species``."""
        return self.model.elements

    @property
    def cutoff(self) -> float:
        """Longest edge, Å."""
        return self.model.cutoff

    def reference_energy(self, system: System) -> float:
        """Sum of the reference energies (E0) of a structure's atoms, eV, in float64."""
        references = np.asarray(self.model.reference_energies(self.params), np.float64)
        return float(references[species_of(system, self.elements)].sum())
