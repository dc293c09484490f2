"""``kind: ase``: any calculator of ASE, so that other models meet the same probes.

    model:
      kind: ase
      factory: chgnet.model.dynamics:CHGNetCalculator
      arguments: {use_device: cpu}
      cutoff: 6.0
      python: ~/venvs/chgnet/bin/python

The factory is a class of calculators, or a class method of one that makes them; nothing else is
called, and a configuration holds no code. A card of this kind still names a program: its module is
imported and the class gets the arguments when the potential is evaluated, not when it is loaded.

With ``python`` the calculator runs in the environment of that interpreter, for packages that cannot
be installed beside ours. It needs the calculator's package there, not this one; see ``remote``.
Both ways give the same numbers.

Energies are the calculator's totals (``free_energy`` where it has one: the energy that forces
belong to); reference energies (E0) are zero until somebody sets them. The calculator runs on the
host; structures of a graph reach it together. It gives no atomic energies, features or second
derivatives; where it gives no stress, derivatives by the cell are NaN.
"""

import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import pydantic

from mlffjax import config
from mlffjax.arrays import Array, Float, PRNGKey, PyTree
from mlffjax.errors import ConfigError
from mlffjax.graphs.graph import Graph
from mlffjax.potential.host_energy import HostResult, energies, one_by_one, shares
from mlffjax.potential.remote import server
from mlffjax.potential.remote.client import Address, remote
from mlffjax.structures.system import System


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
    python: str | None = pydantic.Field(default=None, pattern=r"^(~?/.*/)?python[\d.]*$")
    """Interpreter of another environment to run the calculator in: an absolute path, ``~/...``, or
    a name such as ``python3.12`` that is looked for. The structures are sent to it."""
    start_seconds: float = pydantic.Field(default=300.0, gt=0)
    """Time for that interpreter to import the package and load the weights."""
    call_seconds: float = pydantic.Field(default=600.0, gt=0)
    """Time for it to evaluate one structure."""


@dataclass(frozen=True)
class AseModel:
    """A calculator by name; hashable, and made when first needed, once per process."""

    elements: tuple[int, ...]
    factory: str
    arguments: str  # JSON
    cutoff: float
    pbc: tuple[bool, bool, bool]
    python: str | None = None
    start_seconds: float = 300.0
    call_seconds: float = 600.0
    supports = frozenset()
    asks_together = True
    """Structures cost what they cost, alone or with others; fewer messages are fewer waits."""

    @property
    def reach(self) -> float:
        """Infinite: the calculator does not say."""
        return math.inf

    @property
    def settings(self) -> dict[str, Any]:
        """Kind and choices."""
        settings = {
            "kind": "ase",
            "factory": self.factory,
            "arguments": json.loads(self.arguments),
            "cutoff": self.cutoff,
            "pbc": self.pbc,
        }
        if self.python is None:
            return settings
        names = ("python", "start_seconds", "call_seconds")
        return settings | {name: getattr(self, name) for name in names}

    @property
    def program(self) -> dict[str, str]:
        """Versions of what computes: the calculator's package, ASE and Python. May start it.

        Raises:
            ConfigError: there is no such interpreter.
            InputError: it does not start.
        """
        return server.program(self.factory) if self.python is None else self._remote.program()

    @property
    def _remote(self) -> Any:
        assert self.python is not None
        return remote(
            Address(
                self.python, self.factory, self.arguments, self.start_seconds, self.call_seconds
            )
        )

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

    def evaluate(
        self, systems: Sequence[System], *, derivatives: bool, stress: bool
    ) -> list[HostResult]:
        """Ask the calculator; on the host.

        Raises:
            HostFailure: it fails for a structure.
            ConfigError: there is no such calculator or interpreter.
            InputError: the interpreter does not start.
        """
        if self.python is not None:
            return self._remote.evaluate(systems, derivatives=derivatives, stress=stress)
        made = calculator(self.factory, self.arguments)

        def ask(system: System) -> HostResult:
            structure = server.Structure(**system._asdict())
            return HostResult(
                *server.evaluate(made, structure, derivatives=derivatives, stress=stress)
            )

        return one_by_one(ask, systems)


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
    return AseModel(
        elements,
        config.factory,
        arguments,
        config.cutoff,
        config.pbc,
        config.python,
        config.start_seconds,
        config.call_seconds,
    )


@functools.cache
def calculator(factory: str, arguments: str) -> Any:
    """Import the class and make its calculator, once for equal arguments (JSON).

    Raises:
        ConfigError: there is no such class, it is none of calculators, or it refuses the arguments.
    """
    try:
        return server.make(factory, json.loads(arguments))
    except server.FactoryError as error:
        raise ConfigError(str(error)) from error
