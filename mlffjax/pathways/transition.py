"""From a relaxed band to a rate: its saddle, what lies on both sides, vibrations, diffusion.

The climbing image is near a saddle, not on it, and it belongs to the whole path: where the path has
several hills, only the highest is looked at. Here the saddle is found to tight forces, its negative
modes are counted, the two minima next to it are found by going downhill, and harmonic transition
state theory gives the rate of that one step. Nothing is called a rate unless all of this succeeds.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pydantic

from mlffjax.config import Config
from mlffjax.errors import InputError
from mlffjax.pathways import saddle as saddles
from mlffjax.pathways.outcome import Outcome
from mlffjax.pathways.rates import HarmonicRate, diffusion_coefficient, vineyard, zero_point_energy
from mlffjax.pathways.saddle import Connection, ConnectionStatus, Settings, Stationary, connect
from mlffjax.pathways.vibrations import NormalModes, normal_modes
from mlffjax.potential.base import Potential

STATUSES = ("found", "no_band", "no_saddle", "not_stationary", "not_connected", "not_harmonic")
"""What became of a transition; only ``found`` has a rate."""
BARELY = 0.3  # Å; ends of a band are relaxed less tightly than minima beside a saddle


class Options(Config):
    """How a saddle is refined and what follows from it."""

    temperatures_k: tuple[float, ...] = pydantic.Field(default=(300.0, 600.0), min_length=1)
    """At which rates are given."""
    zero_point: bool = False
    """Add the difference of zero-point energies to the barrier of the rates."""
    jump: float | None = pydantic.Field(default=None, gt=0.0)
    """Length of a jump, Å; by default that of the atom that moves most."""
    jumps: int = pydantic.Field(default=1, ge=1)
    """Equivalent jumps that lead away from a site, this one included."""
    dimensions: Literal[1, 2, 3] = 2
    """In which jumps add up: 1 along a channel, 2 in a gap between layers, 3 in a solid."""
    search: Settings = Settings()
    """Of saddle and minima."""

    @pydantic.field_validator("temperatures_k")
    @classmethod
    def _positive(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if min(values) <= 0 or len(set(values)) < len(values):
            raise ValueError(f"expected different temperatures above 0 K, got {list(values)}")
        return values


@dataclass(frozen=True)
class Transition:
    """A saddle with its surroundings; what could not be had is None, and ``reason`` says why."""

    status: str
    """One of ``STATUSES``."""
    reason: str
    """Why it is not ``found``, or what is odd about one that is; empty otherwise."""
    saddle: Stationary | None = None
    connection: Connection | None = None
    """The minima on both sides, in the order of the ends of the band."""
    modes: NormalModes | None = None
    """Vibrations of the saddle."""
    minimum_modes: NormalModes | None = None
    """Vibrations of the minimum on the side of the first image."""
    forward: HarmonicRate | None = None
    backward: HarmonicRate | None = None

    @property
    def found(self) -> bool:
        """Whether there are rates."""
        return self.status == "found"

    @property
    def joins_ends(self) -> bool:
        """Whether the minima beside the saddle are the ends of the band: a path of one step."""
        sides = self.connection
        return sides is not None and sides.status is ConnectionStatus.CONNECTED

    @property
    def imaginary_thz(self) -> float:
        """Size of the imaginary frequency of the saddle; NaN without its vibrations."""
        return float("nan") if self.modes is None else float(-self.modes.frequencies[0])


def refine(potential: Potential, outcome: Outcome, options: Options | None = None) -> Transition:
    """Find the saddle below the highest image of a relaxed band, and its rates both ways.

    Args:
        potential: the one the band was relaxed with; needs second derivatives.
        outcome: from ``elastic.relax_bands``.
        options: see ``Options``.

    Raises:
        CompatibilityError: the potential has no second derivatives.
        ConfigError: JAX is not set to 64 bits.
    """
    options = options or Options()
    if not outcome.converged:
        return Transition("no_band", f"the band is not relaxed: {outcome.status}")
    if not outcome.has_saddle:
        return Transition("no_saddle", "the highest image of the band is an end")
    held = outcome.band.fixed if outcome.band.fixed.any() else None
    top = saddles.refine_saddle(
        potential,
        outcome.image(outcome.top),
        fixed=held,
        direction=outcome.tangent[outcome.top],
        settings=options.search,
    )
    if top.status is not saddles.Status.CONVERGED:
        reason = (
            f"the search from the highest image ended as {top.status!s} after {top.steps} steps, "
            f"with a force of {top.residual:.2g} eV/Å and {top.negative} negative modes"
        )
        return Transition("not_stationary", reason, top)
    ends = outcome.image(0), outcome.image(-1)
    sides = connect(potential, top, *ends, tolerance=BARELY, settings=options.search)
    if sides.status is ConnectionStatus.NOT_CONVERGED:
        return Transition("not_connected", _astray(sides), top, sides)
    return _with_rates(potential, options, top, sides)


def _with_rates(
    potential: Potential, options: Options, top: Stationary, sides: Connection
) -> Transition:
    """Vibrations of the three points, and what follows from them."""
    above, first, last = (
        normal_modes(potential, point.system, fixed=point.fixed if point.fixed.any() else None)
        for point in (top, *sides.minima)
    )
    known = Transition("not_harmonic", "", top, sides, above, first)
    rates = []
    for minimum, below in zip(sides.minima, (first, last), strict=True):
        try:
            prefactor = vineyard(below, above)
        except InputError as error:
            return _replaced(known, reason=str(error))
        shift = zero_point_energy(above) - zero_point_energy(below) if options.zero_point else 0.0
        rates.append(HarmonicRate(prefactor, top.energy - minimum.energy, shift))
    odd = "" if known.joins_ends else _elsewhere(sides)
    return _replaced(known, status="found", reason=odd, forward=rates[0], backward=rates[1])


def _replaced(known: Transition, **changes: object) -> Transition:
    return Transition(**(known.__dict__ | changes))  # pyright: ignore[reportArgumentType]


def _astray(sides: Connection) -> str:
    ended = ", ".join(str(side.status) for side in sides.minima)
    return f"no minimum was reached downhill from the saddle: the descents ended as {ended}"


def _elsewhere(sides: Connection) -> str:
    far = ", ".join(f"{distance:.2f}" for distance in sides.distances)
    return (
        f"the minima beside the saddle are not the ends of the band ({far} Å apart): the path has "
        "several steps, the rate is that of the highest, and no diffusion follows from it alone"
    )


def jump_length(transition: Transition) -> float:
    """How far the atom that moves most goes from one minimum to the other, Å.

    Raises:
        InputError: the minima are not known.
    """
    if transition.connection is None:
        raise InputError(f"expected minima beside the saddle, got none: {transition.reason}")
    first, last = (side.system.positions for side in transition.connection.minima)
    step = last - first
    if not transition.connection.minima[0].fixed.any() and len(step) > 1:
        step = step - np.median(step, axis=0)  # a common shift costs nothing
    return float(np.linalg.norm(step, axis=1).max())


def diffusion(transition: Transition, options: Options, temperature_k: np.ndarray) -> np.ndarray:
    """Diffusion by independent jumps over the saddle from the first minimum, Å²/ps.

    Raises:
        InputError: the transition has no rate or is one of several steps of its path, or a
            temperature is not positive.
    """
    if transition.forward is None:
        raise InputError(f"expected a transition with a rate, got none: {transition.reason}")
    if not transition.joins_ends:
        raise InputError(f"expected a jump from end to end of a path: {transition.reason}")
    return diffusion_coefficient(
        transition.forward.at(temperature_k),
        jump=options.jump or jump_length(transition),
        paths=options.jumps,
        dimensions=options.dimensions,
    )
