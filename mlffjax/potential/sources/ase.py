"""``kind: ase``: any calculator of ASE, so that other models meet the same probes.

    model:
      kind: ase
      factory: chgnet.model.dynamics:CHGNetCalculator
      arguments: {use_device: cpu}
      cutoff: 6.0

The factory is a class of calculators, or a class method of one that makes them; nothing else is
called, and a configuration holds no code. A card of this kind still names a program: its module is
imported and the class gets the arguments when the potential is evaluated, not when it is loaded.

Energies are the calculator's totals (``free_energy`` where it has one: the energy that forces
belong to); reference energies (E0) are zero until somebody sets them. The calculator runs on the
host, one structure at a time. It gives no atomic energies, features or second derivatives; where
it gives no stress, derivatives by the cell are NaN.
"""

import functools
import importlib
import json
import math
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import pydantic
from ase.calculators.abc import GetPropertiesMixin
from ase.calculators.calculator import PropertyNotImplementedError
from ase.stress import voigt_6_to_full_3x3_stress

from mlffjax import config
from mlffjax.arrays import Array, Float, PRNGKey, PyTree
from mlffjax.errors import ConfigError
from mlffjax.graphs.graph import Graph
from mlffjax.potential.host_energy import HostResult, energies, shares
from mlffjax.structures.system import System, to_ase


class Config(config.Config):
    """Whose calculator, and what it is made with."""

    factory: str = pydantic.Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")
    """``package.module:Class`` or ``package.module:Class.method``."""
    arguments: dict[str, Any] = {}
    """Keyword arguments, as YAML has them."""
    cutoff: float = pydantic.Field(default=6.0, gt=0, description="Å")
    """At least the range of the calculator: neighbour lists of this reach tell which directions of
    a structure are periodic. The calculator makes its own lists."""
    pbc: tuple[bool, bool, bool] = (True, True, True)
    """Directions that are periodic in the structures to come; zero cell vectors never are."""


@dataclass(frozen=True)
class AseModel:
    """A calculator by name; hashable, and made when first needed, once per process."""

    elements: tuple[int, ...]
    factory: str
    arguments: str  # JSON
    cutoff: float
    pbc: tuple[bool, bool, bool]
    supports = frozenset()

    @property
    def reach(self) -> float:
        """Infinite: the calculator does not say."""
        return math.inf

    @property
    def settings(self) -> dict[str, Any]:
        """Kind and choices."""
        return {
            "kind": "ase",
            "factory": self.factory,
            "arguments": json.loads(self.arguments),
            "cutoff": self.cutoff,
            "pbc": self.pbc,
        }

    def init(self, *, key: PRNGKey) -> PyTree:
        """Reference energies of zero; no weights, as an empty array that files can hold."""
        del key
        zeros = jnp.zeros(len(self.elements), jnp.float32)
        none = jnp.zeros(0, jnp.float32)
        return {"weights": {"none": none}, "constants": {"atomic_energies": zeros}}

    def atomic_energies(self, params: PyTree, graph: Graph) -> Float[Array, "atoms"]:
        """The calculator's energy of each structure in equal shares, eV."""
        del params
        return shares(energies(self, graph), graph)

    def reference_energies(self, params: PyTree) -> Float[Array, "elements"]:
        """E0 of each element, eV."""
        return params["constants"]["atomic_energies"]

    def evaluate(self, system: System, *, derivatives: bool, stress: bool) -> HostResult:
        """Ask the calculator; on the host."""
        atoms = to_ase(system)
        atoms.calc = calculator(self.factory, self.arguments)
        # Some calculators compute everything again for every question: forces first.
        forces = atoms.get_forces() if derivatives else np.zeros((len(atoms), 3))
        energy = atoms.get_potential_energy(force_consistent=_has_free_energy(atoms.calc))
        tensor = None
        if stress and system.pbc.all():
            try:
                tensor = voigt_6_to_full_3x3_stress(atoms.get_stress())
            except (NotImplementedError, PropertyNotImplementedError):
                tensor = None
        return HostResult(float(energy), np.asarray(forces, np.float64), tensor)


def example() -> Config:
    """Lennard-Jones argon of ASE."""
    return Config(
        factory="ase.calculators.lj:LennardJones",
        arguments={"epsilon": 0.0104, "sigma": 3.4, "rc": 5.9, "smooth": True},
        cutoff=6.0,
    )


def energy_model(config: Config, elements: tuple[int, ...]) -> AseModel:
    """A calculator for structures of the given atomic numbers; nothing is imported yet.

    Raises:
        ConfigError: an argument is not plain data.
    """
    try:
        arguments = json.dumps(config.arguments, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"arguments of {config.factory}: expected plain data: {error}") from error
    return AseModel(elements, config.factory, arguments, config.cutoff, config.pbc)


@functools.cache
def calculator(factory: str, arguments: str) -> Any:
    """Import the class and make its calculator, once for equal arguments (JSON).

    Raises:
        ConfigError: there is no such class, it is none of calculators, or it refuses the arguments.
    """
    module, _, name = factory.partition(":")
    try:
        parts: list[Any] = [importlib.import_module(module)]
        for attribute in name.split("."):
            parts.append(getattr(parts[-1], attribute))
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"cannot find the factory {factory!r}: {type(error).__name__}: {error}; install its "
            "package, or correct the name 'package.module:Class'"
        ) from error
    owner = parts[-1] if isinstance(parts[-1], type) else parts[-2]
    makes = isinstance(owner, type) and issubclass(owner, GetPropertiesMixin)
    if not makes or not (parts[-1] is owner or getattr(parts[-1], "__self__", None) is owner):
        raise ConfigError(
            f"expected the factory {factory!r} to be a class of ASE calculators or a class method "
            f"of one, got {parts[-1]!r}; functions are not called, so that no configuration can "
            "run arbitrary code"
        )
    try:
        return parts[-1](**json.loads(arguments))
    except Exception as error:  # constructors of others raise anything
        raise ConfigError(
            f"{factory} refused its arguments {arguments}: {type(error).__name__}: {error}"
        ) from error


def _has_free_energy(made: Any) -> bool:
    return "free_energy" in getattr(made, "implemented_properties", ())
