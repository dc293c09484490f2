"""``kind: mace``: our own MACE."""

from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.model import MaceModel


class Config(MaceConfig):
    """Hyper-parameters of a MACE."""


def energy_model(config: Config, elements: tuple[int, ...]) -> MaceModel:
    """A MACE for the given atomic numbers."""
    return MaceModel(elements, MaceConfig(**config.model_dump()))
