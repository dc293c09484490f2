"""Candidates evenly spaced in time: what one does with a trajectory if nothing else is known."""

import numpy as np

from mlffjax.active.selection._selection import Chosen, Pool, Section


class Config(Section):
    """Has no choices."""


def example() -> Config:
    """The only one there is."""
    return Config()


def select(config: Config, pool: Pool, count: int, seed: int) -> Chosen:
    """Middles of ``count`` equal parts of all trajectories put end to end; the seed is not used."""
    del config, seed
    row = np.lexsort((pool.order, pool.trajectory))
    count = min(count, len(row))
    places = (2 * np.arange(count) + 1) * len(row) // (2 * count) if count else np.arange(0)
    return Chosen(tuple(int(index) for index in row[places]))
