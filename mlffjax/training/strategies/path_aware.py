"""Fine-tuning that also learns the energy profile of paths, relative to their first image.

Beside the loss on the frames, every step sees all images k of the named paths::

    penalty = weight * mean_k ((E_k - E_0) - (E*_k - E*_0))²  +  forces * mean_ka (F_ka - F*_ka)²

in eV² and (eV/Å)², over images after the first and over force components of all images. Geometries
are fixed, so the gradient is plain and exact. Differences at one composition need no reference
energies.

A path learned from predicts nothing any more: keep one with another mechanism apart. A study
refuses to learn from every path that its probes compare with labels, warns for each that it does
learn from, and records them (``RunInfo.learned_paths``).
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import pydantic
from jax.tree_util import Partial

from mlffjax import trees
from mlffjax.arrays import Array, Float, Int, PRNGKey, PyTree
from mlffjax.errors import CompatibilityError
from mlffjax.graphs.batching import build as build_graph
from mlffjax.graphs.graph import Graph
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import energies, energies_and_forces
from mlffjax.structures.paths import Path
from mlffjax.structures.paths import energies as energies_of_path
from mlffjax.training.ingredients import Ingredients, referenced_foundation
from mlffjax.training.losses import Realize
from mlffjax.training.recipe import Recipe, all_weights, standard
from mlffjax.training.reference_energies import Foundational
from mlffjax.training.strategies._section import Section


class Config(Section):
    """Choices of ``path_aware``."""

    kind: Literal["path_aware"] = "path_aware"
    paths: tuple[str, ...] = pydantic.Field(min_length=1, description="names of paths")
    reference_energies: Foundational = "reestimated"
    learning_rate: float | None = pydantic.Field(
        default=None, gt=0, description="initial rate; None: that of the training section"
    )
    weight: float = pydantic.Field(
        default=10.0, ge=0, description="of squared errors of relative energies, 1/eV²"
    )
    forces: float = pydantic.Field(
        default=0.0, ge=0, description="of squared errors of forces on the images, Å²/eV²"
    )
    images: int | None = pydantic.Field(
        default=None,
        ge=3,
        description="at most so many of each path, evenly spaced, the ends and the highest "
        "included; None: all",
    )

    def path_names(self) -> tuple[str, ...]:
        """The named paths."""
        return self.paths


class Labels(NamedTuple):
    """Images of all paths as one graph, with labels; arrays only, so that they travel."""

    graph: Graph
    relative: Float[Array, "images"]  # energy above the first image of the path, eV
    first: Int[Array, "images"]  # number of that image
    forces: Float[Array, "atoms 3"]  # eV/Å
    energy_factor: Float[Array, ""]  # 1/eV², weight over the number of images after the first
    forces_factor: Float[Array, ""]  # Å²/eV², weight over the number of components


def example() -> Config:
    """Learns from a path that is called ``path``."""
    return Config(paths=("path",))


def build(config: Config, ingredients: Ingredients, *, key: PRNGKey) -> Recipe:
    """Like ``finetune``, with the profiles of paths as a penalty; none if both weights are 0.

    Raises:
        CompatibilityError: there is no foundation, a path is missing or lacks labels, it holds an
            element the foundation does not know, or reference methods would be mixed.
    """
    del key  # nothing is drawn
    potential, notes = referenced_foundation(ingredients, config.kind, config.reference_energies)
    weights, realize = all_weights(potential)
    training = ingredients.training
    recipe = standard(weights, realize, training, learning_rate=config.learning_rate, notes=notes)
    paths = [_path(ingredients, name, config) for name in config.paths]
    if config.weight == config.forces == 0:
        return recipe
    labels = _labels(paths, potential, config, dtype=training.precision)
    learned = ", ".join(f"{path.name} ({len(path.frames)} images)" for path in paths)
    return recipe._replace(
        penalty=Partial(
            _with_forces if config.forces else _relative_energies, realize, jax.device_put(labels)
        ),
        notes=(*recipe.notes, f"learned from the paths {learned}: errors there are of a fit"),
    )


def thinned(path: Path, images: int | None) -> Path:
    """At most so many images, evenly spaced in number; the ends and the highest stay."""
    profile = energies_of_path(path)
    count = len(path.frames)
    if images is None or images >= count or profile is None:
        return path
    chosen = np.round(np.linspace(0, count - 1, images)).astype(int)
    highest = int(profile.argmax())
    if highest not in chosen:
        chosen[1 + np.abs(chosen[1:-1] - highest).argmin()] = highest
    return path._replace(frames=tuple(path.frames[i] for i in sorted(chosen)))


def _path(ingredients: Ingredients, name: str, config: Config) -> Path:
    path = ingredients.paths.get(name)
    if path is None:
        raise CompatibilityError(
            f"strategy {config.kind} learns from the path {name!r}, got "
            f"{', '.join(ingredients.paths) or 'none'}; give it under 'paths' of the study"
        )
    lacks_forces = config.forces and any(frame.forces is None for frame in path.frames)
    if lacks_forces or energies_of_path(path) is None:
        raise CompatibilityError(
            f"strategy {config.kind} learns from path {name!r}, whose images have no "
            f"{'forces' if lacks_forces else 'energies'}; label them or take the path out"
        )
    return thinned(path, config.images)


def _labels(paths: Sequence[Path], potential: Potential, config: Config, *, dtype: Any) -> Labels:
    """What the penalty compares with, in NumPy arrays."""
    frames = [frame for path in paths for frame in path.frames]
    systems = [frame.system for frame in frames]
    graph = build_graph(systems, potential.elements, potential.cutoff, dtype=dtype)
    counts = [len(path.frames) for path in paths]
    start = np.repeat(np.cumsum([0, *counts[:-1]]), counts)
    totals = np.array([frame.energy for frame in frames], np.float64)
    forces = np.zeros(graph.positions.shape)
    if config.forces:
        forces = np.concatenate([frame.forces for frame in frames if frame.forces is not None])
    leaves: dict[str, Any] = {
        "graph": graph,
        "relative": (totals - totals[start]).astype(dtype),
        "first": start.astype(np.int32),
        "forces": forces.astype(dtype),
        "energy_factor": np.asarray(config.weight / (len(frames) - len(paths)), dtype),
        "forces_factor": np.asarray(config.forces / forces.size, dtype),
    }
    return Labels(**leaves)


def _relative_energies(realize: Realize, labels: Labels, trainable: PyTree) -> Float[Array, ""]:
    potential = trees.cast(realize(trainable), labels.graph.positions.dtype)
    return _misfit(energies(potential, labels.graph), labels)


def _with_forces(realize: Realize, labels: Labels, trainable: PyTree) -> Float[Array, ""]:
    potential = trees.cast(realize(trainable), labels.graph.positions.dtype)
    energy, forces = energies_and_forces(potential, labels.graph)
    rest = ((forces - labels.forces) ** 2).sum() * labels.forces_factor
    return _misfit(energy, labels) + rest


def _misfit(energy: Float[Array, "images"], labels: Labels) -> Float[Array, ""]:
    error = energy - energy[labels.first] - labels.relative
    return (error**2).sum() * labels.energy_factor
