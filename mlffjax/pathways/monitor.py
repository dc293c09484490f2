"""Watching a relaxation: whether it still makes sense, and what went wrong if it does not.

``check`` runs on the device at every iteration; the rest turns its codes into words on the host.
"""

from typing import NamedTuple

import jax.numpy as jnp

from mlffjax.arrays import Array, Bool, Float, Int
from mlffjax.graphs.graph import Graph, edge_vectors, from_senders

# What ``check`` returns. The first one that is true is reported: causes come before consequences.
FINE, CLOSE, NONFINITE, HOLE, HIGH, SPIKE, DETACHED = range(7)
RECENT = 20  # iterations whose median residual says what is usual

REASONS = {
    NONFINITE: "energies or forces are not finite",
    CLOSE: "two atoms are on top of each other",
    HOLE: "the energy falls without bound",
    HIGH: "the energy rises without bound",
    SPIKE: "the forces grow suddenly",
    DETACHED: "the layers come apart",
}


class Limits(NamedTuple):
    """Bounds beyond which a relaxation is stopped."""

    closest: Float[Array, ""]  # distance over the sum of covalent radii
    span: Float[Array, ""]  # eV above or below the reference energy
    spike: Float[Array, ""]  # eV/Å; smaller forces are never a spike
    growth: Float[Array, ""]  # residual over the median of the last ones
    detach: Float[Array, ""]  # Å by which the gap between layers may change


class Contact(NamedTuple):
    """The closest pair of one structure."""

    distance: Float[Array, ""]  # Å
    ratio: Float[Array, ""]  # smallest distance over the sum of covalent radii
    atom: Int[Array, ""]  # one of the pair with that ratio


class Finding(NamedTuple):
    """The result of ``check``."""

    code: Int[Array, ""]
    image: Int[Array, ""]
    atom: Int[Array, ""]  # -1 where no single atom is to blame


def contact(graph: Graph, radii: Float[Array, "atoms"], outside: float) -> Contact:
    """The closest pair of a structure, from the edges its graph has.

    Args:
        graph: of one structure.
        radii: covalent radii, Å.
        outside: the length of padded edges, Å; returned where there is no edge.
    """
    lengths = jnp.sqrt((edge_vectors(graph, outside) ** 2).sum(-1))
    sums = radii[:, None] + from_senders(graph, radii)
    # Padded edges get a sum of radii of one side only, and a length beyond the cutoff.
    ratios = jnp.where(graph.edge_mask, lengths / sums, jnp.inf)
    atom = jnp.argmin(ratios.min(axis=1))
    return Contact(lengths.min(), ratios.min(), atom)


def gaps(
    positions: Float[Array, "images atoms 3"],
    members: Bool[Array, "layers atoms"],
    normal: Float[Array, "3"],
    lift: Float[Array, "atoms"],
) -> Float[Array, "images layers-1"]:
    """Empty height between neighbouring layers, Å: lowest atom above less highest atom below.

    Args:
        positions: Å.
        members: the atoms of each layer, layers from below.
        normal: unit vector across the layers.
        lift: what to add to heights so that atoms of one layer are at one height, Å: whole periods.
    """
    height = (positions @ normal + lift)[:, None]
    lowest = jnp.where(members, height, jnp.inf).min(axis=-1)
    highest = jnp.where(members, height, -jnp.inf).max(axis=-1)
    return lowest[:, 1:] - highest[:, :-1]


def check(
    limits: Limits,
    *,
    energies: Float[Array, "images"],
    forces: Float[Array, "images atoms 3"],
    residual: Float[Array, "images"],
    contacts: Contact,
    gap_change: Float[Array, "images"],
    active: Bool[Array, "images"],
    recent: Float[Array, "recent"],
    reference: Float[Array, ""],
) -> Finding:
    """The first thing that is wrong with a band or structure, if any.

    Args:
        limits: bounds.
        energies: of the images, eV.
        forces: eV/Å.
        residual: of the images, eV/Å.
        contacts: of the images; leading axis of images.
        gap_change: largest change of a gap between layers in each image, Å.
        active: images that were evaluated.
        recent: the last residuals of the whole, eV/Å.
        reference: energy to compare with, eV.
    """
    unsound = active & ~(jnp.isfinite(energies) & jnp.isfinite(forces).all(axis=(1, 2)))
    ratio = jnp.where(active, contacts.ratio, jnp.inf)
    rise = jnp.where(active & ~unsound, energies - reference, 0.0)
    usual = jnp.maximum(limits.spike, limits.growth * jnp.median(recent))
    size = jnp.where(active, residual, 0.0)
    widened = jnp.where(active, gap_change, 0.0)
    judged = (  # by code: whether it is wrong, and the image that is worst
        (ratio.min() < limits.closest, jnp.argmin(ratio)),
        (unsound.any(), jnp.argmax(unsound)),
        (rise.min() < -limits.span, jnp.argmin(rise)),
        (rise.max() > limits.span, jnp.argmax(rise)),
        (size.max() > usual, jnp.argmax(size)),
        (widened.max() > limits.detach, jnp.argmax(widened)),
    )
    wrong, images = (jnp.stack(column) for column in zip(*judged, strict=True))
    code = jnp.where(wrong.any(), 1 + jnp.argmax(wrong), FINE)
    image = jnp.where(wrong.any(), images[jnp.argmax(wrong)], 0)
    strongest = jnp.argmax((forces[image] ** 2).sum(axis=-1))
    atom = jnp.where(code == CLOSE, contacts.atom[image], strongest)
    atom = jnp.where((code == FINE) | (code == DETACHED), -1, atom)
    return Finding(*(jnp.asarray(value, jnp.int32) for value in (code, image, atom)))


def sentence(code: int, iteration: int, image: int, atom: int) -> str:
    """What went wrong, where and when."""
    place = f"in image {image}" + (f", atom {atom}" if atom >= 0 else "")
    return f"{REASONS[code]} {place}, at iteration {iteration}"


def cause(code: int, cures: list[str], *, cured: bool) -> str:
    """What a failure is due to, judged by what cured it.

    Args:
        code: how the last attempt went wrong, ``FINE`` if it only took too long.
        cures: what was changed for each attempt after the first, in order.
        cured: whether the last attempt came to an end.
    """
    if cured:
        return {
            "idpp": "the starting path led through a bad geometry; another interpolation cured it",
            "smaller steps": "steps were too long; smaller ones cured it",
            "relaxed ends": "the ends are no minima of this potential; relaxing them cured it",
            "overdamped": "inertial steps would not settle on this band; overdamped ones did",
        }[cures[-1]]
    if code == FINE:
        return "no try settled within the iterations allowed; allow more, or a larger force"
    return {
        NONFINITE: "the potential gives no finite numbers on the way",
        CLOSE: "the potential lets atoms collapse onto each other: it has a hole at short distance",
        HOLE: "the potential has a hole: energies far below any structure it was made for",
        HIGH: "the potential has no passage here: energies far above the ends, also from other "
        "starting paths",
        SPIKE: "the potential is rough: forces explode in geometries it was not made for",
        DETACHED: "the potential does not bind the layers along this path",
    }[code]
