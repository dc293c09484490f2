"""A MACE for fewer elements: smaller, faster, and the same function of those that stay."""

import re
from collections.abc import Sequence

import numpy as np

from mlffjax import trees
from mlffjax.errors import CompatibilityError
from mlffjax.potential.base import Potential
from mlffjax.potential.mace.model import MaceModel
from mlffjax.structures.elements import symbols

ROWS = {
    r"weights/embedding": (0, True),
    r"weights/layer_\d+/interaction/(source|target)_embedding": (0, True),
    r"weights/layer_\d+/interaction/skip_\w+": (1, True),
    r"weights/layer_\d+/contraction_\w+/degree_\d+": (0, False),
    r"constants/atomic_energies": (0, False),
}
"""Weights with one row per element, by their name: the axis of the rows, and whether ``fold``
divides them by the square root of the number of elements."""


def keep_elements(potential: Potential, elements: Sequence[int]) -> Potential:
    """Drop the weights of all other elements; no number changes for structures of those kept.

    Args:
        potential: a MACE.
        elements: atomic numbers to keep; their order stays that of the potential.

    Raises:
        CompatibilityError: the potential does not know one of them, or is no MACE.
    """
    model = potential.model
    if not isinstance(model, MaceModel):
        raise CompatibilityError(f"expected a MACE to take elements from, got {model}")
    unknown = tuple(z for z in elements if z not in model.elements)
    if unknown or not elements:
        problem = f"the model does not know {', '.join(symbols(unknown))}"
        raise CompatibilityError(
            f"{problem if unknown else 'there are no elements to keep'}; choose among "
            f"{', '.join(symbols(model.elements))}"
        )
    kept = [k for k, z in enumerate(model.elements) if z in elements]
    # e3nn normalises a map of one-hot elements by the square root of their number, as if all were
    # present at once. The fewer elements divide by less, so the weights give way by as much.
    factor = (len(kept) / len(model.elements)) ** 0.5
    named = trees.names(potential.params)
    shared = _shared(model)
    for pattern, (axis, is_normalised) in ROWS.items():
        for name in filter(re.compile(pattern).fullmatch, named):
            if any(re.fullmatch(each, name) for each in shared):
                continue
            rows = np.take(np.asarray(named[name]), kept, axis)
            named[name] = rows * rows.dtype.type(factor) if is_normalised else rows
    smaller = MaceModel(tuple(model.elements[k] for k in kept), model.config)
    return Potential(params=trees.from_names(named), model=smaller)


def _shared(model: MaceModel) -> list[str]:
    """Patterns of weights that all elements have in common, though others of the name do not."""
    gated = [plan.index for plan in model.plans if plan.kind.is_gated]
    patterns = [rf"weights/layer_{index}/interaction/skip_\w+" for index in gated]
    if model.config.use_agnostic_product:
        patterns.append(r"weights/layer_\d+/contraction_\w+/degree_\d+")
    return patterns
