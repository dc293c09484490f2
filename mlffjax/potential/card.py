"""The card beside a potential's weights: what it is and what it must not be mixed with."""

from typing import Any

import pydantic
from ase.data import atomic_numbers, chemical_symbols

from mlffjax.config import Config

FORMAT_VERSION = 1


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
        None, description="correction in the labels, e.g. D3(BJ)"
    )
    description: str = ""
    provenance: dict[str, Any] = pydantic.Field({}, description="data, training, licence, history")
    checksum: str = pydantic.Field("", description="sha256 of weights.safetensors; set on saving")

    @pydantic.field_validator("elements")
    @classmethod
    def _known(cls, elements: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [symbol for symbol in elements if atomic_numbers.get(symbol, 0) < 1]
        if unknown or len(set(elements)) != len(elements):
            raise ValueError(f"expected distinct chemical symbols, got {list(elements)}")
        return elements

    @property
    def numbers(self) -> tuple[int, ...]:
        """Atomic numbers of the elements."""
        return tuple(atomic_numbers[symbol] for symbol in self.elements)


def symbols(numbers: tuple[int, ...]) -> tuple[str, ...]:
    """Chemical symbols of atomic numbers."""
    return tuple(chemical_symbols[int(number)] for number in numbers)
