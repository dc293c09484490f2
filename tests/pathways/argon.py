"""Argon with a vacancy, and model landscapes of one atom with known stationary points."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from mlffjax.potential.base import Potential
from mlffjax.potential.pair import LennardJonesModel
from mlffjax.structures.system import System

CUTOFF = 6.5
LATTICE = 5.25


def crystal(repeats: int = 2) -> System:
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    corners = np.array(list(np.ndindex(*(repeats,) * 3)))
    positions = LATTICE * (corners[:, None] + basis).reshape(-1, 3)
    return system(positions, LATTICE * repeats * np.eye(3))


def system(positions, cell=None) -> System:
    positions = np.asarray(positions, float)
    periodic = cell is not None
    cell = np.zeros((3, 3)) if cell is None else np.asarray(cell, float)
    return System(positions, np.full(len(positions), 18, np.int32), cell, np.full(3, periodic))


def hop(fraction: float) -> System:
    """Argon without atom 0, whose neighbour has gone a part of the way into the vacancy."""
    full = crystal()
    positions = full.positions[1:].copy()
    mover = int(np.argmin(np.linalg.norm(positions, axis=1)))
    positions[mover] *= 1 - fraction
    return full._replace(positions=positions, numbers=full.numbers[1:])


@dataclasses.dataclass(frozen=True)
class LandscapeModel(LennardJonesModel):
    """An energy of the place of atom 1 relative to atom 0."""

    elements: tuple[int, ...] = (18,)
    cutoff: float = 0.1  # no edges
    name: str = "double_well"

    def atomic_energies(self, params: Any, graph: Any):
        place = graph.positions[1] - graph.positions[0]
        energy = LANDSCAPES[self.name](params["weights"], place)
        return jnp.zeros(graph.species.shape[0], place.dtype).at[1].set(energy)


def double_well(weights, place):
    """Minima at x = +-width and energy 0, saddle at 0; harmonic across."""
    x, y, z = place
    along = weights["height"] * ((x / weights["width"]) ** 2 - 1) ** 2
    return along + weights["across"] * (y**2 + z**2) / 2


def mueller_brown(weights, place):
    """Theor. Chim. Acta 53, 75 (1979), doi:10.1007/BF00547608; in 0.01 eV, harmonic along z."""
    x, y, z = place
    height = np.array([-200.0, -100.0, -170.0, 15.0])
    a, b = np.array([-1.0, -1.0, -6.5, 0.7]), np.array([0.0, 0.0, 11.0, 0.6])
    c, x0 = np.array([-10.0, -10.0, -6.5, 0.7]), np.array([1.0, 0.0, -0.5, -1.0])
    y0 = np.array([0.0, 0.5, 1.5, 1.0])
    terms = height * jnp.exp(a * (x - x0) ** 2 + b * (x - x0) * (y - y0) + c * (y - y0) ** 2)
    return 0.01 * (weights["scale"] * terms.sum() + 100.0 * z**2)


def trough(weights, place):
    """A minimum in x and y that does not depend on z."""
    return weights["across"] * (place[0] ** 2 + place[1] ** 2) / 2


LANDSCAPES = {"double_well": double_well, "mueller_brown": mueller_brown, "trough": trough}


def landscape(name: str, **weights: float) -> Potential:
    params = {
        "weights": {key: jnp.asarray(value, float) for key, value in weights.items()},
        "constants": {"atomic_energies": jnp.zeros(1)},
    }
    return Potential(params, LandscapeModel(name=name))


def at(*place: float) -> System:
    """Atom 0 at the origin, atom 1 at a place."""
    return system([[0.0, 0.0, 0.0], place])


HELD = np.array([True, False])  # atom 0 stands still
