"""What every strategy's ``Config`` says about it beyond its choices."""

from typing import ClassVar, Literal

from mlffjax import config


class Section(config.Config):
    """Base of the ``Config`` of every kind."""

    starts_from: ClassVar[Literal["model", "foundation"]] = "foundation"
    """Section of a study that it is given: the architecture to draw weights for, or the foundation.

    A run's fingerprint covers what the run is given, so this also decides what makes it outdated.
    """
    trains: ClassVar[bool] = True
    """Whether its runs take epochs."""
