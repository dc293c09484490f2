"""Energies on a periodic grid in two dimensions: interpolation, minima, the lowest pass.

A periodic function known at n x m points is interpolated by the trigonometric polynomial through
them, which is exact if nothing varies faster than the grid resolves. Functions of the energy are
pure and differentiable by it, except where they say which point is a minimum.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64

from mlffjax.arrays import Array, Bool, Float, Int

NEWTON = 50  # steps; quadratic convergence needs some five
CLOSE = 1e-3  # of a cell; stationary points nearer to each other are one


class Pass(NamedTuple):
    """The lowest way from the deepest minimum to one of its periodic images."""

    energy: Float[Array, ""]  # of the highest point on the way, as the surface counts
    index: Int[Array, ""]  # of that point in the flattened grid


class Minimum(NamedTuple):
    """A minimum of the interpolated surface."""

    fraction: Float64[np.ndarray, " 2"]  # of the two lattice vectors, in [0, 1)
    energy: float
    curvature: Float64[np.ndarray, "2 2"]  # second derivatives by the fractions


def refined(energy: Float[Array, "n m"], factor: int) -> Float[Array, "fine_n fine_m"]:
    """The surface on a grid that is finer by a whole factor; the given points are among it."""
    first, second = (
        jnp.asarray(kernel(np.arange(n * factor) / factor, n), energy.dtype) for n in energy.shape
    )
    return first @ energy @ second.T


def kernel(
    places: Float64[np.ndarray, " places"], count: int, order: int = 0
) -> Float64[np.ndarray, "places count"]:
    """Weights of ``count`` points at 0, 1, ... in the interpolation at places; or a derivative's.

    Args:
        places: in steps of the grid.
        count: points in one period.
        order: of the derivative by the place.
    """
    waves = (
        np.arange(-(count // 2), (count - 1) // 2 + 1)
        if count % 2
        else np.arange(-count // 2, count // 2 + 1)
    )
    # An even number of points cannot tell the highest wave from its mirror image: half of each.
    weight = np.where(2 * np.abs(waves) == count, 0.5, 1.0)
    angle = 2 * np.pi * waves / count
    phase = np.exp(1j * angle * (places[:, None, None] - np.arange(count)[:, None]))
    return np.real(phase * weight * (1j * angle) ** order).sum(-1) / count


def minima(energy: Float[Array, "n m"]) -> Bool[Array, "n m"]:
    """Points below all of their eight periodic neighbours; of two equal neighbours, one."""
    found = jnp.ones(energy.shape, bool)
    for i, j in ((1, 0), (0, 1), (1, 1), (1, -1)):
        found &= energy < jnp.roll(energy, (i, j), (0, 1))
        found &= energy <= jnp.roll(energy, (-i, -j), (0, 1))
    return found


def lowest_pass(energy: Float[Array, "n m"]) -> Pass:
    """The lowest point that cannot be avoided on the way from the deepest point to an image of it.

    Steps go to the eight neighbours, so points between those of the grid do not count: refine the
    surface first. Ways that wind around more than one cell before they close are not looked at.
    """
    n, m = energy.shape
    flat = jax.lax.stop_gradient(energy)
    start = jnp.unravel_index(jnp.argmin(flat), flat.shape)
    tiled = jnp.tile(flat, (3, 3))
    first = jnp.full_like(tiled, jnp.inf).at[start[0] + n, start[1] + m].set(flat[start])

    def spread(state: tuple[Array, Array]) -> tuple[Array, Array]:
        level, _ = state
        padded = jnp.pad(level, 1, constant_values=jnp.inf)
        around = jnp.stack(
            [padded[i : i + 3 * n, j : j + 3 * m] for i in range(3) for j in range(3)]
        ).min(axis=0)
        new = jnp.minimum(level, jnp.maximum(tiled, around))
        return new, (new < level).any()

    level, _ = jax.lax.while_loop(lambda state: state[1], spread, (first, jnp.array(True)))
    images = level.reshape(3, n, 3, m)[:, start[0], :, start[1]].reshape(-1)
    highest = images.at[4].set(jnp.inf).min()  # 4 is where the way starts
    index = jnp.argmin(jnp.abs(flat - highest))
    return Pass(energy.reshape(-1)[index], index)


def stationary_minima(energy: Float64[np.ndarray, "n m"], factor: int = 8) -> list[Minimum]:
    """All minima of the interpolated surface, deepest first; on the host."""
    energy = np.asarray(energy, float)
    fine = np.asarray(refined(jnp.asarray(energy), factor))
    starts = np.argwhere(np.asarray(minima(jnp.asarray(fine)))) / np.array(fine.shape)
    found: list[Minimum] = []
    for start in starts:
        one = _newton(energy, start)
        if one is None:
            continue
        apart = [(one.fraction - other.fraction + 0.5) % 1 - 0.5 for other in found]
        if all(np.abs(step).max() > CLOSE for step in apart):
            found.append(one)
    return sorted(found, key=lambda one: one.energy)


def _newton(energy: np.ndarray, start: np.ndarray) -> Minimum | None:
    """Follow the gradient of the trigonometric polynomial to zero from a point near a minimum."""
    sizes = np.array(energy.shape)
    place = start * sizes

    def derivative(i: int, j: int) -> float:
        rows = kernel(place[:1], sizes[0], i), kernel(place[1:], sizes[1], j)
        return float((rows[0] @ energy @ rows[1].T)[0, 0])

    hessian = np.eye(2)
    for _ in range(NEWTON):
        gradient = np.array([derivative(1, 0), derivative(0, 1)])
        mixed = derivative(1, 1)
        hessian = np.array([[derivative(2, 0), mixed], [mixed, derivative(0, 2)]])
        values, vectors = np.linalg.eigh(hessian)
        # Downhill also where the surface is not yet curved upwards.
        step = vectors @ ((vectors.T @ gradient) / np.maximum(np.abs(values), 1e-12))
        place = place - step * min(1.0, 0.25 / max(np.abs(step).max(), 1e-300))
        if np.abs(step).max() < 1e-12:
            break
    if np.linalg.eigvalsh(hessian)[0] <= 0:
        return None
    fraction = (place / sizes) % 1
    fraction = np.where(fraction > 1 - 1e-9, 0.0, fraction)
    return Minimum(fraction, derivative(0, 0), hessian * np.outer(sizes, sizes))
