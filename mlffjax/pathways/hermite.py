"""The curve of energy along a path: piecewise cubic through energies with the right slopes.

Between images k and k+1 at arclengths s_k, with h = s_{k+1} - s_k and u = (s - s_k) / h,

    E(u) = a u³ + b u² + c u + d,    d = E_k,    c = h E'_k,
    a = 2 (E_k - E_{k+1}) + h (E'_k + E'_{k+1}),    b = E_{k+1} - E_k - c - a.

Energies and slopes are met exactly at every image. Fritsch and Carlson, SIAM J. Numer. Anal. 17,
238 (1980), doi:10.1137/0717021; for paths: Henkelman and Jónsson, J. Chem. Phys. 113, 9978 (2000),
doi:10.1063/1.1323224, appendix.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mlffjax.arrays import Array, Float, Int


class Curve(NamedTuple):
    """Energies with slopes at increasing positions, at least two."""

    position: Float[Array, "images"]  # Å
    energy: Float[Array, "images"]  # eV
    slope: Float[Array, "images"]  # eV/Å


class Point(NamedTuple):
    """A point of the curve."""

    position: Float[Array, ""]  # Å
    energy: Float[Array, ""]  # eV


def evaluate(curve: Curve, position: Float[Array, "samples"]) -> Float[Array, "samples"]:
    """Energy at the given positions, eV; outside the path the outer cubics go on."""
    last = curve.position.shape[0] - 2
    index = jnp.clip(jnp.searchsorted(curve.position, position, side="right") - 1, 0, last)
    step = curve.position[index + 1] - curve.position[index]
    return _cubic(_coefficients(curve)[:, index], (position - curve.position[index]) / step)


def highest(curve: Curve) -> Point:
    """The highest point of the curve: the transition state of the path, ends included."""
    position, energy = _turning_points(curve)
    index = jnp.argmax(energy)
    return Point(position[index], energy[index])


def count_extrema(curve: Curve, *, prominence: float) -> Int[Array, ""]:
    """Number of minima and maxima between the ends that stand out by more than ``prominence``, eV.

    Going along the curve, a maximum counts once the energy has fallen by ``prominence`` below it,
    a minimum once it has risen so far. Not differentiable, of course.
    """

    def step(state: tuple[Array, ...], energy: Array) -> tuple[tuple[Array, ...], None]:
        direction, top, bottom, count = state
        top, bottom = jnp.maximum(top, energy), jnp.minimum(bottom, energy)
        falls = (direction >= 0) & (energy < top - prominence)
        rises = (direction <= 0) & (energy > bottom + prominence)
        turned = (falls | rises) & (direction != 0)  # the first move only sets the direction
        direction = jnp.where(falls, -1, jnp.where(rises, 1, direction))
        turns = falls | rises
        return (
            direction,
            jnp.where(turns, energy, top),
            jnp.where(turns, energy, bottom),
            count + turned,
        ), None

    _, energies = _turning_points(curve)
    zero = jnp.zeros((), jnp.int32)
    state = (zero, energies[0], energies[0], zero)
    return jax.lax.scan(step, state, energies[1:])[0][3]


def _coefficients(curve: Curve) -> Float[Array, "4 segments"]:
    """a, b, c, d of every segment in its own coordinate u."""
    step = jnp.diff(curve.position)
    start, end = curve.energy[:-1], curve.energy[1:]
    c, slope_end = step * curve.slope[:-1], step * curve.slope[1:]
    a = 2 * (start - end) + c + slope_end
    b = end - start - c - a
    return jnp.stack([a, b, c, start])


def _cubic(coefficients: Float[Array, "4 *any"], u: Float[Array, "*any"]) -> Float[Array, "*any"]:
    a, b, c, d = coefficients
    return ((a * u + b) * u + c) * u + d


def _turning_points(curve: Curve) -> tuple[Float[Array, "points"], Float[Array, "points"]]:
    """Positions and energies, in order, of the images and of all stationary points between them.

    Between neighbours the curve is monotonic. Two places are kept in every segment; where the
    segment has no stationary point they repeat one of its ends.
    """
    coefficients = _coefficients(curve)
    a, b, c, _ = coefficients
    # Roots of 3 a u² + 2 b u + c in the form that survives a -> 0.
    discriminant = b**2 - 3 * a * c
    real = discriminant > 0
    q = -(b + jnp.where(b < 0, -1.0, 1.0) * jnp.sqrt(jnp.where(real, discriminant, 1.0)))
    roots = jnp.stack([_ratio(c, q), _ratio(q, 3 * a)])
    inside = real & (roots > 0) & (roots < 1)
    u = jnp.sort(jnp.where(inside, roots, 0.0), axis=0)
    u = jnp.concatenate([jnp.zeros_like(u[:1]), u])  # the image at which the segment begins
    energies = _cubic(coefficients[:, None], u)
    positions = curve.position[:-1] + u * jnp.diff(curve.position)
    return (
        jnp.append(positions.T.reshape(-1), curve.position[-1]),
        jnp.append(energies.T.reshape(-1), curve.energy[-1]),
    )


def _ratio(numerator: Array, denominator: Array) -> Array:
    """Quotient, or -1 (outside every segment) where the denominator vanishes."""
    safe = jnp.where(denominator == 0, 1.0, denominator)
    return jnp.where(denominator == 0, -1.0, numerator / safe)
