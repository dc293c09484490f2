"""How far the features of a potential moved from those of the foundation it came from.

Both are evaluated at the same structures. By layer, and by element within a layer:

* ``dissimilarity`` = 1 - CKA (linear, debiased): 0 if the layer still spans the same relations
  between atoms, whatever its basis; near 1 if nothing of them is left.
* ``cosine``: mean over atoms of the cosine between old and new features. It lives on what all atoms
  of an element share, so it stays near 1 long after the others have moved.
* ``displacement``: rms change of the features over the rms spread of the foundation's about their
  mean. 1 means that features moved as far as atoms differ among each other.

The last two compare channel by channel: they have no meaning, and for other widths no value, for a
potential that did not start from the foundation's weights. A drift is not a loss by itself: it says
how much was rewritten, and whether that harmed must be measured (probe ``forgetting``).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from mlffjax.errors import InputError
from mlffjax.representation.features import NodeFeatures
from mlffjax.representation.similarity import FEWEST, linear_cka, stacked


class Drift(NamedTuple):
    """By layer and group of atoms: all atoms first, then the elements; NaN where undefined."""

    dissimilarity: Float64[np.ndarray, "layers groups"]
    cosine: Float64[np.ndarray, "layers groups"]
    displacement: Float64[np.ndarray, "layers groups"]


def drift(features: NodeFeatures, foundation: NodeFeatures, elements: Sequence[int]) -> Drift:
    """Compare layer by layer, as far as both have layers.

    Args:
        features: of the potential.
        foundation: of the foundation, at the same structures.
        elements: atomic numbers of the groups after the first.

    Raises:
        InputError: they belong to other atoms.
    """
    if not np.array_equal(features.numbers, foundation.numbers):
        raise InputError("expected features of the same atoms, got other atomic numbers")
    groups = [np.ones(len(features.numbers), bool)]
    groups += [features.numbers == number for number in elements]
    table = [
        [_compared(new[group], old[group]) for group in groups]
        for new, old in zip(features.layers, foundation.layers, strict=False)
    ]
    return Drift(*np.moveaxis(np.array(table), 2, 0))


def _compared(new: np.ndarray, old: np.ndarray) -> tuple[float, float, float]:
    if len(new) < FEWEST:
        return np.nan, np.nan, np.nan
    dissimilarity = 1 - float(linear_cka(stacked([new, old]))[0, 1])
    if new.shape != old.shape:
        return dissimilarity, np.nan, np.nan
    lengths = np.linalg.norm(new, axis=1) * np.linalg.norm(old, axis=1)
    known = lengths > 0
    cosines = (new * old).sum(axis=1)[known] / lengths[known]
    spread = np.square(old - old.mean(axis=0)).sum()
    moved = np.square(new - old).sum()
    return (
        dissimilarity,
        float(cosines.mean()) if known.any() else np.nan,
        float(np.sqrt(moved / spread)) if spread > 0 else np.nan,
    )
