"""Which spins a calculation starts with, and which it must end with."""

import numpy as np
import pydantic
from ase.data import atomic_numbers, chemical_symbols
from jaxtyping import Float64, Int32

from mlffjax.active.labelers._labeler import LabelError, Section


class SpinSection(Section):
    """Base of the ``Config`` of kinds that compute with spins."""

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

    def initial(self, numbers: Int32[np.ndarray, " atoms"]) -> Float64[np.ndarray, " atoms"]:
        """Initial moments of atoms, μB."""
        symbols = (chemical_symbols[number] for number in numbers)
        return np.array([self.moments.get(symbol, 0.0) for symbol in symbols])

    def needs(self, numbers: Int32[np.ndarray, " atoms"]) -> bool:
        """Whether final moments of these atoms matter."""
        return any(atomic_numbers[symbol] in numbers for symbol in self.least_moments)

    def require(
        self,
        moments: Float64[np.ndarray, " atoms"] | None,
        numbers: Int32[np.ndarray, " atoms"],
    ) -> None:
        """Refuse another spin state than the one that was meant.

        Raises:
            LabelError: an atom has too small a moment, or moments are not known.
        """
        if not self.needs(numbers):
            return
        if moments is None or len(moments) != len(numbers):
            raise LabelError(
                "expected final magnetic moments of all atoms, for least_moments asks for them, "
                f"got {'none' if moments is None else len(moments)}; let the program print them"
            )
        for symbol, least in self.least_moments.items():
            own = np.flatnonzero(numbers == atomic_numbers[symbol])
            low = own[~(abs(np.asarray(moments)[own]) >= least)]
            if len(low):
                raise LabelError(
                    f"expected a moment of at least {least:g} μB on {symbol}, got "
                    f"{moments[low[0]]:.2f} on atom {low[0]}: another spin state"
                )
