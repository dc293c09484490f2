"""Hops of atoms from site to site, counted one by one."""

from typing import NamedTuple

import numpy as np
import scipy.stats

from mlffjax.analysis.inputs import Frames, checked_cells, checked_frames, finite, interval
from mlffjax.arrays import Float, Int
from mlffjax.errors import InputError

CHUNK = 32 * 2**20  # bytes of the distances of one group of frames


class Hops(NamedTuple):
    """Which site each atom is at, and how often that changed."""

    site: Int[np.ndarray, "frames atoms"]  # last site visited; -1 before the first
    count: Int[np.ndarray, "atoms"]
    # 1/fs, per atom; with the standard deviation and the 95 % interval of a Poisson process, whose
    # upper end is a bound where no hop was seen.
    rate: Float[np.ndarray, ""]
    rate_error: Float[np.ndarray, ""]
    rate_interval: Float[np.ndarray, "2"]
    mean_square_length: Float[np.ndarray, ""]  # Å², of the hops seen; nan if none


def count_hops(
    positions: Frames,
    times_fs: Float[np.ndarray, "frames"],
    sites: Float[np.ndarray, "sites 3"],
    cells: Float[np.ndarray, "... 3 3"],
    *,
    radius: float,
) -> Hops:
    """Follow atoms between sites of a periodic host.

    An atom arrives at a site when it comes within ``radius`` of it and stays there until it is
    within ``radius`` of another: wandering off and back is no hop. A periodic image of a site is
    another site.

    Args:
        positions: Å, unwrapped, relative to what the sites are fixed to, [frames, atoms, 3].
        times_fs: equally spaced, often enough to see an atom at every site it visits.
        sites: Å; one of each set of periodic images.
        cells: Å, one for all frames or one for each; sites follow the cell.
        radius: Å; less than half the distance of neighbouring sites.

    Raises:
        InputError: spheres of ``radius`` overlap, or shapes do not fit.
    """
    frames, atoms = checked_frames(positions)
    step = interval(times_fs, frames)
    cells = checked_cells(cells, frames)
    sites = finite(sites, "sites")
    if sites.ndim != 2 or sites.shape[1] != 3 or not len(sites):
        raise InputError(f"expected sites of shape [sites, 3], got {sites.shape}")
    scaled = sites @ np.linalg.inv(cells[0])
    _check_radius(scaled, cells[0], radius)
    site, image = np.empty((frames, atoms), np.int64), np.empty((frames, atoms, 3), np.int64)
    size = max(1, CHUNK // (8 * 27 * 3 * atoms * len(sites)))
    for start in range(0, frames, size):
        part = slice(start, start + size)
        places = finite(positions[part], "positions")
        site[part], image[part] = _nearest(places, scaled, cells[part], radius)
    _carry(site, image)
    moved = (site[1:] != site[:-1]) | (image[1:] != image[:-1]).any(axis=2)
    moved &= site[:-1] >= 0
    count = moved.sum(axis=0)
    when, who = np.nonzero(moved)
    ends = (scaled[site[1:]] + image[1:])[when, who] - (scaled[site[:-1]] + image[:-1])[when, who]
    lengths = np.einsum("hk,hkx->hx", ends, cells[when + 1])
    total, time = int(count.sum()), step * (frames - 1) * atoms
    low = scipy.stats.chi2.ppf(0.025, 2 * total) / 2 if total else 0.0
    high = scipy.stats.chi2.ppf(0.975, 2 * total + 2) / 2
    return Hops(
        site=site,
        count=count,
        rate=np.asarray(total / time),
        rate_error=np.asarray(np.sqrt(total) / time),
        rate_interval=np.array([low, high]) / time,
        mean_square_length=np.asarray((lengths**2).sum(axis=1).mean() if total else np.nan),
    )


def _check_radius(scaled: np.ndarray, cell: np.ndarray, radius: float) -> None:
    apart = scaled[:, None] - scaled
    images = (apart - np.round(apart))[..., None, :] + _shifts()
    distance = np.linalg.norm(images @ cell, axis=-1)
    closest = distance[distance > 1e-6].min()
    doubled = (distance < 1e-6).sum() > len(scaled)
    if doubled or not 0 < radius < 0.5 * closest:
        raise InputError(
            f"expected different sites and a radius between 0 and {closest / 2:.3f} Å, half the "
            f"distance of the closest, got {radius}"
            + (" and sites that are images of each other" if doubled else "")
        )


def _nearest(
    places: np.ndarray, scaled: np.ndarray, cells: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Site and its image within the radius, or -1, for all frames and atoms."""
    fractional = np.einsum("tax,txk->tak", places, np.linalg.inv(cells))
    apart = fractional[:, :, None] - scaled
    base = np.round(apart)
    # Rounding finds the image in a nearly orthogonal cell; in a skewed one a neighbour may be
    # closer.
    left = (apart - base)[..., None, :] - _shifts()
    squares = (np.einsum("tasik,tkx->tasix", left, cells) ** 2).sum(axis=-1)
    flat = squares.reshape(*squares.shape[:2], -1)
    best = flat.argmin(axis=2)
    inside = np.take_along_axis(flat, best[..., None], 2)[..., 0] <= radius**2
    which, shift = np.divmod(best, len(_shifts()))
    chosen = np.take_along_axis(base, which[..., None, None], axis=2)[:, :, 0]
    image = np.where(inside[..., None], chosen + _shifts()[shift], 0)
    return np.where(inside, which, -1), image.astype(np.int64)


def _carry(site: np.ndarray, image: np.ndarray) -> None:
    """Between sites, an atom belongs to the last one; in place."""
    visited = np.where(site >= 0, np.arange(len(site))[:, None], 0)
    last = np.maximum.accumulate(visited, axis=0)
    site[:] = np.take_along_axis(site, last, axis=0)
    image[:] = np.take_along_axis(image, last[..., None], axis=0)


def _shifts() -> np.ndarray:
    return np.stack(np.meshgrid(*3 * [[-1, 0, 1]], indexing="ij"), axis=-1).reshape(-1, 3)
