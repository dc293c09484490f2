"""Candidates on whose forces a committee disagrees most.

The score is the largest spread of the force on an atom, sqrt(mean over members of |F - mean F|²).
Members that start from one foundation differ by seed and order of the data only and are too sure of
themselves: scores rank candidates, they are no error bars.
"""

from typing import ClassVar

import numpy as np

from mlffjax.active.selection._selection import Chosen, Pool, Scored, diverse
from mlffjax.errors import InputError


class Config(Scored):
    """How the batch is spread."""

    needs: ClassVar[frozenset[str]] = frozenset({"features", "forces"})


def example() -> Config:
    """The defaults."""
    return Config()


def select(config: Config, pool: Pool, count: int, seed: int) -> Chosen:
    """The most disputed candidate, then different ones among the most disputed.

    Raises:
        InputError: there are fewer than two members, or features or forces are missing.
    """
    del seed
    if pool.forces is None or pool.atom_candidate is None or len(pool.forces) < 2:
        members = 0 if pool.forces is None else len(pool.forces)
        raise InputError(
            f"expected forces of a committee of at least 2 potentials, got {members}; train with "
            "several seeds"
        )
    rest = pool.forces - pool.forces.mean(axis=0)
    spread = np.sqrt((rest**2).sum(axis=2).mean(axis=0))
    scores = np.zeros(len(pool.order))
    np.maximum.at(scores, pool.atom_candidate, spread)
    return Chosen(diverse(scores, pool, count, config.quantile), scores)
