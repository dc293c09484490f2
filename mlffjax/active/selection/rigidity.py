"""Candidates whose forces the labelled structures determine least; one model is enough.

The score is the largest standard deviation of the force on an atom by last-layer prediction
rigidity (``mlffjax.potential.rigidity``), with the covariance of the structures that have labels.
Labels of candidates are not needed, nor a committee; what the features of the model do not tell
apart is not seen.
"""

from typing import ClassVar

from mlffjax.active.selection._selection import Chosen, Pool, Scored, diverse
from mlffjax.errors import InputError


class Config(Scored):
    """How the batch is spread."""

    needs: ClassVar[frozenset[str]] = frozenset({"features", "rigidity"})


def example() -> Config:
    """The defaults."""
    return Config()


def select(config: Config, pool: Pool, count: int, seed: int) -> Chosen:
    """The least determined candidate, then different ones among the least determined.

    Raises:
        InputError: features or spreads are missing.
    """
    del seed
    if pool.rigidity is None:
        raise InputError("expected spreads of the candidates' forces, got none; compute them first")
    return Chosen(diverse(pool.rigidity, pool, count, config.quantile), pool.rigidity)
