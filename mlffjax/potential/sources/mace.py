"""``kind: mace``: our own MACE."""

from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.model import MaceModel


class Config(MaceConfig):
    """Hyper-parameters of a MACE."""


def example() -> Config:
    """Small enough to compile in seconds."""
    return Config(r_max=4.0, num_bessel=4, max_ell=1, hidden_irreps="4x0e + 4x1o", radial_mlp=(8,))


def energy_model(config: Config, elements: tuple[int, ...]) -> MaceModel:
    """A MACE for the given atomic numbers."""
    return MaceModel(elements, MaceConfig(**config.model_dump()))
