"""Energies of sliding layers: along a line, and over all shifts (the gamma surface).

All shifts are evaluated by one compiled program, in batches; with ``gap`` or ``normal`` each is
relaxed along the normal first, and its neighbour list made anew on the host where atoms moved too
far for it. The self-test is always done: layers moved by a lattice vector of the plane are the same
crystal, so their energy must be the same (``closure_error``, eV); where it is not, the cell, the
neighbour list or the precision is at fault and no other number may be believed.

Energies are of the whole cell. Per area they are divided by the area of the cell and the number of
sheared gaps (``Slider.interfaces``); ``JOULE_PER_M2`` converts.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64, Int64

from mlffjax import trees
from mlffjax.errors import ConfigError
from mlffjax.pathways import hermite, layer_relaxation, periodic_surface
from mlffjax.pathways.layer_relaxation import Limits, Mode, Relaxed, Status
from mlffjax.pathways.profiles import Profile, band, profile
from mlffjax.pathways.slide import (
    Slider,
    closing_shifts,
    grid,
    is_lattice_vector,
    line,
    shifted,
)
from mlffjax.potential.base import Potential
from mlffjax.structures.system import System
from mlffjax.units import GPA

JOULE_PER_M2 = 10 * GPA
"""One J/m², eV/Å²."""
BATCH = 128  # structures that are on the device at a time
ROUNDS = 5  # times that neighbour lists are made anew for one relaxation
SAMPLES = 1001  # points of the curve along a line
REFINEMENT = 4  # factor to the grid of a surface before its passes are looked for

Tree = TypeVar("Tree")
Observe = Callable[[int, int], None]
"""Called with the number of structures done and the number of all."""

_profile = jax.jit(profile)
_relax = jax.jit(layer_relaxation.relax_all, static_argnames="limits")


class Settings(NamedTuple):
    """How shifts are evaluated."""

    mode: Mode = "rigid"
    tolerance: float = 1e-4  # eV/Å; largest force on what is free: gaps are soft
    steps: int = 300  # of a relaxation


class Shifted(NamedTuple):
    """What a potential says about shifts, along a leading axis."""

    positions: Float64[np.ndarray, "shifts atoms 3"]  # Å, relaxed
    energy: Float64[np.ndarray, " shifts"]  # eV, interaction energy
    traction: Float64[np.ndarray, "shifts 3"]  # force on all moving atoms together, eV/Å
    distance: Float64[np.ndarray, " shifts"]  # between the layers, Å
    residual: Float64[np.ndarray, " shifts"]  # largest free force, eV/Å; 0 if rigid
    status: Int64[np.ndarray, " shifts"]  # a layer_relaxation.Status


class Extremum(NamedTuple):
    """A minimum of a line."""

    fraction: float  # of the whole slide
    energy: float  # eV, relative to no shift


class LineResult(NamedTuple):
    """Energies along a line of shifts.

    Attributes:
        shifts: [images, 3], Å.
        arclength: length of the shift, Å.
        found: what was evaluated.
        energy: relative to no shift, eV.
        closed: whether the last shift is a lattice vector.
        closure_error: energy change on shifting by a lattice vector without relaxation, eV.
        barrier: highest point of the curve above no shift, eV; NaN unless all images converged.
        saddle: fraction of the slide at which it lies.
        corrugation: highest minus lowest point of the curve, eV; NaN unless all converged.
        minima: of the curve; of a closed one an end counts once, as fraction 0.
    """

    shifts: Float64[np.ndarray, "images 3"]
    arclength: Float64[np.ndarray, " images"]
    found: Shifted
    energy: Float64[np.ndarray, " images"]
    closed: bool
    closure_error: float
    barrier: float
    saddle: float
    corrugation: float
    minima: tuple[Extremum, ...]


class SurfaceResult(NamedTuple):
    """Energies over one cell of shifts.

    Attributes:
        shifts: [n, m, 3], Å.
        found: what was evaluated, in the order of the flattened grid.
        energy: [n, m], relative to the lowest point of the grid, eV.
        closure_error: see ``LineResult``; the larger of two lattice vectors.
        minima: of the interpolated surface, deepest first; energies as in ``energy``, which may be
            slightly negative between grid points; empty unless all shifts converged.
        barrier: lowest pass between the deepest minimum and its images, above that minimum, eV; NaN
            unless all converged.
        saddle: fractions of the lattice vectors at which the pass lies.
        corrugation: highest minus lowest point of the interpolated surface, eV.
    """

    shifts: Float64[np.ndarray, "n m 3"]
    found: Shifted
    energy: Float64[np.ndarray, "n m"]
    closure_error: float
    minima: tuple[periodic_surface.Minimum, ...]
    barrier: float
    saddle: Float64[np.ndarray, " 2"]
    corrugation: float


def along_line(
    potential: Potential,
    along: Slider,
    vector: Float64[np.ndarray, " 3"],
    images: int,
    *,
    settings: Settings = Settings(),  # noqa: B008
    observe: Observe | None = None,
) -> LineResult:
    """Slide along a vector in the plane, Å; ``images`` shifts, both ends included.

    Raises:
        InputError: the vector leads out of the plane, too few images, or no room to relax the gap.
        CompatibilityError: the potential does not know an element.
        ConfigError: JAX is not set to 64 bits.
    """
    shifts = line(along, vector, images)
    found = evaluate(potential, along, shifts, settings=settings, observe=observe)
    length = np.linalg.norm(vector)
    arclength = np.linspace(0.0, float(length), images)
    energy = found.energy - found.energy[0]
    closed = is_lattice_vector(along, np.asarray(vector, float))
    curve = hermite.Curve(
        *map(jnp.asarray, (arclength, energy, -(found.traction @ vector) / length))
    )
    top = hermite.highest(curve)
    samples = np.linspace(0.0, 1.0, SAMPLES)
    values = np.asarray(hermite.evaluate(curve, jnp.asarray(samples * length)))
    sound = bool((found.status == Status.CONVERGED).all())
    lost = np.nan
    return LineResult(
        shifts=shifts,
        arclength=arclength,
        found=found,
        energy=energy,
        closed=closed,
        closure_error=closure_error(potential, along),
        barrier=float(top.energy) if sound else lost,
        saddle=float(top.position) / float(length) if sound else lost,
        corrugation=float(top.energy) - float(values.min()) if sound else lost,
        minima=_minima(samples, values, closed=closed) if sound else (),
    )


def over_grid(
    potential: Potential,
    along: Slider,
    counts: tuple[int, int],
    *,
    settings: Settings = Settings(),  # noqa: B008
    observe: Observe | None = None,
) -> SurfaceResult:
    """The gamma surface on n x m shifts over one cell of the plane.

    Raises:
        InputError: fewer than three points along a vector, or no room to relax the gap.
        CompatibilityError: the potential does not know an element.
        ConfigError: JAX is not set to 64 bits.
    """
    shifts = grid(along, counts)
    found = evaluate(potential, along, shifts, settings=settings, observe=observe)
    energy = found.energy.reshape(counts)
    energy = energy - energy.min()
    barrier, saddle, corrugation, minima = np.nan, np.full(2, np.nan), np.nan, ()
    if (found.status == Status.CONVERGED).all():
        fine = np.asarray(periodic_surface.refined(jnp.asarray(energy), REFINEMENT))
        highest = periodic_surface.lowest_pass(jnp.asarray(fine))
        minima = tuple(periodic_surface.stationary_minima(energy))
        lowest = min([fine.min(), *(one.energy for one in minima)])
        place = np.array(np.unravel_index(int(highest.index), fine.shape))
        saddle = place / np.array(fine.shape)
        barrier, corrugation = float(highest.energy) - lowest, float(fine.max()) - lowest
    return SurfaceResult(
        shifts=shifts,
        found=found,
        energy=energy,
        closure_error=closure_error(potential, along),
        minima=minima,
        barrier=barrier,
        saddle=saddle,
        corrugation=corrugation,
    )


def evaluate(
    potential: Potential,
    along: Slider,
    shifts: Float64[np.ndarray, "*grid 3"],
    *,
    settings: Settings = Settings(),  # noqa: B008
    observe: Observe | None = None,
) -> Shifted:
    """Energies at shifts, relaxed along the normal if wanted.

    Raises:
        InputError: no room to relax the gap.
        CompatibilityError: the potential does not know an element.
        ConfigError: JAX is not set to 64 bits.
    """
    potential = _wide(potential)
    systems = shifted(along, shifts)
    tell = observe or (lambda done, every: None)
    residual, status = np.zeros(len(systems)), np.full(len(systems), int(Status.CONVERGED))
    if settings.mode != "rigid":
        systems, residual, status = _relaxed(potential, along, systems, settings, tell)
    found = _profiles(potential, systems, tell if settings.mode == "rigid" else None)
    places = np.array([system.positions for system in systems])
    sides = layer_relaxation.faces(along)
    distance = jax.vmap(lambda one: layer_relaxation.interlayer_distance(sides, one))
    return Shifted(
        positions=places,
        energy=np.asarray(found.energy, np.float64),
        traction=np.asarray(found.forces[:, along.moving].sum(axis=1), np.float64),
        distance=np.asarray(distance(jnp.asarray(places))),
        residual=residual,
        status=status,
    )


def closure_error(potential: Potential, along: Slider) -> float:
    """Largest energy change on moving the layers by a lattice vector of the plane, eV.

    Nothing is relaxed: the structures are one crystal, whatever the potential.
    """
    systems = [along.system, *shifted(along, closing_shifts(along))]
    energy = np.asarray(_profiles(_wide(potential), systems, None).energy)
    return float(np.abs(energy[1:] - energy[0]).max())


def per_area(energy: float, along: Slider) -> float:
    """An energy of the cell per area of sheared interface, J/m²."""
    return energy / (along.area * along.interfaces) / JOULE_PER_M2


def _wide(potential: Potential) -> Potential:
    if jax.dtypes.canonicalize_dtype(np.float64) != np.float64:
        raise ConfigError(
            "energies of sliding are small differences and need JAX's 64-bit numbers, which are "
            "off; call jax.config.update('jax_enable_x64', True) before anything else or set "
            "JAX_ENABLE_X64=1"
        )
    return trees.cast(potential, np.float64)


def _profiles(potential: Potential, systems: list[System], tell: Observe | None) -> Profile:
    """Energies and forces of all structures, in batches of one shape."""
    images = band(systems, potential.elements, potential.cutoff)
    parts = []
    for first, batch in _batches(images, len(systems)):
        parts.append(jax.device_get(_profile(potential, batch)))
        if tell is not None:
            tell(min(first + len(batch.species), len(systems)), len(systems))
    joined = jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(systems)], *parts)
    return Profile(*joined)


def _batches(tree: Tree, count: int) -> Iterator[tuple[int, Tree]]:
    """Parts of equal length; the last one repeats its last structure as often as needed."""
    size = -(-count // -(-count // BATCH))
    for first in range(0, count, size):
        rows = np.minimum(np.arange(first, first + size), count - 1)
        yield first, jax.tree.map(lambda leaf, rows=rows: leaf[rows], tree)


def _relaxed(
    potential: Potential,
    along: Slider,
    systems: list[System],
    settings: Settings,
    tell: Observe,
) -> tuple[list[System], np.ndarray, np.ndarray]:
    """Relaxed structures, residuals and statuses; stale lists are made anew."""
    allowed = layer_relaxation.freedom(along, settings.mode)
    goal = layer_relaxation.goal(settings.tolerance, settings.steps)
    systems, count = list(systems), len(systems)
    residual, status = np.full(count, np.inf), np.full(count, int(Status.STALE))
    for _ in range(ROUNDS):
        left = np.flatnonzero(status == Status.STALE)
        if not len(left):
            break
        start, slots = layer_relaxation.starts(
            [systems[index] for index in left], potential.elements, potential.cutoff
        )
        limits = Limits(potential.cutoff, layer_relaxation.SKIN, slots)
        for first, batch in _batches(start, len(left)):
            done: Relaxed = jax.device_get(_relax(potential, batch, allowed, goal, limits=limits))
            for row, index in enumerate(left[first : first + len(done.status)]):
                systems[index] = systems[index]._replace(positions=done.positions[row])
                residual[index], status[index] = done.residual[row], done.status[row]
            tell(int((status != Status.STALE).sum()), count)
    return systems, residual, status


def _minima(samples: np.ndarray, values: np.ndarray, *, closed: bool) -> tuple[Extremum, ...]:
    """Minima of a sampled curve, each refined by a parabola."""
    curve = values[:-1] if closed else values
    before, after = np.roll(curve, 1), np.roll(curve, -1)
    if not closed:
        before[0] = after[-1] = np.inf
    found = []
    for index in np.flatnonzero((curve < before) & (curve <= after)):
        low, here, high = before[index], curve[index], after[index]
        bend = low - 2 * here + high
        move = 0.5 * (low - high) / bend if np.isfinite(bend) and bend > 0 else 0.0
        fraction = (
            (samples[index] + move * samples[1]) % 1.0
            if closed
            else samples[index] + (move * samples[1])
        )
        energy = here - (0.25 * (low - high) * move if move else 0.0)
        found.append(Extremum(float(fraction), float(energy)))
    return tuple(sorted(found, key=lambda one: one.energy))
