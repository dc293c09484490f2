"""The energy of every shift of one layer over another: the gamma surface of a layered structure.

The first image of a path gives the structure; layers are found in it or named. Shifts run over one
cell of the plane on an n x m grid, each rigid or relaxed along the normal, and nothing is assumed
about symmetry. Sliding by a lattice vector is the self-test, as in ``sliding``.
"""

import functools
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
import pydantic

from mlffjax.graphs.graph import Graph
from mlffjax.pathways import periodic_surface
from mlffjax.pathways.gamma_surface import JOULE_PER_M2, REFINEMENT
from mlffjax.pathways.layer_relaxation import Limits, Mode
from mlffjax.pathways.profiles import band, profile
from mlffjax.pathways.slide import Side, closing_shifts, grid, shifted, slider
from mlffjax.potential.base import Potential
from mlffjax.probes import _layered
from mlffjax.probes._example import slide
from mlffjax.probes._layered import Relaxation
from mlffjax.probes._probe import Context, Metrics, Probe, Section, bound
from mlffjax.structures.layers import LayersConfig, layers_of

_UNITS = {
    "corrugation": "eV",
    "corrugation_per_area": "J/m²",
    "corrugation_per_atom": "eV/atom",
    "barrier": "eV",
    "barrier_per_area": "J/m²",
    "minima": "",
    "closure_error": "eV",
}


class Config(Section):
    """A structure and a grid of shifts."""

    uses: ClassVar[frozenset[str]] = frozenset({"paths"})

    path: str = pydantic.Field(min_length=1)
    """Name of the path whose first image is the structure."""
    grid: tuple[int, int] = (12, 12)
    """Shifts along the two lattice vectors of the plane."""
    relaxation: Mode = "rigid"
    layers: LayersConfig = LayersConfig()
    moving: tuple[int, ...] | None = None
    """Layers that slide, 0 being the lowest; by default the upper one of two."""
    intercalated: Side = "rest"
    """Whether atoms in the sheared gap stay at rest or move along."""
    tolerance: float = pydantic.Field(default=1e-4, gt=0, description="of free forces, eV/Å")
    steps: int = pydantic.Field(default=300, ge=1, description="of a relaxation")
    closure_tolerance: float = pydantic.Field(default=1e-6, gt=0.0)
    """Largest energy change on sliding by a lattice vector, eV."""

    @pydantic.field_validator("grid")
    @classmethod
    def _enough(cls, counts: tuple[int, int]) -> tuple[int, int]:
        if min(counts) < 3:
            raise ValueError(f"expected at least 3 x 3 shifts, got {list(counts)}")
        return counts


class _Data(NamedTuple):
    images: Graph  # the grid, then no shift but by two lattice vectors
    relaxation: Relaxation | None
    per_area: jnp.ndarray  # J/m² in 1 eV of the cell


def example() -> tuple[Config, Context]:
    """One of two layers of argon, whose atoms are too far apart to be found by their bonds."""
    named = LayersConfig(atoms=((1,),))
    return Config(name="surface", path="slide", grid=(4, 5), layers=named), slide(3)


def build(config: Config, context: Context) -> Probe:
    """Find the layers, prepare all shifts and the closure images.

    Raises:
        ConfigError: the path is not known.
        InputError: no layers or an ambiguous choice, or no room to relax the gap.
        CompatibilityError: the structure contains an element that the potential does not know.
    """
    system = context.path(config.path).frames[0].system
    along = slider(
        system,
        layers_of(system, config.layers),
        moving=config.moving,
        intercalated=config.intercalated,
    )
    shifts = grid(along, config.grid)
    systems = shifted(along, shifts)
    closing = shifted(along, closing_shifts(along))
    relaxation, limits = None, None
    if config.relaxation != "rigid":
        relaxation, limits = _layered.prepare(
            systems,
            along,
            config.relaxation,
            context.elements,
            context.cutoff,
            tolerance=config.tolerance,
            steps=config.steps,
        )
    # Of relaxed shifts the rigid grid is not needed, only the self-test.
    images = [*(systems if relaxation is None else systems[:1]), *closing]
    per_area = 1 / (along.area * along.interfaces) / JOULE_PER_M2
    data = _Data(band(images, context.elements, context.cutoff), relaxation, jnp.asarray(per_area))
    fractions = np.stack(
        np.meshgrid(*(np.arange(count) / count for count in config.grid), indexing="ij"), axis=-1
    )
    return Probe(
        name=config.name,
        measure=bound(_Measure(config.grid, len(system.numbers), limits), data),
        units=_UNITS | (_layered.UNITS if relaxation is not None else {}),
        constants={"fraction": fractions, "shift": shifts, "plane": along.plane},
        inspect=functools.partial(
            _layered.warnings, config.path, tolerance=config.closure_tolerance
        ),
    )


@dataclass(frozen=True)
class _Measure:
    """``measure`` with its static numbers; compared by value, so that it is compiled once."""

    counts: tuple[int, int]
    atoms: int
    limits: Limits | None

    def __call__(self, data: _Data, potential: Potential) -> Metrics:
        rigid = profile(potential, data.images).energy
        closure = jnp.abs(rigid[-2:] - rigid[0]).max()
        energy, more = rigid[:-2], {}
        if data.relaxation is not None and self.limits is not None:
            found = _layered.relaxed(potential, data.relaxation, self.limits)
            energy = found.energy
            more = {
                "residual": found.residual,
                "unconverged": found.unconverged,
                "interlayer_distance": found.distance[jnp.argmin(energy)],
                "interlayer_distance_model": found.distance.reshape(self.counts),
            }
        energy = energy.reshape(self.counts)
        energy = energy - energy.min()
        fine = periodic_surface.refined(energy, REFINEMENT)
        corrugation = fine.max() - fine.min()
        barrier = periodic_surface.lowest_pass(fine).energy - fine.min()
        lowest = periodic_surface.minima(fine)
        return {
            "corrugation": corrugation,
            "corrugation_per_area": corrugation * data.per_area,
            "corrugation_per_atom": corrugation / self.atoms,
            "barrier": barrier,
            "barrier_per_area": barrier * data.per_area,
            "minima": lowest.sum(),
            "closure_error": closure,
            "energy_model": energy,
            "energy_fine_model": fine,
            "minimum_model": lowest,
        } | more
