"""What probes of sliding layers share: relaxation normal to the layers inside ``measure``."""

from collections.abc import Mapping
from typing import NamedTuple

import jax

from mlffjax.arrays import Array, Float
from mlffjax.pathways import layer_relaxation
from mlffjax.pathways.layer_relaxation import (
    Faces,
    Freedom,
    Goal,
    Limits,
    Mode,
    Start,
    Status,
)
from mlffjax.pathways.slide import Slider
from mlffjax.potential.base import Potential
from mlffjax.structures.system import System

UNITS = {"residual": "eV/Å", "unconverged": "", "interlayer_distance": "Å"}


class Relaxation(NamedTuple):
    """Structures to be relaxed, as arrays."""

    start: Start
    allowed: Freedom
    sides: Faces
    goal: Goal


class Outcome(NamedTuple):
    """Relaxed structures."""

    energy: Float[Array, "images"]  # eV
    distance: Float[Array, "images"]  # between the layers, Å
    residual: Float[Array, ""]  # the largest, eV/Å
    unconverged: Array  # how many


def prepare(
    systems: list[System],
    along: Slider,
    mode: Mode,
    elements: tuple[int, ...],
    cutoff: float,
    *,
    tolerance: float,
    steps: int,
) -> tuple[Relaxation, Limits]:
    """Lists and masks for relaxations, and the static numbers.

    Raises:
        InputError: the cell leaves no room to relax the gap.
        CompatibilityError: an element is not known.
    """
    start, slots = layer_relaxation.starts(systems, elements, cutoff)
    allowed = layer_relaxation.freedom(along, mode)
    sides = layer_relaxation.faces(along)
    limits = Limits(cutoff, layer_relaxation.SKIN, slots)
    goal = layer_relaxation.goal(tolerance, steps)
    return Relaxation(start, allowed, sides, goal), limits


def relaxed(potential: Potential, data: Relaxation, limits: Limits) -> Outcome:
    """Relax all structures; pure, differentiable by the parameters at the relaxed places."""
    energy, found = layer_relaxation.relaxed_energies(
        potential, data.start, data.allowed, data.goal, limits=limits
    )
    distance = jax.vmap(lambda places: layer_relaxation.interlayer_distance(data.sides, places))(
        found.positions
    )
    unconverged = (found.status != Status.CONVERGED).sum()
    return Outcome(energy, distance, found.residual.max(), unconverged)


def warnings(name: str, metrics: Mapping[str, float], tolerance: float) -> list[str]:
    """What must be said about a self-test that failed and relaxations that did not converge."""
    said = []
    error = metrics["closure_error"]
    if not error <= tolerance:
        said.append(
            f"path {name!r}: sliding by a lattice vector changes the energy by {error:.2g} eV "
            f"(allowed {tolerance:g}). The structures are identical, so this is a defect of cell, "
            "neighbour list or precision, not of the model's physics; do not trust this profile"
        )
    lost = int(metrics.get("unconverged", 0))
    if lost:
        said.append(
            f"path {name!r}: {lost} structures did not relax (largest force "
            f"{metrics['residual']:.2g} eV/Å); relaxed energies of this potential mean nothing"
        )
    return said
