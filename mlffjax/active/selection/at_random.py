"""Candidates drawn at random without replacement: the control that every other kind must beat."""

import numpy as np

from mlffjax.active.selection._selection import Chosen, Pool, Section


class Config(Section):
    """Has no choices; the seed is that of the campaign."""


def example() -> Config:
    """The only one there is."""
    return Config()


def select(config: Config, pool: Pool, count: int, seed: int) -> Chosen:
    """The beginning of a random permutation, so that larger counts contain smaller ones."""
    del config
    order = np.random.default_rng(seed).permutation(len(pool.order))
    return Chosen(tuple(int(index) for index in order[:count]))
