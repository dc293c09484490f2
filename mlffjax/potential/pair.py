"""Lennard-Jones: a cheap potential with closed-form answers, for tests and examples."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from mlffjax.arrays import Array, Float, PRNGKey, PyTree
from mlffjax.graphs.graph import Graph, edge_vectors
from mlffjax.potential.base import Potential


@dataclass(frozen=True)
class LennardJonesModel:
    """4 eps ((s/r)^12 - (s/r)^6), taken smoothly to zero between 0.8 cutoff and the cutoff."""

    elements: tuple[int, ...]
    cutoff: float
    supports = frozenset({"atomic_energies", "hessian", "readout_features", "heat_flux"})

    @property
    def reach(self) -> float:
        """Equal to the cutoff: one interaction."""
        return self.cutoff

    @property
    def settings(self) -> dict[str, Any]:
        """Kind and hyper-parameters."""
        return {"kind": "lennard_jones", "cutoff": self.cutoff}

    def init(self, *, key: PRNGKey) -> PyTree:
        """Argon-like parameters; the key is not needed."""
        del key
        return {
            "weights": {"epsilon": jnp.float32(0.0104), "sigma": jnp.float32(3.40)},
            "constants": {"atomic_energies": jnp.zeros(len(self.elements), jnp.float32)},
        }

    def atomic_energies(self, params: PyTree, graph: Graph) -> Float[Array, "atoms"]:
        """Half of every pair energy goes to either atom, eV."""
        power, switch = self._terms(params, graph)
        pair = 4 * params["weights"]["epsilon"] * (power**2 - power) * switch
        return pair.sum(axis=1) / 2

    def readout_features(self, params: PyTree, graph: Graph) -> Float[Array, "atoms 2"]:
        """Repulsion and attraction in units of epsilon, the weight that multiplies both."""
        power, switch = self._terms(params, graph)
        terms = jnp.stack([power**2 * switch, -power * switch], axis=-1)
        return 2 * terms.sum(axis=1)

    def _terms(self, params: PyTree, graph: Graph) -> tuple[Array, Array]:
        """(s/r)^6 and the switch of every edge."""
        vectors = edge_vectors(graph, outside=2 * self.cutoff)
        distance = jnp.sqrt((vectors**2).sum(-1))
        power = (params["weights"]["sigma"] / distance) ** 6
        x = jnp.clip((distance / self.cutoff - 0.8) / 0.2, 0, 1)
        return power, 1 - x**3 * (10 - 15 * x + 6 * x**2)

    def reference_energies(self, params: PyTree) -> Float[Array, "elements"]:
        """E0 of each element, eV."""
        return params["constants"]["atomic_energies"]


def lennard_jones(
    elements: tuple[int, ...], *, epsilon: float = 0.0104, sigma: float = 3.40, cutoff: float = 8.5
) -> Potential:
    """One Lennard-Jones interaction between all atoms; eV, Å. Defaults describe argon."""
    return Potential(
        params={
            "weights": {"epsilon": jnp.array(epsilon), "sigma": jnp.array(sigma)},
            "constants": {"atomic_energies": jnp.zeros(len(elements))},
        },
        model=LennardJonesModel(elements=elements, cutoff=cutoff),
    )
