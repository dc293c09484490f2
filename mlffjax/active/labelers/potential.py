"""Labels of a stored potential: a teacher that costs nothing, to try a campaign out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pydantic

from mlffjax import config as configuration
from mlffjax import trees
from mlffjax.active.labelers._labeler import Label, LabelError, Section
from mlffjax.errors import MlffjaxError
from mlffjax.graphs.batching import build as build_graph
from mlffjax.potential import store
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import predict
from mlffjax.structures.system import Frame

_predict = jax.jit(predict)


class Config(Section):
    """Which potential."""

    potential: str = pydantic.Field(min_length=1)
    """Directory, relative to the configuration file, or ``bundled:``."""


@dataclass(frozen=True, eq=False)
class Teacher:
    """A potential in double precision."""

    settings: Any
    potential: Potential

    def label(self, frame: Frame) -> Label:
        """Total energy, reference energies included, forces and stress.

        Raises:
            LabelError: the potential does not know an element, or gives no finite numbers.
        """
        model = self.potential
        try:
            graph = build_graph([frame.system], model.elements, model.cutoff, dtype=np.float64)
        except MlffjaxError as error:
            raise LabelError(str(error)) from error
        said = jax.device_get(_predict(model, graph))
        energy = float(said.energy[0]) + model.reference_energy(frame.system)
        if not (np.isfinite(energy) and np.isfinite(said.forces).all()):
            raise LabelError("energy or forces are not finite")
        stress = np.asarray(said.stress[0]) if frame.system.pbc.all() else None
        return Label(energy, np.asarray(said.forces), stress, {})


def example() -> Config:
    """The bundled generalist."""
    return Config(reference="generalist", potential="bundled:generalist")


def build(config: Config, base: Path) -> Teacher:
    """Load the potential; the checksum of its weights is one of the settings.

    Raises:
        InputError: it cannot be read.
    """
    potential, card = store.load(configuration.resolve_path(config.potential, base))
    settings = {"kind": "potential", "reference": config.reference, "checksum": card.checksum}
    return Teacher(settings, trees.cast(potential, np.float64))
