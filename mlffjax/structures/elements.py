"""Facts of chemical elements that a structure does not carry itself."""

from collections.abc import Iterable

import numpy as np
from ase.data import atomic_masses, chemical_symbols
from jaxtyping import Float64, Int


def masses(numbers: Int[np.ndarray, " atoms"]) -> Float64[np.ndarray, " atoms"]:
    """Standard atomic weights, u; IUPAC 2016 (doi:10.1515/pac-2016-0402) as ASE tabulates them."""
    return np.asarray(atomic_masses[np.asarray(numbers)], np.float64)


def symbols(numbers: Iterable[int]) -> tuple[str, ...]:
    """Chemical symbols of atomic numbers."""
    return tuple(chemical_symbols[int(number)] for number in numbers)
