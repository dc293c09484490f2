"""Labels of any calculator of ASE: a density-functional code, or another potential as teacher.

    labeler:
      kind: ase
      reference: SevenNet-0
      factory: sevenn.calculator:SevenNetCalculator
      arguments: {model: 7net-0, device: cpu}

Spins start from ``moments`` by element. A calculation that ends with a smaller moment than
``least_moments`` on one of these atoms has found another state and is no label.

With ``python`` the calculator runs in the environment of that interpreter, as for potentials, such
as GPAW of the system; it cannot be told of spins then:

      factory: gpaw.calculator:GPAW
      arguments: {mode: {name: pw, ecut: 400}, xc: PBE, kpts: {size: [4, 4, 1]}, txt: null}
      python: /usr/bin/python3

Calculations that outlive this process, or need a queue, are for ``files``.
"""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
from ase.calculators.calculator import PropertyNotImplementedError
from ase.stress import voigt_6_to_full_3x3_stress

from mlffjax import config as configuration
from mlffjax.active.labelers._labeler import Label, LabelError
from mlffjax.active.labelers._spins import SpinSection
from mlffjax.potential.host_energy import HostFailure
from mlffjax.potential.sources import ase as source
from mlffjax.structures.system import Frame, to_ase

PATIENCE = 86400.0  # s; a self-consistent calculation may take hours


class Config(SpinSection):
    """Whose calculator, what it is made with, and which spins are right."""

    factory: str = pydantic.Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")
    """``package.module:Class`` or ``package.module:Class.method``, as for potentials."""
    arguments: dict[str, Any] = {}
    """Keyword arguments, as YAML has them."""
    python: str | None = pydantic.Field(default=None, pattern=r"^(~?/.*/)?python[\d.]*$")
    """Interpreter of another environment to run the calculator in."""
    call_seconds: float = pydantic.Field(default=PATIENCE, gt=0)
    """Time for that interpreter to label one structure."""

    @pydantic.model_validator(mode="after")
    def _no_spins_elsewhere(self) -> "Config":
        if self.python is not None and (self.moments or self.least_moments):
            raise ValueError(
                "expected no moments with 'python': spins are not sent to another interpreter; "
                "install this package there, or use kind 'files'"
            )
        return self


@dataclass(frozen=True)
class Calculated:
    """A calculator that is made when first needed."""

    config: Config

    @property
    def settings(self) -> Any:
        """The whole section but where and how long it is computed."""
        where = ("python", "call_seconds")
        return {k: v for k, v in configuration.dump(self.config).items() if k not in where}

    def label(self, frame: Frame) -> Label:
        """Compute one structure.

        Raises:
            LabelError: the calculator failed, gave no finite numbers, or another spin state.
            ConfigError: there is no such calculator or interpreter.
            InputError: the interpreter does not start.
        """
        own = self.config
        model = source.energy_model(
            source.Config(
                factory=own.factory,
                arguments=own.arguments,
                python=own.python,
                call_seconds=own.call_seconds,
            ),
            (),
        )
        found = self._here(model, frame) if own.python is None else self._elsewhere(model, frame)
        if not (np.isfinite(found.energy) and np.isfinite(found.forces).all()):
            raise LabelError(f"{own.factory}: energy or forces are not finite")
        return found

    def _here(self, model: source.AseModel, frame: Frame) -> Label:
        """In this process.

        Raises:
            LabelError: the calculator failed, or found another spin state.
        """
        numbers = frame.system.numbers
        atoms = to_ase(frame.system)
        atoms.calc = source.calculator(model.factory, model.arguments)
        if self.config.moments:
            atoms.set_initial_magnetic_moments(self.config.initial(numbers))
        try:
            forces = np.array(atoms.get_forces(), np.float64)
            free = "free_energy" in getattr(atoms.calc, "implemented_properties", ())
            energy = float(atoms.get_potential_energy(force_consistent=free))
            stress = _stress(atoms) if frame.system.pbc.all() else None
            moments = None
            if self.config.needs(numbers):
                moments = np.array(atoms.get_magnetic_moments(), np.float64)
        except Exception as error:  # calculators raise anything
            raise LabelError(f"{model.factory}: {type(error).__name__}: {error}") from error
        self.config.require(moments, numbers)
        spins = {} if moments is None else {"magnetic_moments": moments.tolist()}
        return Label(energy, forces, stress, {"program": _program(model.factory)} | spins)

    def _elsewhere(self, model: source.AseModel, frame: Frame) -> Label:
        """By the other interpreter.

        Raises:
            LabelError: the calculator failed.
        """
        periodic = bool(frame.system.pbc.all())
        try:
            found = model.evaluate([frame.system], derivatives=True, stress=periodic)[0]
        except HostFailure as error:
            raise LabelError(f"{model.factory}: {error}") from error
        versions = ", ".join(f"{name} {version}" for name, version in model.program.items())
        return Label(found.energy, found.forces, found.stress, {"program": versions})


def example() -> Config:
    """Lennard-Jones argon of ASE."""
    shown = source.example()
    return Config(reference="argon", factory=shown.factory, arguments=shown.arguments)


def build(config: Config, base: Path) -> Calculated:
    """Nothing is imported yet."""
    del base
    return Calculated(config)


def _program(factory: str) -> str:
    """Name and version of the package that the calculator comes from."""
    name = factory.partition(".")[0]
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return name


def _stress(atoms: Any) -> np.ndarray | None:
    try:
        return voigt_6_to_full_3x3_stress(atoms.get_stress())
    except (NotImplementedError, PropertyNotImplementedError):
        return None
