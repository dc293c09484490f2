"""Labels of any calculator of ASE: a density-functional code, or another potential as teacher.

    labeler:
      kind: ase
      reference: SevenNet-0
      factory: sevenn.calculator:SevenNetCalculator
      arguments: {model: 7net-0, device: cpu}

Spins start from ``moments`` by element. A calculation that ends with a smaller moment than
``least_moments`` on one of these atoms has found another state and is no label.
"""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
from ase.calculators.calculator import PropertyNotImplementedError
from ase.data import atomic_numbers, chemical_symbols
from ase.stress import voigt_6_to_full_3x3_stress

from mlffjax import config as configuration
from mlffjax.active.labelers._labeler import Label, LabelError, Section
from mlffjax.potential.sources import ase as source
from mlffjax.structures.system import Frame, to_ase


class Config(Section):
    """Whose calculator, what it is made with, and which spins are right."""

    factory: str = pydantic.Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")
    """``package.module:Class`` or ``package.module:Class.method``, as for potentials."""
    arguments: dict[str, Any] = {}
    """Keyword arguments, as YAML has them."""
    moments: dict[str, float] = {}
    """Initial magnetic moment of the atoms of an element, μB."""
    least_moments: dict[str, float] = {}
    """Smallest magnitude of the final moment of every atom of an element, μB."""

    @pydantic.field_validator("moments", "least_moments")
    @classmethod
    def _elements(cls, value: dict[str, float]) -> dict[str, float]:
        unknown = [symbol for symbol in value if symbol not in chemical_symbols[1:]]
        if unknown:
            raise ValueError(f"expected symbols of elements, got {', '.join(unknown)}")
        return value


@dataclass(frozen=True)
class Calculated:
    """A calculator that is made when first needed."""

    config: Config

    @property
    def settings(self) -> Any:
        """The whole section."""
        return configuration.dump(self.config)

    def label(self, frame: Frame) -> Label:
        """Compute one structure.

        Raises:
            LabelError: the calculator failed, gave no finite numbers, or another spin state.
            ConfigError: there is no such calculator.
        """
        arguments = source.energy_model(source.Config(
            factory=self.config.factory, arguments=self.config.arguments
        ), ()).arguments  # fmt: skip
        atoms = to_ase(frame.system)
        atoms.calc = source.calculator(self.config.factory, arguments)
        if self.config.moments:
            moments = [self.config.moments.get(s, 0.0) for s in atoms.get_chemical_symbols()]
            atoms.set_initial_magnetic_moments(moments)
        try:
            forces = np.array(atoms.get_forces(), np.float64)
            free = "free_energy" in getattr(atoms.calc, "implemented_properties", ())
            energy = float(atoms.get_potential_energy(force_consistent=free))
            stress = _stress(atoms) if frame.system.pbc.all() else None
            about = {"program": _program(self.config.factory)} | self._spins(atoms, frame)
        except LabelError:
            raise
        except Exception as error:  # calculators raise anything
            raise LabelError(f"{self.config.factory}: {type(error).__name__}: {error}") from error
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise LabelError(f"{self.config.factory}: energy or forces are not finite")
        return Label(energy, forces, stress, about)

    def _spins(self, atoms: Any, frame: Frame) -> dict[str, Any]:
        """Final moments, if they matter.

        Raises:
            LabelError: an atom has too small a moment.
        """
        if not self.config.least_moments:
            return {}
        moments = np.array(atoms.get_magnetic_moments(), float)
        for symbol, least in self.config.least_moments.items():
            own = np.flatnonzero(frame.system.numbers == atomic_numbers[symbol])
            low = own[abs(moments[own]) < least]
            if len(low):
                raise LabelError(
                    f"expected a moment of at least {least:g} μB on {symbol}, got "
                    f"{moments[low[0]]:.2f} on atom {low[0]}: another spin state"
                )
        return {"magnetic_moments": moments.tolist()}


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
