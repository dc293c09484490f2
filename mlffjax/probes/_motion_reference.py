"""What another source says about structure and motion, in the form the transport probe measures."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlffjax.analysis.inputs import symbol
from mlffjax.analysis.structure import RadialDistribution, radial_distribution
from mlffjax.analysis.vibrations import (
    central_velocities,
    check_sampling,
    velocity_autocorrelation,
)
from mlffjax.dynamics.trajectory import Trajectory
from mlffjax.errors import InputError
from mlffjax.structures.elements import masses
from mlffjax.structures.system import Frame, System


class Reference(NamedTuple):
    """Radial distribution and velocity autocorrelation, as far as the source has them."""

    distribution: RadialDistribution | None
    times_fs: np.ndarray  # of the autocorrelation; empty without one
    autocorrelation: np.ndarray


def from_trajectory(
    other: Trajectory, *, r_max: float, bins: int, longest_fs: float | None
) -> Reference:
    """Of a trajectory; its velocities are central differences, if frames are close enough."""
    places, cells = other["positions"][:], other["cell"][:]
    found = radial_distribution(places, other.system.numbers, cells, r_max=r_max, bins=bins)
    times = other["positions"].times_fs
    try:
        check_sampling(float(times[1] - times[0]))
        motion = velocity_autocorrelation(
            central_velocities(places, times),
            masses(other.system.numbers),
            times[1:-1],
            longest_fs=longest_fs,
        )
    except InputError:  # snapshots far apart or few say nothing about velocities
        return Reference(found, np.zeros(0), np.zeros(0))
    return Reference(found, motion.times_fs, motion.value)


def from_snapshots(
    name: str, frames: Sequence[Frame], first: System, *, r_max: float, bins: int
) -> Reference:
    """Of labelled frames; only those with the atoms of ``first`` count.

    Raises:
        InputError: there are fewer than two such frames.
    """
    systems = [f.system for f in frames if np.array_equal(f.system.numbers, first.numbers)]
    if len(systems) < 2:
        raise InputError(
            f"probe {name}: expected two or more reference frames with the same atoms, got "
            f"{len(systems)}"
        )
    places = np.array([system.positions for system in systems])
    cells = np.array([system.cell for system in systems])
    found = radial_distribution(places, first.numbers, cells, r_max=r_max, bins=bins)
    return Reference(found, np.zeros(0), np.zeros(0))


def require_same_elements(name: str, system: System, other: System) -> None:
    """Refuse a reference of another material.

    Raises:
        InputError: elements differ; the message lists them.
    """
    ours, theirs = (sorted(set(s.numbers.tolist())) for s in (system, other))
    if ours != theirs:
        raise InputError(
            f"probe {name}: expected a reference with the elements of the structure, "
            f"{', '.join(map(symbol, ours))}, got {', '.join(map(symbol, theirs))}"
        )


def reference_arrays(reference: Reference) -> dict[str, np.ndarray]:
    """The reference's curves, to be kept beside those of a potential."""
    arrays: dict[str, np.ndarray] = {}
    if reference.distribution is not None:
        arrays |= {
            "rdf_reference": reference.distribution.g,
            "rdf_reference_pairs": reference.distribution.pairs,
            "rdf_reference_radii": middles(reference.distribution),
        }
    if len(reference.times_fs):
        arrays |= {
            "vacf_reference": reference.autocorrelation,
            "vacf_reference_fs": reference.times_fs,
        }
    return arrays


def middles(found: RadialDistribution) -> np.ndarray:
    """Middle of each shell, Å."""
    return (found.edges[1:] + found.edges[:-1]) / 2
