"""A slide of one layer over another, and the self-test that a full slide must pass.

The images of the path are followed as they are; ``relaxation`` adds the same slide with each image
relaxed along the normal of the layers, beside the rigid one, never in its place.

Moving any set of atoms by a lattice vector gives the same crystal, so every potential must return
the same energy. If it does not, the cell, the neighbour list or the precision is at fault, not the
physics of the model: such a defect is reported as one.
"""

import functools
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
import pydantic

from mlffjax.arrays import Array, Float
from mlffjax.errors import InputError
from mlffjax.graphs.graph import Graph
from mlffjax.pathways.layer_relaxation import Limits, Mode
from mlffjax.pathways.profiles import band, profile
from mlffjax.pathways.slide import slider
from mlffjax.potential.base import Potential
from mlffjax.probes import _layered
from mlffjax.probes._example import slide
from mlffjax.probes._layered import Relaxation
from mlffjax.probes._probe import Context, Metrics, Probe, Section, bound
from mlffjax.probes.fixed_path import energy_errors
from mlffjax.structures import paths
from mlffjax.structures.layers import LayersConfig, layers_of
from mlffjax.structures.paths import Path
from mlffjax.structures.system import System

MOVED = 1e-3  # Å; atoms that move less from the first to the last image stand still

_PROFILE = {"barrier": "eV", "asymmetry": "eV", "closure_error": "eV"}
_AGAINST_ENERGIES = {
    "barrier_reference": "eV",
    "asymmetry_reference": "eV",
    "barrier_error": "eV",
    "asymmetry_error": "eV",
    "path_rmse": "eV",
}
_RELAXED = {"barrier_relaxed": "eV", "asymmetry_relaxed": "eV"} | _layered.UNITS


class Config(Section):
    """A sliding path, followed as it is, and relaxed normal to the layers if wanted."""

    uses: ClassVar[frozenset[str]] = frozenset({"paths"})

    path: str = pydantic.Field(min_length=1)
    """Name of the path."""
    closure_tolerance: float = pydantic.Field(default=1e-6, gt=0.0)
    """Largest energy change on sliding by a lattice vector, eV."""
    relaxation: Mode = "rigid"
    """``rigid``: none; ``gap``: of the distance of the layers; ``normal``: of every atom's height.
    """
    layers: LayersConfig = LayersConfig()
    """Layers of the first image, for a relaxation."""
    tolerance: float = pydantic.Field(default=1e-4, gt=0, description="of free forces, eV/Å")
    steps: int = pydantic.Field(default=300, ge=1, description="of a relaxation")


class _Data(NamedTuple):
    images: Graph  # the path, then image 0 slid by a lattice vector
    energy: Float[Array, "images"] | None
    relaxation: Relaxation | None = None


def example() -> tuple[Config, Context]:
    """One of two layers of argon sliding by a lattice vector."""
    return Config(name="slide", path="slide"), slide()


def build(config: Config, context: Context) -> Probe:
    """Prepare images, the closure image and reference energies.

    Raises:
        ConfigError: the path is not known.
        InputError: all atoms of the path move, no lattice vector lies in its direction, or, for a
            relaxation, there are no layers or no room for it.
        CompatibilityError: the path contains an element that the potential does not know.
    """
    path = context.path(config.path)
    systems = [frame.system for frame in path.frames]
    images = band([*systems, closure_image(path)], context.elements, context.cutoff)
    energy = paths.energies(path)
    relaxation, limits = None, None
    if config.relaxation != "rigid":
        relaxation, limits = _layered.prepare(
            systems,
            slider(systems[0], layers_of(systems[0], config.layers)),
            config.relaxation,
            context.elements,
            context.cutoff,
            tolerance=config.tolerance,
            steps=config.steps,
        )
    data = _Data(images, None if energy is None else jnp.asarray(energy), relaxation)
    reasons = {}
    if energy is None:
        reasons = dict.fromkeys(_AGAINST_ENERGIES, f"path {path.name!r} has no reference energies")
    length = paths.arclength(path)
    constants = {"arclength": length, "reaction_coordinate": length / length[-1]}
    if energy is not None:
        constants["energy_reference"] = energy
    return Probe(
        name=config.name,
        measure=bound(_Measure(limits), data),
        units=_PROFILE | _AGAINST_ENERGIES | (_RELAXED if relaxation is not None else {}),
        constants=constants,
        reasons=reasons,
        inspect=functools.partial(_layered.warnings, path.name, tolerance=config.closure_tolerance),
    )


def closure_image(path: Path) -> System:
    """Image 0 with the atoms that slide moved by the lattice vector nearest to their slide.

    A slide shorter than half a lattice vector is prolonged until one is reached.

    Raises:
        InputError: all atoms move or none does, or no lattice vector lies in the direction.
    """
    first, last = path.frames[0].system, path.frames[-1].system
    steps = last.positions - first.positions
    moving = np.linalg.norm(steps, axis=1) > MOVED
    if moving.all() or not moving.any():
        raise InputError(
            f"path {path.name!r}: expected some atoms to slide over others at rest, got "
            f"{int(moving.sum())} of {len(moving)} atoms moving between its first and last image"
        )
    vector = _nearest_lattice_vector(steps[moving].mean(axis=0), first)
    if vector is None:
        raise InputError(
            f"path {path.name!r}: expected a slide along the periodic directions of its cell, got "
            f"{np.round(steps[moving].mean(axis=0), 3).tolist()} Å; check cell and pbc"
        )
    return first._replace(positions=first.positions + np.where(moving[:, None], vector, 0.0))


def _nearest_lattice_vector(step: np.ndarray, system: System) -> np.ndarray | None:
    """The periodic lattice vector that is nearest to the step or else to its prolongation."""
    ranges = [np.arange(-3, 4) if periodic else np.zeros(1, int) for periodic in system.pbc]
    integers = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    vectors = integers[integers.any(axis=1)] @ system.cell
    if not len(vectors):
        return None
    along = vectors @ step / np.linalg.norm(step)
    lengths = np.linalg.norm(vectors, axis=1)
    off = np.linalg.norm(vectors - step, axis=1)
    if off.min() < lengths.min() / 2:
        return vectors[np.argmin(off)]
    # Too short a slide: of the vectors that best keep its direction, the shortest.
    cosine = np.round(along / lengths, 6)
    best = np.lexsort((lengths, -cosine))[0]
    return vectors[best] if cosine[best] > 0.5 else None


@dataclass(frozen=True)
class _Measure:
    """``measure`` with its static numbers; compared by value, so that it is compiled once."""

    limits: Limits | None

    def __call__(self, data: _Data, potential: Potential) -> Metrics:
        energies = profile(potential, data.images).energy
        closure, energy = energies[-1] - energies[0], energies[:-1] - energies[0]
        metrics: Metrics = {
            "barrier": energy.max(),
            "asymmetry": energy[-1],
            "closure_error": jnp.abs(closure),
            "energy_model": energy,
        }
        if data.energy is not None:
            errors = energy_errors(energy, data.energy)
            metrics |= {name: errors[name] for name in _AGAINST_ENERGIES}
        if data.relaxation is not None and self.limits is not None:
            found = _layered.relaxed(potential, data.relaxation, self.limits)
            relaxed = found.energy - found.energy[0]
            metrics |= {
                "barrier_relaxed": relaxed.max(),
                "asymmetry_relaxed": relaxed[-1],
                "residual": found.residual,
                "unconverged": found.unconverged,
                "interlayer_distance": found.distance[0],
                "energy_relaxed_model": relaxed,
                "interlayer_distance_model": found.distance,
            }
        return metrics
