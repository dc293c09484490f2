"""Energies, forces and slopes of all images of a path."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlffjax import trees
from mlffjax.arrays import Array, Float
from mlffjax.graphs.batching import build, common_shape, shape_of
from mlffjax.graphs.graph import Graph
from mlffjax.pathways.evaluation import atomic_energies, folded
from mlffjax.pathways.interpolate import unit_tangents
from mlffjax.pathways.mapping import mapped
from mlffjax.potential.base import Potential
from mlffjax.structures.paths import Path
from mlffjax.structures.system import System


class Profile(NamedTuple):
    """What a potential says about the images of a path."""

    energy: Float[Array, "images"]  # eV, interaction energies; differences are energy differences
    forces: Float[Array, "images atoms 3"]  # eV/Å


def band(
    systems: Sequence[System],
    elements: tuple[int, ...],
    cutoff: float,
    *,
    dtype: type = np.float64,
) -> Graph:
    """One graph per structure, stacked along a leading axis; NumPy leaves.

    Args:
        systems: images of a path, or any structures to be evaluated together.
        elements: atomic numbers the potential knows, in its order.
        cutoff: Å.
        dtype: of positions and cells; differences of a path are small, so float64.

    Raises:
        CompatibilityError: an element is not among ``elements``.
    """
    graphs = [build([system], elements, cutoff, dtype=dtype) for system in systems]
    shape = common_shape([shape_of(graph) for graph in graphs])
    return trees.stack(
        [
            graph
            if shape_of(graph) == shape
            else build([system], elements, cutoff, shape=shape, dtype=dtype)
            for graph, system in zip(graphs, systems, strict=True)
        ]
    )


def profile(potential: Potential, images: Graph) -> Profile:
    """Energies and forces of all images (leading axis of ``images``), in one traced call.

    What depends on parameters only is computed once for all of them: a tenth of the time of a band
    of small cells.
    """
    parameters = folded(potential)

    def single(image: Graph) -> Profile:
        def total(positions: Array) -> Array:
            moved = image._replace(positions=positions)
            atomic = atomic_energies(potential.model, parameters, moved)
            return jnp.where(image.atom_mask, atomic, 0).sum()

        energy, gradient = jax.value_and_grad(total)(image.positions)
        return Profile(energy, jnp.where(image.atom_mask[:, None], -gradient, 0))

    return mapped(single, images, together=getattr(potential.model, "asks_together", False))


def tangents(path: Path) -> Float[np.ndarray, "images atoms 3"]:
    """Unit tangents of the curve through the images, norm over 3N.

    The derivative by arclength of the parabola through three neighbouring images; at the ends, of
    the nearest parabola. It depends on geometry only, so model and reference share one tangent,
    which the energy-weighted tangent of nudged elastic bands would not allow.
    """
    return unit_tangents(np.array([frame.system.positions for frame in path.frames]))


def slopes(
    forces: Float[Array, "images atoms 3"], tangent: Float[Array, "images atoms 3"]
) -> Float[Array, "images"]:
    """dE/ds of each image, eV/Å: minus the force along the tangent."""
    return -(forces * tangent).sum(axis=(1, 2))
