"""Images between two structures: straight lines, image-dependent pair potential, more images."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float64

from mlffjax.arrays import Array, Float, Int
from mlffjax.errors import InputError
from mlffjax.graphs.neighbors import neighbors_within
from mlffjax.pathways import neb, optimizers
from mlffjax.structures.system import System

METHODS = ("linear", "idpp")
REACH = 6.0  # Å; farther pairs have weights below 1/1296 and change nothing
CROWDED = 0.7  # of the wanted distance; atoms that come closer on the line are pushed off it
PUSH = 0.2  # Å, by about so much
SPRING = 0.1  # Å^-4, between images; ASE's
RESIDUAL = 1e-3  # Å^-3, force on an atom at which the band is good enough; ASE stops at 0.1
ITERATIONS = 1000
STEP = 0.2  # Å, the longest
PAIR_STEP = 256  # pairs are padded to a multiple of this: fewer compilations


class Pairs(NamedTuple):
    """Pairs of atoms, resolved into periodic images, and the distances wanted in each image."""

    i: Int[Array, "pairs"]
    j: Int[Array, "pairs"]
    offset: Float[Array, "pairs 3"]  # Å, between the cells of i and j
    target: Float[Array, "images pairs"]  # Å
    weight: Float[Array, "pairs"]  # 1, or 0 for padding


def linear(
    start: Float64[np.ndarray, "atoms 3"],
    displacement: Float64[np.ndarray, "atoms 3"],
    images: int,
) -> Float64[np.ndarray, "images atoms 3"]:
    """Equally spaced images on a straight line, ends included, Å."""
    parts = np.linspace(0.0, 1.0, images)[:, None, None]
    return np.asarray(start, float) + parts * np.asarray(displacement, float)


def idpp(
    positions: Float64[np.ndarray, "images atoms 3"],
    cell: Float64[np.ndarray, "3 3"],
    pbc: Bool[np.ndarray, " 3"],
    fixed: Sequence[int] = (),
) -> Float64[np.ndarray, "images atoms 3"]:
    """Images whose distances interpolate those of the ends: atoms go around each other.

    An elastic band (``neb.pull``) in the potential sum over pairs (d_target - d)^2 / d^4, where
    d_target goes linearly from the distance in the first image to that in the last. Pairs are
    resolved into periodic images, taken from both ends and kept on the way, so no minimum image is
    needed. Atoms that would meet are pushed off the line a little, all images in one direction,
    because symmetry would hold them on it. Smidstrup, Pedersen, Stokbro and Jónsson, J. Chem. Phys.
    140, 214106 (2014), doi:10.1063/1.4878664. In float64 if JAX has 64-bit numbers.

    Args:
        positions: the guess, Å; its ends are kept.
        cell: Å.
        pbc: which directions are periodic.
        fixed: atoms that must not move.

    Raises:
        InputError: the search for these positions fails.
    """
    positions = np.array(positions, float)
    pairs = _pairs(positions, cell, pbc)
    if not pairs.weight.any():
        return positions
    free = np.ones(positions.shape[1])
    free[list(fixed)] = 0.0
    start = _pushed(positions, pairs, free)
    found = np.asarray(_settled(start, pairs, free), float)
    if not np.isfinite(found).all():
        raise InputError(
            "expected finite positions from the image-dependent pair potential, got NaN; the ends "
            "may hold atoms on top of each other"
        )
    positions[1:-1] = np.where(free[:, None] > 0, found[1:-1], positions[1:-1])
    return positions


def resampled(
    positions: Float64[np.ndarray, "images atoms 3"], images: int
) -> Float64[np.ndarray, "images atoms 3"]:
    """Equally spaced images on the polygon through the given ones, Å; norm over 3N."""
    positions = np.asarray(positions, float)
    length = arclength(positions)
    places = np.linspace(0.0, length[-1], images)
    segment = np.clip(np.searchsorted(length, places, side="right") - 1, 0, len(length) - 2)
    part = (places - length[segment]) / (length[segment + 1] - length[segment])
    part = part[:, None, None]
    return (1 - part) * positions[segment] + part * positions[segment + 1]


def with_ends(
    positions: Float64[np.ndarray, "images atoms 3"],
    first: Float64[np.ndarray, "atoms 3"],
    last: Float64[np.ndarray, "atoms 3"],
) -> Float64[np.ndarray, "images atoms 3"]:
    """The path with new ends; images in between follow in proportion to their distance, Å."""
    length = arclength(positions)
    part = (length / length[-1])[:, None, None]
    return positions + (1 - part) * (first - positions[0]) + part * (last - positions[-1])


def inserted(
    positions: Float64[np.ndarray, "images atoms 3"],
    energies: Float64[np.ndarray, " images"],
    extra: int,
) -> Float64[np.ndarray, "more atoms 3"]:
    """The path with more images where it needs them, Å.

    One after the other, an image is put in the middle of the segment that is longest when length
    and change of energy are counted in units of the whole path's (automated NEB: Kolsbjerg, Groves
    and Hammer, J. Chem. Phys. 145, 094107 (2016), doi:10.1063/1.4961868).

    Args:
        positions: images, Å.
        energies: of the images, eV.
        extra: number of images to add.
    """
    places, heights = list(np.asarray(positions, float)), list(np.asarray(energies, float))
    for _ in range(extra):
        lengths = np.diff(arclength(np.array(places)))
        climbs = abs(np.diff(heights))
        size = np.hypot(lengths / lengths.sum(), climbs / max(climbs.sum(), 1e-12))
        k = int(np.argmax(size))
        places.insert(k + 1, (places[k] + places[k + 1]) / 2)
        heights.insert(k + 1, (heights[k] + heights[k + 1]) / 2)
    return np.array(places)


def arclength(positions: Float64[np.ndarray, "images atoms 3"]) -> Float64[np.ndarray, " images"]:
    """Distance along the images from the first, Å; norm over 3N."""
    steps = np.diff(np.asarray(positions, float), axis=0).reshape(len(positions) - 1, -1)
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(steps, axis=1))])


def unit_tangents(
    positions: Float64[np.ndarray, "images atoms 3"],
) -> Float64[np.ndarray, "images atoms 3"]:
    """Unit tangents of the curve through the images, norm over 3N.

    The derivative by arclength of the parabola through three neighbouring images; at the ends, of
    the nearest parabola. Geometry alone decides.
    """
    slope = np.gradient(positions, arclength(positions), axis=0, edge_order=2)
    return slope / np.linalg.norm(slope, axis=(1, 2), keepdims=True)


def _pairs(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> Pairs:
    """Pairs that are near in one of the ends."""
    found: list[np.ndarray] = []
    for end in positions[[0, -1]]:
        near = neighbors_within(System(end, np.zeros(len(end), np.int32), cell, pbc), REACH)
        i, slot = np.nonzero(near.mask)
        j, shift = near.neighbors[i, slot], near.shifts[i, slot]
        found.append(np.concatenate([i[:, None], j[:, None], shift], axis=1))
    pairs = np.unique(np.concatenate(found), axis=0)
    # An atom's distance to its own periodic image is constant; each other pair appears twice.
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    i, j, offset = pairs[:, 0], pairs[:, 1], pairs[:, 2:] @ np.asarray(cell, float)
    ends = np.linalg.norm(positions[[0, -1]][:, j] - positions[[0, -1]][:, i] + offset, axis=-1)
    parts = np.linspace(0.0, 1.0, len(positions))[:, None]
    target = (1 - parts) * ends[0] + parts * ends[1]
    more = -len(i) % PAIR_STEP
    # Padded pairs join an atom to itself at a distance of 1 Å and weigh nothing.
    return Pairs(
        np.pad(i, (0, more)),  # pyright: ignore[reportArgumentType]
        np.pad(j, (0, more)),  # pyright: ignore[reportArgumentType]
        np.pad(offset, ((0, more), (0, 0)), constant_values=1.0),  # pyright: ignore[reportArgumentType]
        np.pad(target, ((0, 0), (0, more)), constant_values=1.0),  # pyright: ignore[reportArgumentType]
        np.pad(np.ones(len(i)), (0, more)),  # pyright: ignore[reportArgumentType]
    )


def mismatch(positions: Float[Array, "images atoms 3"], pairs: Pairs) -> Float[Array, "images"]:
    """Weighted squares of the differences between distances and those wanted, Å^-2."""
    vectors = positions[:, pairs.j] - positions[:, pairs.i] + pairs.offset
    d = jnp.sqrt((vectors**2).sum(axis=-1))
    return (pairs.weight * (pairs.target - d) ** 2 / d**4).sum(axis=-1)


@jax.jit
def _settled(start: Array, pairs: Pairs, free: Array) -> Array:
    """The band after its relaxation."""
    images = start.shape[0]

    def forces(places: Array) -> neb.Pull:
        def total(places: Array) -> tuple[Array, Array]:
            each = mismatch(places, pairs)
            return each.sum(), each

        (_, energies), slope = jax.value_and_grad(total, has_aux=True)(places)
        stiffness = jnp.full(images - 1, SPRING, places.dtype)
        never, count = jnp.zeros((), bool), jnp.asarray(images)
        force = -slope * free[:, None]
        return neb.pull(places, energies, force, stiffness=stiffness, climbing=never, count=count)

    def goes_on(carry: tuple) -> Array:
        _, _, residual, steps = carry
        return (residual > RESIDUAL) & (steps < ITERATIONS)

    def iterate(carry: tuple) -> tuple:
        memory, places, _, steps = carry
        pull = forces(places)
        memory, places = optimizers.step("fire", memory, places, pull.force, jnp.asarray(STEP))
        return memory, places, pull.residual.max(), steps + 1

    zero = jnp.zeros((), jnp.int32)
    begin = (optimizers.init("fire", start), start, jnp.asarray(jnp.inf, start.dtype), zero)
    return jax.lax.while_loop(goes_on, iterate, begin)[1]


def _pushed(positions: np.ndarray, pairs: Pairs, free: np.ndarray) -> np.ndarray:
    """Atoms that come too close on the way are moved off it, most in the middle of the path."""
    i, j, weight = (np.asarray(values) for values in (pairs.i, pairs.j, pairs.weight))
    d = np.linalg.norm(positions[:, j] - positions[:, i] + np.asarray(pairs.offset), axis=-1)
    close = (d < CROWDED * np.asarray(pairs.target)).any(axis=0) & (weight > 0)
    touched = np.zeros(positions.shape[1])
    touched[np.concatenate([i[close], j[close]])] = 1.0
    push = np.random.default_rng(0).normal(scale=PUSH, size=positions.shape[1:])
    part = np.linspace(0.0, 1.0, len(positions))[:, None, None]
    return positions + np.sin(np.pi * part) * push * (touched * free)[:, None]
