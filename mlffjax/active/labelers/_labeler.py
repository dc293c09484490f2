"""What every labeller is."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pydantic
from jaxtyping import Float64

from mlffjax import config
from mlffjax.errors import MlffjaxError
from mlffjax.structures.system import Frame


class LabelError(MlffjaxError):
    """One structure has no label; the message says why. The others go on."""


class LabelPending(MlffjaxError):
    """Labels are computed elsewhere and are not there yet; not an outcome, so nothing is noted."""


class Section(config.Config):
    """Base of the ``Config`` of every kind."""

    reference: str = pydantic.Field(min_length=1)
    """The method, in the words of the data set that the labels will join."""


class Label(NamedTuple):
    """What a reference calculation said.

    Attributes:
        energy: total energy, eV; the one that forces are derivatives of.
        forces: eV/Å.
        stress: eV/Å³, ASE's sign; None if the method gives none.
        about: what else is to be kept, as plain data: version of the code, magnetic moments.
    """

    energy: float
    forces: Float64[np.ndarray, "atoms 3"]
    stress: Float64[np.ndarray, "3 3"] | None
    about: dict[str, Any]


@runtime_checkable
class Labeler(Protocol):
    """A source of labels."""

    @property
    def settings(self) -> Any:
        """Plain data on which labels depend; equal for equal labels."""
        ...

    def label(self, frame: Frame) -> Label:
        """Label one structure.

        Raises:
            LabelError: there is none.
            LabelPending: there is none yet.
        """
        ...
