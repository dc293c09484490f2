"""``kind: lennard_jones``: a cheap pair potential, for tests, tutorials and sanity checks."""

import pydantic

from mlffjax import config
from mlffjax.potential.pair import LennardJonesModel


class Config(config.Config):
    """Hyper-parameters; depth and diameter are weights."""

    cutoff: float = pydantic.Field(8.5, gt=0, description="Å")


def example() -> Config:
    """A cutoff that fits small cells."""
    return Config(cutoff=6.0)


def energy_model(config: Config, elements: tuple[int, ...]) -> LennardJonesModel:
    """One Lennard-Jones interaction between all of the given atomic numbers."""
    return LennardJonesModel(elements=elements, cutoff=config.cutoff)
