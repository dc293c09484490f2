"""Candidates least like what is labelled, each also unlike those chosen before it."""

from typing import ClassVar

from mlffjax.active.selection._selection import Chosen, Pool, Section, farthest, features_of


class Config(Section):
    """Has no choices: deterministic, and independent of what models predict."""

    needs: ClassVar[frozenset[str]] = frozenset({"features"})


def example() -> Config:
    """The only one there is."""
    return Config()


def select(config: Config, pool: Pool, count: int, seed: int) -> Chosen:
    """Farthest points given the labelled structures; the seed is not used.

    Raises:
        InputError: features are missing or not finite.
    """
    del config, seed
    features, known = features_of(pool)
    return Chosen(farthest(features, known, count))
