"""``kind: mace_jax``: the MACE of mace-jax, with the same settings as ``kind: mace``."""

from mlffjax.potential import mace_jax_model
from mlffjax.potential.mace_jax_model import MaceJaxConfig, MaceJaxModel
from mlffjax.potential.sources import mace


class Config(MaceJaxConfig):
    """Hyper-parameters of a MACE."""


def example() -> Config:
    """Small; raises ``MissingExtra`` where mace-jax is not installed."""
    mace_jax_model.require()
    return Config(**mace.example().model_dump())


def energy_model(config: Config, elements: tuple[int, ...]) -> MaceJaxModel:
    """A MACE of mace-jax for the given atomic numbers.

    Raises:
        MissingExtra: mace-jax cannot be imported.
        CompatibilityError: it has no such MACE.
    """
    mace_jax_model.require()
    mace_jax_model.bundle_config(elements, config)  # says what mace-jax does not have
    return MaceJaxModel(elements, MaceJaxConfig(**config.model_dump()))
