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
    needs_network: ClassVar[bool] = False
    """Whether the potential must be a network, which pair potentials are refused for."""
    generic: ClassVar[Literal["labels", "structures"] | None] = None
    """What it needs of structures of other materials: nothing, with labels, or as they are."""

    def path_names(self) -> tuple[str, ...]:
        """Paths of the study that it learns from; they are given to it, and to no other run."""
        return ()
