"""Images of bands that the present model relaxes: where its own path goes, right or wrong.

A band that does not converge proposes its last sound images all the same: where a model fails it
has most to learn.
"""

import numpy as np

from mlffjax.active.candidates._candidates import Given, Section, chosen_paths, made
from mlffjax.pathways import bands
from mlffjax.pathways.elastic import relax_bands
from mlffjax.pathways.settings import Elastic
from mlffjax.structures.system import Frame


class Config(Section):
    """Which paths are relaxed, and how."""

    paths: tuple[str, ...] = ()
    """Names; all that are not held out if none is given."""
    relaxation: Elastic = Elastic(max_steps=200)
    """Springs, tolerance, optimiser, ends, retry."""

    def path_names(self) -> tuple[str, ...]:
        """As configured."""
        return self.paths


def example() -> Config:
    """A few iterations with all paths."""
    return Config(relaxation=Elastic(max_steps=5))


def propose(config: Config, given: Given) -> list[Frame]:
    """Images of all bands, relaxed with the first model, path by path.

    Raises:
        ConfigError: a path is not known, or held out.
        InputError: a path that makes no band.
        CompatibilityError: the model does not know an element.
    """
    found = chosen_paths(config.paths, given)
    if not found:
        return []
    starts = [bands.from_path(path) for path in found.values()]
    outcomes = relax_bands(given.models[:1], starts, config.relaxation)
    frames = []
    for (name, path), (outcome,) in zip(found.items(), outcomes, strict=True):
        system = path.frames[0].system
        images = [
            system._replace(positions=np.array(places, np.float64))
            for places in outcome.band.positions
            if np.isfinite(places).all()
        ]
        frames += made(images, "relaxed", name, given)
    return frames
