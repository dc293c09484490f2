"""A path in the lattice of a potential: the third barrier, between the fixed and the relaxed one.

A potential whose lattice constants differ from the reference's is under strain on reference
geometries, and the strain differs along the path. Here the potential relaxes the cell of the first
image, all images follow affinely, and nothing else moves: what remains of the error of the barrier
is not due to the lattice mismatch.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from mlffjax.pathways import bands
from mlffjax.pathways.bands import Band
from mlffjax.pathways.relax import Relaxed, job, relax_jobs
from mlffjax.pathways.settings import Relaxation
from mlffjax.potential.base import Potential


class Matched(NamedTuple):
    """A band in a potential's own lattice."""

    band: Band
    strain: Float64[np.ndarray, "3 3"]  # symmetric, of the cell: D - 1


def matched(
    potentials: Sequence[Potential],
    band: Band,
    settings: Relaxation,
    *,
    batch_size: int | None = None,
) -> list[tuple[Relaxed, Matched]]:
    """The band in the lattice each potential prefers for its first image.

    Args:
        potentials: of one model.
        band: in the reference lattice.
        settings: of the relaxation of the first image; ``cell`` says which strains relax.
        batch_size: as ``relax``.

    Returns:
        For every potential, the relaxed first image (read its status before anything else) and the
        band with cell and positions multiplied by its deformation.

    Raises:
        InputError: the crystal has no period in the directions to be strained.
    """
    pairs = [(band, which) for which in range(len(potentials))]
    return matched_pairs(potentials, pairs, settings, batch_size=batch_size)


def matched_pairs(
    potentials: Sequence[Potential],
    pairs: Sequence[tuple[Band, int]],
    settings: Relaxation,
    *,
    batch_size: int | None = None,
) -> list[tuple[Relaxed, Matched]]:
    """The same for chosen bands with chosen potentials, all in one go.

    Args:
        potentials: of one model.
        pairs: a band and the index of its potential.
        settings: as ``matched``.
        batch_size: as ``relax``.

    Raises:
        InputError: as ``matched``.
    """
    jobs = [
        job(
            bands.systems(band)[0], which, strain=settings.cell,
            fixed=np.flatnonzero(band.fixed).tolist(), layers=band.layers.tolist(),
        )
        for band, which in pairs
    ]  # fmt: skip
    found = relax_jobs(potentials, jobs, settings, batch_size=batch_size)
    return [
        (one, deformed(band, one.deformation)) for (band, _), one in zip(pairs, found, strict=True)
    ]


def deformed(band: Band, deformation: Float64[np.ndarray, "3 3"]) -> Matched:
    """A band whose cell and positions are multiplied by a symmetric deformation from the right."""
    moved = band._replace(positions=band.positions @ deformation, cell=band.cell @ deformation)
    return Matched(moved, deformation - np.eye(3))
