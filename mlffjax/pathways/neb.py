"""Forces of a nudged elastic band: improved tangents, springs along them, a climbing image.

| symbol | here |
|---|---|
| tau_k, unit tangent of image k, norm over 3N | ``tangents`` |
| F_k - (F_k·tau_k) tau_k + (k_{k+1} L_{k+1} - k_k L_k) tau_k, L lengths of segments | ``pull`` |
| F_k - 2 (F_k·tau_k) tau_k for the climbing image | ``pull`` |
| k_i = k_max - dk (E_max - E_i) / (E_max - E_ref), E_i the higher end of a segment | ``springs`` |

Henkelman and Jónsson, J. Chem. Phys. 113, 9978 (2000), doi:10.1063/1.1323224 (tangents, spring
force); Henkelman, Uberuaga and Jónsson, J. Chem. Phys. 113, 9901 (2000), doi:10.1063/1.1329672
(climbing image, weighted springs). Positions are unwrapped, so differences of neighbouring images
need no minimum image. A band may be padded: images from ``count`` on repeat the last one and feel
nothing.
"""

from typing import NamedTuple

import jax.numpy as jnp

from mlffjax.arrays import Array, Bool, Float, Int


class Pull(NamedTuple):
    """What moves the images of a band."""

    force: Float[Array, "images atoms 3"]  # eV/Å; zero at the ends and beyond
    residual: Float[Array, "images"]  # largest force on an atom of the image, eV/Å
    top: Int[Array, ""]  # the highest image between the ends
    tangent: Float[Array, "images atoms 3"]  # unit norm over 3N; zero at the ends and beyond


def pull(
    positions: Float[Array, "images atoms 3"],
    energies: Float[Array, "images"],
    forces: Float[Array, "images atoms 3"],
    *,
    stiffness: Float[Array, "segments"],
    climbing: Bool[Array, ""],
    count: Int[Array, ""],
) -> Pull:
    """The force that relaxes a band.

    Args:
        positions: Å.
        energies: eV.
        forces: of the potential, eV/Å; zero for atoms that must not move.
        stiffness: of the spring of each segment, eV/Å^2 (``springs``).
        climbing: whether the highest image goes up along the path; it does so only while it is
            higher than both ends, otherwise there is no saddle to climb.
        count: number of images; those beyond are padding.
    """
    steps = positions[1:] - positions[:-1]
    lengths = jnp.sqrt((steps**2).sum(axis=(1, 2)))
    index = jnp.arange(positions.shape[0])
    inner = (index > 0) & (index < count - 1)
    tangent = jnp.where(_column(inner), tangents(steps, energies), 0.0)
    along = (forces * tangent).sum(axis=(1, 2))
    tension = jnp.pad(jnp.diff(stiffness * lengths), 1)
    top = jnp.argmax(jnp.where(inner, energies, -jnp.inf))
    higher = energies[top] > jnp.maximum(energies[0], energies[count - 1])
    climber = climbing & higher & (index == top)
    change = jnp.where(climber, -2 * along, tension - along)
    force = jnp.where(_column(inner), forces + _column(change) * tangent, 0.0)
    return Pull(force, jnp.sqrt((force**2).sum(axis=-1)).max(axis=-1), top, tangent)


def tangents(
    steps: Float[Array, "segments atoms 3"], energies: Float[Array, "images"]
) -> Float[Array, "images atoms 3"]:
    """Improved tangents; at the ends, of the segment there. Unit norm over 3N.

    The uphill neighbour decides; at extrema both do, weighted by their differences in energy, so
    that the direction does not jump.
    """
    forward = jnp.concatenate([steps, steps[-1:]])
    backward = jnp.concatenate([steps[:1], steps])
    rise = jnp.diff(energies)
    ahead = jnp.append(rise, rise[-1])
    behind = jnp.concatenate([rise[:1], rise])
    larger = jnp.maximum(jnp.abs(ahead), jnp.abs(behind))
    smaller = jnp.minimum(jnp.abs(ahead), jnp.abs(behind))
    up = ahead + behind > 0
    # Weights of the forward and the backward segment.
    first = jnp.where(up, larger, smaller)
    second = jnp.where(up, smaller, larger)
    monotonic = (ahead > 0) & (behind > 0) | (ahead < 0) & (behind < 0)
    first = jnp.where(monotonic, ahead > 0, first)
    second = jnp.where(monotonic, ahead < 0, second)
    flat = (first == 0) & (second == 0)  # equal energies have no uphill side
    mixed = _column(jnp.where(flat, 1.0, first)) * forward
    mixed += _column(jnp.where(flat, 1.0, second)) * backward
    norm = jnp.sqrt((mixed**2).sum(axis=(1, 2)))
    return mixed / _column(jnp.where(norm > 0, norm, 1.0))


def springs(
    energies: Float[Array, "images"], *, softest: Float[Array, ""], stiffest: Float[Array, ""]
) -> Float[Array, "segments"]:
    """Stiffness of each segment, eV/Å^2: stiffest at the top, softest below the higher end.

    Equal bounds give plain springs. Padding must repeat the last image.
    """
    reference = jnp.maximum(energies[0], energies[-1])
    highest = energies.max()
    height = jnp.maximum(energies[1:], energies[:-1])
    span = highest - reference
    part = (highest - height) / jnp.where(span > 0, span, 1.0)
    weighted = stiffest - (stiffest - softest) * part
    return jnp.where((height > reference) & (span > 0), weighted, softest)


def _column(values: Array) -> Array:
    return values[:, None, None]
