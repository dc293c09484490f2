"""Minima and saddles to tight forces, with proof of what was found.

A search starts near the point, at an image of a band, say, and follows eigenvectors of exact
Hessians and of updates between them (``eigenvector_following``). It ends with an exact Hessian:
the number of negative curvatures is counted, not assumed. A point that is reached by symmetry but
has too many of them is left along the surplus ones.

``connect`` goes downhill from a saddle to both sides and says whether it meets given end points.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from pydantic import Field

from mlffjax.config import Config
from mlffjax.errors import InputError
from mlffjax.pathways import surface as surfaces
from mlffjax.pathways.eigenvector_following import step, updated
from mlffjax.pathways.surface import Surface, complement, curvature, displaced, slope
from mlffjax.potential.base import Potential
from mlffjax.structures.system import System

KICK = 0.1
"""Å over 3N, by which a point with surplus negative curvatures is left."""
KICKS = 5
"""So often at most."""
GOOD = 0.75
"""A step whose energy was foretold to this fraction may grow, if it is at its limit."""
POOR = 0.25
"""One that was not even foretold to this fraction is taken back."""
NOISE = 1e-9
"""eV; energies of tens of atoms are not known better, smaller changes prove nothing."""


class Settings(Config):
    """How to search; the defaults suit atoms in solids."""

    force: float = Field(default=1e-6, gt=0, description="largest force at the end, eV/Å")
    steps: int = Field(default=300, ge=1, description="at most so many")
    radius: float = Field(default=0.1, gt=0, description="first limit of a step over 3N, Å")
    largest: float = Field(default=0.3, gt=0, description="limit the limit grows to, Å")
    exact: int = Field(default=10, ge=1, description="steps between two exact Hessians")
    flat: float = Field(default=1e-3, gt=0, description="curvatures below are zero, eV/Å²")


class Status(StrEnum):
    """What a search came to."""

    CONVERGED = "converged"
    DEGENERATE = "degenerate"  # stationary, of the wanted kind, but a curvature is zero
    WRONG_ORDER = "wrong_order"  # stationary with another number of negative curvatures
    MAX_STEPS = "max_steps"
    LOST = "lost"  # energies or forces became infinite or NaN


@dataclass(frozen=True)
class Stationary:
    """A point at which a search ended; believe it only if the status is ``CONVERGED``."""

    system: System
    energy: float  # interaction energy, eV
    residual: float  # largest force on a free atom, eV/Å
    curvatures: Float64[np.ndarray, " modes"]  # of the Hessian without rigid motions, eV/Å²
    mode: Float64[np.ndarray, "atoms 3"]  # direction of the lowest curvature, unit norm over 3N
    fixed: Bool[np.ndarray, " atoms"]
    order: int  # negative curvatures wanted: 0 minimum, 1 saddle
    steps: int
    status: Status

    @property
    def negative(self) -> int:
        """Number of negative curvatures."""
        return int((self.curvatures < 0).sum())


class ConnectionStatus(StrEnum):
    """Whether a saddle belongs to two end points."""

    CONNECTED = "connected"
    OTHER_MINIMA = "other_minima"
    NOT_CONVERGED = "not_converged"


@dataclass(frozen=True)
class Connection:
    """The minima on both sides of a saddle, in the order of the end points."""

    minima: tuple[Stationary, Stationary]
    distances: tuple[float, float]  # of the atom farthest from its place in the end point, Å
    barriers: tuple[float, float]  # saddle above either minimum, eV
    status: ConnectionStatus


class _Walk(NamedTuple):
    """Where a search is."""

    positions: np.ndarray  # [atoms, 3]
    energy: float
    slopes: np.ndarray  # [coordinates]
    hessian: np.ndarray  # [coordinates, coordinates]
    age: int  # steps since the Hessian was exact
    radius: float
    followed: np.ndarray | None  # [coordinates], direction to climb along


def refine_minimum(
    potential: Potential,
    system: System,
    *,
    fixed: Bool[np.ndarray, " atoms"] | None = None,
    settings: Settings | None = None,
) -> Stationary:
    """Go downhill to a minimum, in steps short enough to stay in its basin.

    Args:
        potential: an energy model with second derivatives; evaluated in float64.
        system: where to start; the cell stays.
        fixed: atoms that stand still.
        settings: defaults if None.

    Raises:
        InputError: no atom is free.
        CompatibilityError: the potential has no second derivatives, or lacks an element.
        ConfigError: JAX is not set to 64 bits.
    """
    surface = surfaces.make(potential, system, fixed=fixed)
    return _search(surface, 0, None, settings or Settings())


def refine_saddle(
    potential: Potential,
    system: System,
    *,
    fixed: Bool[np.ndarray, " atoms"] | None = None,
    direction: Float64[np.ndarray, "atoms 3"] | None = None,
    settings: Settings | None = None,
) -> Stationary:
    """Climb along one direction and descend along all others to a saddle of first order.

    Args:
        potential: an energy model with second derivatives; evaluated in float64.
        system: where to start, such as the highest image of a band; the cell stays.
        fixed: atoms that stand still.
        direction: along which to climb, such as the tangent of the band; the eigenvector that is
            most like it is followed. None takes the lowest curvature.
        settings: defaults if None.

    Raises:
        InputError: no atom is free, or the direction has no component on free atoms.
        CompatibilityError: the potential has no second derivatives, or lacks an element.
        ConfigError: JAX is not set to 64 bits.
    """
    surface = surfaces.make(potential, system, fixed=fixed)
    followed = None
    if direction is not None:
        followed = np.asarray(direction, float)[surface.free].reshape(-1)
        if not np.linalg.norm(followed) > 0:
            raise InputError(
                "expected a direction that moves a free atom, got zeros on all free atoms; give "
                "the tangent of the path, or None"
            )
    return _search(surface, 1, followed, settings or Settings())


def connect(
    potential: Potential,
    saddle: Stationary,
    first: System,
    last: System,
    *,
    displacement: float = 0.1,
    tolerance: float = 0.1,
    settings: Settings | None = None,
) -> Connection:
    """Descend from both sides of a saddle and compare what is met with two end points.

    Structures are compared atom by atom up to lattice vectors and a common translation.

    Args:
        potential: the one the saddle belongs to.
        saddle: from ``refine_saddle``.
        first: one end point, relaxed with the same potential.
        last: the other one.
        displacement: step off the saddle along its negative mode, Å over 3N.
        tolerance: Å; how far an atom may be from its place in the end point.
        settings: of the descents; defaults if None.

    Raises:
        InputError: the point is not a converged saddle.
    """
    if saddle.status is not Status.CONVERGED or saddle.order != 1:
        raise InputError(
            f"expected a converged saddle, got a point of order {saddle.order} whose search ended "
            f"as {saddle.status!s} with a force of {saddle.residual:.2g} eV/Å"
        )
    sides = [
        refine_minimum(
            potential,
            saddle.system._replace(
                positions=saddle.system.positions + sign * displacement * saddle.mode
            ),
            fixed=saddle.fixed,
            settings=settings,
        )
        for sign in (-1.0, 1.0)
    ]
    table = [[farthest(side.system, end) for end in (first, last)] for side in sides]
    if table[0][0] + table[1][1] > table[0][1] + table[1][0]:
        sides, table = sides[::-1], table[::-1]
    distances = table[0][0], table[1][1]
    if any(side.status not in (Status.CONVERGED, Status.DEGENERATE) for side in sides):
        status = ConnectionStatus.NOT_CONVERGED
    elif max(distances) > tolerance:
        status = ConnectionStatus.OTHER_MINIMA
    else:
        status = ConnectionStatus.CONNECTED
    return Connection(
        minima=(sides[0], sides[1]),
        distances=distances,
        barriers=(saddle.energy - sides[0].energy, saddle.energy - sides[1].energy),
        status=status,
    )


def farthest(one: System, other: System) -> float:
    """Distance of the atom that is farthest from its place in another structure, Å.

    Atoms are compared by number, up to lattice vectors and a common translation.
    """
    difference = one.positions - other.positions
    if one.pbc.any():
        periods = one.cell[one.pbc]
        parts = difference @ np.linalg.pinv(periods)
        # The mean on a circle: a common translation, however the atoms are wrapped.
        common = np.angle(np.exp(2j * np.pi * parts).mean(axis=0)) / (2 * np.pi)
        difference = difference - np.round(parts - common) @ periods
    difference = difference - difference.mean(axis=0)
    return float(np.linalg.norm(difference, axis=1).max())


def _search(
    surface: Surface, order: int, followed: np.ndarray | None, settings: Settings
) -> Stationary:
    walk = _exact(surface, _start(surface, followed, settings))
    kicks = 0
    for count in range(settings.steps):
        if not _finite(walk):
            return _end(surface, walk, order, count, settings, Status.LOST)
        if _residual(walk.slopes) <= settings.force:
            walk = _exact(surface, walk)
            curvatures, vectors = _spectrum(surface, walk)
            if curvatures[order] > -settings.flat or kicks == KICKS:
                return _end(surface, walk, order, count, settings)
            kicks += 1
            walk = _moved(surface, walk, KICK * vectors[:, order])
            continue
        walk = _advance(surface, walk, order, settings)
    status = None if _residual(walk.slopes) <= settings.force else Status.MAX_STEPS
    return _end(surface, _exact(surface, walk), order, settings.steps, settings, status)


def _start(surface: Surface, followed: np.ndarray | None, settings: Settings) -> _Walk:
    positions = np.array(surface.system.positions, float)
    energy, slopes = slope(surface, positions)
    return _Walk(positions, energy, slopes, np.zeros(0), 0, settings.radius, followed)


def _advance(surface: Surface, walk: _Walk, order: int, settings: Settings) -> _Walk:
    """One step, or, if it turns out bad, a shorter limit and a better Hessian."""
    if walk.age >= settings.exact:
        walk = _exact(surface, walk)
    curvatures, vectors = _spectrum(surface, walk)
    slopes = vectors.T @ walk.slopes
    uphill = None
    if order:
        uphill = 0 if walk.followed is None else int(np.argmax(np.abs(vectors.T @ walk.followed)))
        walk = walk._replace(followed=vectors[:, uphill])
    inner = step(curvatures, slopes, uphill=uphill, radius=walk.radius)
    foretold = float(inner @ slopes + inner @ (curvatures * inner) / 2)
    there = _moved(surface, walk, vectors @ inner)
    agreement = _agreement(there.energy - walk.energy, foretold, order)
    if not agreement >= POOR:  # also if it is NaN
        if walk.age or walk.radius < 1e-6:
            walk = _exact(surface, walk)
        return walk._replace(radius=np.linalg.norm(inner) / 4)
    if agreement >= GOOD and np.linalg.norm(inner) > 0.9 * walk.radius:
        return there._replace(radius=min(2 * walk.radius, settings.largest))
    return there


def _agreement(found: float, foretold: float, order: int) -> float:
    """1 if the model of the energy was right, 0 if it was useless, negative if it was wrong."""
    if abs(foretold) < NOISE and abs(found) < NOISE:
        return 1.0
    ratio = found / foretold if foretold else np.nan
    # Downhill more than foretold is welcome; on a saddle every surprise is a bad one.
    return 2.0 - ratio if order and ratio > 1 else ratio


def _moved(surface: Surface, walk: _Walk, move: np.ndarray) -> _Walk:
    positions = displaced(surface, walk.positions, move)
    energy, slopes = slope(surface, positions)
    hessian = updated(walk.hessian, move, slopes - walk.slopes)
    return walk._replace(
        positions=positions, energy=energy, slopes=slopes, hessian=hessian, age=walk.age + 1
    )


def _exact(surface: Surface, walk: _Walk) -> _Walk:
    if walk.age == 0 and walk.hessian.size:
        return walk
    return walk._replace(hessian=curvature(surface, walk.positions), age=0)


def _spectrum(surface: Surface, walk: _Walk) -> tuple[np.ndarray, np.ndarray]:
    """Curvatures and eigenvectors (columns) on the complement of rigid motions."""
    basis = complement(surfaces.rigid_motions(surface, walk.positions))
    if not basis.shape[1]:
        raise InputError("expected a structure that can change its shape, got a single free atom")
    curvatures, vectors = np.linalg.eigh(basis.T @ walk.hessian @ basis)
    return curvatures, basis @ vectors


def _end(
    surface: Surface,
    walk: _Walk,
    order: int,
    steps: int,
    settings: Settings,
    status: Status | None = None,
) -> Stationary:
    count = len(surface.system.numbers)
    fixed = np.ones(count, bool)
    fixed[surface.free] = False
    mode = np.zeros((count, 3))
    curvatures = np.full(0, np.nan)
    if status is not Status.LOST:
        curvatures, vectors = _spectrum(surface, walk)
        mode[surface.free] = vectors[:, 0].reshape(-1, 3)
        status = status or _verdict(curvatures, order, settings.flat)
    return Stationary(
        system=surface.system._replace(positions=walk.positions),
        energy=walk.energy,
        residual=_residual(walk.slopes),
        curvatures=curvatures,
        mode=mode,
        fixed=fixed,
        order=order,
        steps=steps,
        status=status,
    )


def _verdict(curvatures: np.ndarray, order: int, flat: float) -> Status:
    if np.count_nonzero(curvatures < -flat) != order:
        return Status.WRONG_ORDER
    return Status.DEGENERATE if np.abs(curvatures).min() < flat else Status.CONVERGED


def _residual(slopes: np.ndarray) -> float:
    return float(np.linalg.norm(slopes.reshape(-1, 3), axis=1).max())


def _finite(walk: _Walk) -> bool:
    return bool(np.isfinite(walk.energy) and np.isfinite(walk.slopes).all())
