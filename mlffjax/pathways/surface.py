"""The energy of one structure as a function of the positions of its free atoms, for host loops.

Searches for stationary points take few, large steps. A fresh neighbour list is made at every
position that is asked for, so it is always valid; array shapes are kept, so the functions are
compiled once.
"""

from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Bool, Float64, Int64

from mlffjax import trees
from mlffjax.errors import CapacityError, CompatibilityError, ConfigError, InputError
from mlffjax.graphs.batching import SLOT_STEP, Shape, build
from mlffjax.graphs.graph import Graph
from mlffjax.graphs.neighbors import neighbors_within
from mlffjax.pathways import hessians
from mlffjax.potential.base import Potential
from mlffjax.structures.system import System

ROOM = 0.3
"""Å beyond the cutoff; neighbours that close find a slot without another compilation."""
MORE_SLOTS = 4 * SLOT_STEP
"""Slots of lists that outgrow the room come in multiples of this."""

_gradient = jax.jit(hessians.gradient)
_hessian = jax.jit(hessians.hessian)


@dataclass(frozen=True)
class Surface:
    """What stays the same while atoms move; made by ``make``."""

    potential: Potential  # float64
    system: System  # positions of fixed atoms count, others only as a start
    free: Int64[np.ndarray, " free"]
    shape: Shape

    @property
    def anchored(self) -> bool:
        """Whether some atom is fixed, so that rigid motions cost energy."""
        return len(self.free) < len(self.system.numbers)


def make(
    potential: Potential,
    system: System,
    *,
    fixed: Bool[np.ndarray, " atoms"] | None = None,
) -> Surface:
    """Check and prepare a structure.

    Args:
        potential: of any precision; it is evaluated in float64.
        system: the structure.
        fixed: atoms that must not move; none by default.

    Raises:
        InputError: no atom is free, or ``fixed`` does not fit the structure.
        CompatibilityError: the potential has no second derivatives, or lacks an element.
        ConfigError: JAX is not set to 64 bits.
    """
    require_double()
    if "hessian" not in potential.model.supports:
        raise CompatibilityError(
            f"expected a potential with second derivatives, got a {type(potential.model).__name__} "
            f"that supports only {sorted(potential.model.supports)}"
        )
    shape = _roomy_shape(system, potential.cutoff)
    build([system], potential.elements, potential.cutoff, shape=shape)  # knows all elements?
    wide = jax.device_put(trees.cast(potential, np.float64))
    return Surface(wide, system, free_atoms(system, fixed), shape)


def require_double() -> None:
    """Refuse to look for stationary points in single precision.

    Raises:
        ConfigError: JAX is not set to 64 bits.
    """
    if not jax.config.read("jax_enable_x64"):
        raise ConfigError(
            "stationary points, Hessians and responses need JAX's 64-bit numbers, which are off; "
            "call jax.config.update('jax_enable_x64', True) before anything else or set "
            "JAX_ENABLE_X64=1"
        )


def free_atoms(
    system: System, fixed: Bool[np.ndarray, " atoms"] | None
) -> Int64[np.ndarray, " free"]:
    """Indices of the atoms that move.

    Raises:
        InputError: there is none, or ``fixed`` does not have one truth value per atom.
    """
    count = len(system.numbers)
    mask = np.zeros(count, bool) if fixed is None else np.asarray(fixed)
    if mask.shape != (count,) or mask.dtype != bool:
        raise InputError(
            f"expected 'fixed' to hold one truth value for each of {count} atoms, got "
            f"{mask.dtype} of shape {mask.shape}"
        )
    free = np.flatnonzero(~mask)
    if not len(free):
        raise InputError(
            f"expected at least one free atom, got {count} atoms of which all are fixed; "
            "release those that take part in the motion"
        )
    return free


def graph_at(surface: Surface, positions: Float64[np.ndarray, "atoms 3"]) -> Graph:
    """The structure with atoms at other places and a neighbour list made for them."""
    system = surface.system._replace(positions=np.asarray(positions, np.float64))
    elements, cutoff = surface.potential.elements, surface.potential.cutoff
    try:
        return build([system], elements, cutoff, shape=surface.shape, dtype=np.float64)
    except CapacityError:
        slots = neighbors_within(system, cutoff).mask.shape[1]
        shape = surface.shape._replace(slots=-(-slots // MORE_SLOTS) * MORE_SLOTS)
        return build([system], elements, cutoff, shape=shape, dtype=np.float64)


def slope(
    surface: Surface, positions: Float64[np.ndarray, "atoms 3"]
) -> tuple[float, Float64[np.ndarray, " coordinates"]]:
    """Interaction energy, eV, and its derivative by the free coordinates, eV/Å."""
    graph = graph_at(surface, positions)
    energy, gradient = _gradient(surface.potential, graph, surface.free)
    return float(energy), np.asarray(gradient).reshape(-1)


def curvature(
    surface: Surface, positions: Float64[np.ndarray, "atoms 3"]
) -> Float64[np.ndarray, "coordinates coordinates"]:
    """The Hessian of the free coordinates, eV/Å²."""
    return np.array(_hessian(surface.potential, graph_at(surface, positions), surface.free))


def displaced(
    surface: Surface,
    positions: Float64[np.ndarray, "atoms 3"],
    step: Float64[np.ndarray, " coordinates"],
) -> Float64[np.ndarray, "atoms 3"]:
    """Positions with the free atoms moved by a step, Å."""
    moved = np.array(positions, np.float64)
    moved[surface.free] += step.reshape(-1, 3)
    return moved


def rigid_motions(
    surface: Surface,
    positions: Float64[np.ndarray, "atoms 3"],
    weights: Float64[np.ndarray, " atoms"] | None = None,
) -> Float64[np.ndarray, "motions coordinates"]:
    """Orthonormal directions along which the structure moves as a whole at no cost.

    Three translations; rotations too about axes that leave all periodic directions as they are
    (all axes for molecules, one for wires). None if an atom is fixed.

    Args:
        surface: the structure.
        positions: Å; rotations depend on them.
        weights: factor of each atom's coordinates, the root of its mass in normal modes; default 1.
    """
    count = len(surface.system.numbers)
    if surface.anchored:
        return np.zeros((0, 3 * len(surface.free)))
    root = np.ones(count) if weights is None else np.asarray(weights, float)
    about = positions - np.average(positions, axis=0, weights=root**2)
    periods = surface.system.cell[surface.system.pbc]
    motions = [np.broadcast_to(axis, (count, 3)) for axis in np.eye(3)]
    axes = np.eye(3) if not len(periods) else periods / np.linalg.norm(periods, axis=1)[:, None]
    if len(periods) <= 1:
        motions += [np.cross(axis, about) for axis in axes]
    rows = (np.array(motions) * root[:, None]).reshape(len(motions), -1)
    # Of a straight molecule, or a single atom, some rotations are no motion.
    _, sizes, basis = np.linalg.svd(rows, full_matrices=False)
    return basis[sizes > 1e-6 * sizes[0]]


def complement(
    motions: Float64[np.ndarray, "motions coordinates"],
) -> Float64[np.ndarray, "coordinates rest"]:
    """Orthonormal columns that span everything but the given orthonormal rows."""
    count, size = motions.shape
    if not count:
        return np.eye(size)
    return np.linalg.qr(motions.T, mode="complete")[0][:, count:]


def _roomy_shape(system: System, cutoff: float) -> Shape:
    slots = neighbors_within(system, cutoff + ROOM).mask.shape[1]
    return Shape(len(system.numbers), -(-slots // SLOT_STEP) * SLOT_STEP, 1)
