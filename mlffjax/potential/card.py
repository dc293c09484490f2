"""The card beside a potential's weights: what it is and what it must not be mixed with."""

from collections.abc import Sequence
from typing import Any

import pydantic
from ase.data import atomic_numbers

from mlffjax.config import Config
from mlffjax.errors import InputError

FORMAT_VERSION = 2
"""2 adds units and reference energies to 1, which is still read; FORMAT.md describes it."""
UNITS = {"length": "Å", "energy": "eV"}


class Card(Config):
    """Contents of ``card.json``; energies eV, lengths Å."""

    format_version: int = FORMAT_VERSION
    name: str
    elements: tuple[str, ...] = pydantic.Field(
        min_length=1, description="chemical symbols in the order of the weights"
    )
    model: dict[str, Any] = pydantic.Field(description="kind of the model and its hyper-parameters")
    reference: str = pydantic.Field(
        description="method of the training labels: code, functional, pseudopotentials; total "
        "energies of two potentials compare only if this is equal"
    )
    functional: str = pydantic.Field(description="exchange-correlation functional, e.g. PBE")
    dispersion: str | None = pydantic.Field(
        default=None, description="correction in the labels, e.g. D3(BJ)"
    )
    units: dict[str, str] = pydantic.Field(default=UNITS, description="always Å and eV")
    reference_energies: dict[str, float] = pydantic.Field(
        default={}, description="E0 of each element, eV, a copy from the weights; set on saving"
    )
    description: str = ""
    provenance: dict[str, Any] = pydantic.Field(
        default={}, description="data, training, licence, history, checksum of a converted file"
    )
    checksum: str = pydantic.Field(
        default="", description="sha256 of weights.safetensors; set on saving"
    )

    @pydantic.field_validator("elements")
    @classmethod
    def _known(cls, elements: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [symbol for symbol in elements if atomic_numbers.get(symbol, 0) < 1]
        if unknown or len(set(elements)) != len(elements):
            raise ValueError(f"expected distinct chemical symbols, got {list(elements)}")
        return elements

    @pydantic.field_validator("units")
    @classmethod
    def _ours(cls, units: dict[str, str]) -> dict[str, str]:
        if units != UNITS:
            raise ValueError(f"expected {UNITS}, got {units}")
        return units

    @property
    def numbers(self) -> tuple[int, ...]:
        """Atomic numbers of the elements."""
        return tuple(atomic_numbers[symbol] for symbol in self.elements)


def numbers_of(names: Sequence[str]) -> tuple[int, ...]:
    """Atomic numbers of chemical symbols.

    Raises:
        InputError: one is no chemical symbol, or there is none.
    """
    unknown = [name for name in names if atomic_numbers.get(name, 0) < 1]
    if unknown or not names:
        raise InputError(
            "expected elements by their symbols, such as Cr, Sb and Te, got "
            f"{', '.join(map(repr, unknown)) or 'none'}"
        )
    return tuple(atomic_numbers[name] for name in names)
