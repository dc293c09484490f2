"""Candidates that tell a linear model of the features most: greedy maximum of log det.

With the covariance C = ridge 1 + sum f fᵀ over labelled structures, a candidate adds
log(1 + fᵀ C⁻¹ f) to log det C (matrix determinant lemma). The best is taken, C⁻¹ follows by a
rank-one update (Sherman and Morrison), and so on. Greedy choice of a submodular function reaches at
least the part 1 - 1/e of the best: Nemhauser, Wolsey and Fisher, Math. Program. 14, 265 (1978),
doi:10.1007/BF01588971.
"""

from typing import ClassVar

import numpy as np
import pydantic

from mlffjax.active.selection._selection import Chosen, Pool, Section, features_of


class Config(Section):
    """What is known before any label."""

    needs: ClassVar[frozenset[str]] = frozenset({"features"})

    ridge: float = pydantic.Field(default=1e-2, gt=0)
    """Prior precision of the coefficients, for features with unit deviation."""


def example() -> Config:
    """The defaults."""
    return Config()


def select(config: Config, pool: Pool, count: int, seed: int) -> Chosen:
    """Greedy choice; scores are the gains of log det before any candidate is taken.

    Raises:
        InputError: features are missing or not finite.
    """
    del seed
    features, known = features_of(pool)
    covariance = config.ridge * np.eye(features.shape[1]) + known.T @ known
    inverse = np.linalg.inv(covariance)
    leverage = np.einsum("ij,jk,ik->i", features, inverse, features)
    gains, taken = np.log1p(leverage), []
    for _ in range(min(count, len(features))):
        open_ones = leverage.copy()
        open_ones[taken] = -np.inf
        best = int(np.argmax(open_ones))
        taken.append(best)
        step = inverse @ features[best]
        divisor = 1 + features[best] @ step
        leverage = leverage - (features @ step) ** 2 / divisor
        inverse = inverse - np.outer(step, step) / divisor
    return Chosen(tuple(taken), gains)
