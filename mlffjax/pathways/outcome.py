"""What became of a band: numbers if it converged, reasons if it did not."""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64

from mlffjax.pathways import hermite, interpolate
from mlffjax.pathways.bands import Band
from mlffjax.pathways.descent import Traces
from mlffjax.pathways.driver import Finished
from mlffjax.structures.system import System

SAMPLES = 201  # points of the curve through the images
NAN = float("nan")

_highest = jax.jit(hermite.highest)


@dataclass(frozen=True)
class Attempt:
    """One try of the ladder."""

    name: str
    """``as asked``; after explosions ``idpp``, ``smaller steps`` (by ``ode12r``), ``relaxed ends``,
    each with what came before; ``overdamped`` (by ``ode12r``) if the last try did not settle."""
    status: str
    reason: str
    iterations: int
    traces: Traces | None
    """By iteration; None if the ends could not be relaxed."""


@dataclass(frozen=True)
class Outcome:
    """The result of relaxing one band with one potential.

    ``status`` is ``converged``, ``max_steps``, ``exploded``, ``detached`` or
    ``endpoint_collapsed``. Only with the first are the barriers numbers, and only if the highest
    image lies between the ends.
    """

    status: str
    reason: str
    """Why it is not converged, or what is odd about a converged one; empty otherwise."""
    barrier: float
    """Highest image above the first, eV; NaN unless the band is converged and has a saddle."""
    barrier_reverse: float
    """Highest image above the last, eV; NaN as ``barrier``."""
    reaction_energy: float
    """Last image above the first, eV; NaN unless converged."""
    saddle_energy: float
    """Highest point of the curve through energies and slopes, above the first image, eV; NaN as
    ``barrier``."""
    saddle_position: float
    """Arclength of that point, Å; NaN as ``barrier``."""
    top: int
    """The climbing image: the highest; 0 or the last if the path has no maximum between its ends,
    -1 unless converged."""
    residual: float
    """Largest force left on an atom of the band, eV/Å, tangential forces apart."""
    residual_top: float
    """Largest force of the potential on a free atom of the highest image, eV/Å: how far it is from
    a stationary point."""
    residual_ends: float
    """The same for the two ends."""
    iterations: int
    """Evaluations of the band in the last attempt."""
    band: Band
    """The last sound images."""
    energies: Float64[np.ndarray, " images"]
    """Of them, eV, without reference energies; NaN if there was never a sound band."""
    forces: Float64[np.ndarray, "images atoms 3"]
    """On them, eV/Å, also on fixed atoms."""
    tangent: Float64[np.ndarray, "images atoms 3"]
    """Improved tangents with norm 1 over 3N; zero at the ends."""
    height_last: float
    """Highest of ``energies`` above the first, eV, whatever the status: not a barrier."""
    end_shift: Float64[np.ndarray, " 2"]
    """Longest move of an atom when the ends were relaxed, Å."""
    traces: Traces | None
    """By iteration of the last attempt; None if the ends could not be relaxed."""
    code: int = 0
    """Code of ``monitor`` if it exploded."""
    cause: str = ""
    """What a failure is due to, from what did or did not cure it."""
    attempts: tuple[Attempt, ...] = ()

    @property
    def converged(self) -> bool:
        """Whether the band is relaxed."""
        return self.status == "converged"

    @property
    def has_saddle(self) -> bool:
        """Whether it is relaxed and the highest image lies between the ends."""
        return self.converged and 0 < self.top < len(self.energies) - 1

    def image(self, index: int) -> System:
        """An image as a structure; ``image(outcome.top)`` is the transition state."""
        band = self.band
        numbers = np.asarray(band.numbers, np.int32)
        return System(band.positions[index], numbers, band.cell, band.pbc)

    def told(self, cause: str, attempts: tuple[Attempt, ...]) -> "Outcome":
        """The same with its history."""
        return dataclasses.replace(self, cause=cause, attempts=attempts)


def curve(
    positions: Float64[np.ndarray, "images atoms 3"],
    energies: Float64[np.ndarray, " images"],
    forces: Float64[np.ndarray, "images atoms 3"],
) -> hermite.Curve:
    """Energies above the first image with slopes along the path."""
    tangents = interpolate.unit_tangents(positions)
    slopes = -(forces * tangents).sum(axis=(1, 2))
    length = interpolate.arclength(positions)
    return hermite.Curve(
        jnp.asarray(length), jnp.asarray(energies - energies[0]), jnp.asarray(slopes)
    )


def converged_outcome(
    band: Band, found: Finished, end_shift: Float64[np.ndarray, " 2"], *, end_fmax: float
) -> Outcome:
    """The outcome of a band that converged.

    Args:
        band: with the relaxed positions.
        found: what the driver returned.
        end_shift: how far the ends moved, Å.
        end_fmax: force above which an end is not called a minimum, eV/Å.
    """
    plain = _described(band, found, end_shift)
    energies, forces = plain.energies, plain.forces
    top = int(np.argmax(energies))
    odd = []
    if plain.residual_ends > end_fmax:
        odd.append(
            f"the ends are no minima of this potential (forces up to {plain.residual_ends:.2g} "
            "eV/Å)"
        )
    if not 0 < top < len(energies) - 1:
        odd.append("the highest image is an end: there is no saddle between the ends")
    reached = dataclasses.replace(
        plain,
        status="converged",
        reason="; ".join(odd),
        reaction_energy=float(energies[-1] - energies[0]),
        top=top,
        residual_top=_largest(forces[top], band.fixed),
    )
    if not reached.has_saddle:
        return reached
    point = _highest(curve(band.positions, energies, forces))
    return dataclasses.replace(
        reached,
        barrier=float(energies[top] - energies[0]),
        barrier_reverse=float(energies[top] - energies[-1]),
        saddle_energy=float(point.energy),
        saddle_position=float(point.position),
    )


def failed_outcome(
    band: Band,
    status: str,
    reason: str,
    code: int,
    iterations: int,
    *,
    found: Finished | None = None,
    shift: Float64[np.ndarray, " 2"] | None = None,
) -> Outcome:
    """The outcome of a band, or of its ends, that did not converge."""
    plain = _described(band, found, np.full(2, NAN) if shift is None else shift)
    return dataclasses.replace(
        plain, status=status, reason=reason, code=code, iterations=iterations
    )


def _described(band: Band, found: Finished | None, shift: np.ndarray) -> Outcome:
    """Everything that does not depend on convergence."""
    images, atoms = band.positions.shape[:2]
    energies, forces = np.full(images, NAN), np.full((images, atoms, 3), NAN)
    tangent, residual, iterations = np.zeros((images, atoms, 3)), NAN, 0
    if found is not None:
        good = found.state.good
        energies, forces, tangent = (np.asarray(x) for x in (good[1], good[2], good.tangent))
        residual, iterations = float(np.max(good.residual)), int(found.state.steps)
    ends = max(_largest(forces[k], band.fixed) for k in (0, -1))
    return Outcome(
        status="", reason="", barrier=NAN, barrier_reverse=NAN, reaction_energy=NAN,
        saddle_energy=NAN, saddle_position=NAN, top=-1, residual=residual,
        residual_top=NAN, residual_ends=ends, iterations=iterations, band=band, energies=energies,
        forces=forces, tangent=tangent, height_last=float((energies - energies[0]).max()),
        end_shift=shift, traces=None if found is None else found.traces,
    )  # fmt: skip


def _largest(forces: Float64[np.ndarray, "atoms 3"], fixed: np.ndarray) -> float:
    return float(np.linalg.norm(forces[~fixed], axis=-1).max())
