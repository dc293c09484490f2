"""Averages of a run, how a cell fluctuates, and how fast conserved and other quantities drift."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mlffjax import units
from mlffjax.analysis.inputs import (
    Frames,
    checked_cells,
    checked_frames,
    checked_masses,
    finite,
    interval,
)
from mlffjax.analysis.uncertainty import Estimate, mean_with_error
from mlffjax.arrays import Float
from mlffjax.errors import InputError

CHUNK = 256  # frames


class Trend(NamedTuple):
    """A straight line through a series, value = intercept + slope (t - t0)."""

    slope: Float[np.ndarray, ""]  # unit of the series per fs
    error: Float[np.ndarray, ""]
    intercept: Float[np.ndarray, ""]
    scatter: Float[np.ndarray, ""]  # root mean square about the line


class Lattice(NamedTuple):
    """Average cell; angles are between vectors 2 and 3, 3 and 1, 1 and 2."""

    lengths: Estimate  # [3], Å
    angles: Estimate  # [3], degrees
    volume: Estimate  # Å³


class Growth(NamedTuple):
    """How far a structure has moved from its first frame, and how fast it goes on."""

    rmsd: Float[np.ndarray, "frames"]  # Å, all atoms, centre of mass removed
    rmsd_trend: Trend  # Å/fs; saturates in a solid and depends on the first frame
    msd_trend: Trend  # Å²/fs; the slope that diffusion keeps


def averages(series: Mapping[str, Float[np.ndarray, "frames ..."]]) -> dict[str, Estimate]:
    """Mean, block error and correlation time of each series; components are treated one by one.

    Raises:
        InputError: names the series that is too short or not finite.
    """
    result = {}
    for name, values in series.items():
        try:
            result[name] = mean_with_error(np.asarray(values))
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
    return result


def pressure(tensor: Float[np.ndarray, "frames 3 3"]) -> Estimate:
    """Mean pressure: a third of the trace of the pressure tensor, in its unit.

    Raises:
        InputError: another shape, or values that are not finite.
    """
    if np.ndim(tensor) != 3 or np.shape(tensor)[1:] != (3, 3):
        raise InputError(f"expected pressure tensors [frames, 3, 3], got {np.shape(tensor)}")
    return mean_with_error(np.trace(np.asarray(tensor), axis1=1, axis2=2) / 3)


def lattice(cells: Float[np.ndarray, "frames 3 3"]) -> Lattice:
    """Lattice parameters and volume of a cell that changes in time.

    Raises:
        InputError: not one cell a frame, fewer than 2 frames, or a cell without volume.
    """
    if np.ndim(cells) != 3:
        raise InputError(
            f"expected cells [frames, 3, 3], got {np.shape(cells)}; a fixed cell has "
            "no fluctuations to average"
        )
    cells = checked_cells(cells, len(cells))
    lengths = np.linalg.norm(cells, axis=2)
    unit = cells / lengths[:, :, None]
    cosines = np.stack(
        [(unit[:, a] * unit[:, b]).sum(axis=1) for a, b in ((1, 2), (2, 0), (0, 1))], axis=1
    )
    return Lattice(
        lengths=mean_with_error(lengths),
        angles=mean_with_error(np.degrees(np.arccos(cosines.clip(-1, 1)))),
        volume=mean_with_error(abs(np.linalg.det(cells))),
    )


def bulk_modulus(volumes: Float[np.ndarray, "frames"], temperature_k: float) -> Estimate:
    """Isothermal bulk modulus K = kT <V> / var(V), GPa, of a run at constant pressure.

    Volumes must fluctuate freely; a barostat that only relaxes the cell gives a wrong K.

    Raises:
        InputError: temperature not positive, or a volume that never changes.
    """
    values = finite(volumes, "volumes")
    if not temperature_k > 0:
        raise InputError(f"expected a temperature > 0 K, got {temperature_k}")
    squares = mean_with_error((values - values.mean()) ** 2)
    if squares.mean <= 0:
        raise InputError("expected volumes that fluctuate, got a constant; use constant pressure")
    modulus = units.KB * temperature_k * values.mean() / squares.mean / units.GPA
    return squares._replace(
        mean=np.asarray(modulus), error=np.asarray(modulus * squares.error / squares.mean)
    )


def trend(series: Float[np.ndarray, "frames"], times_fs: Float[np.ndarray, "frames"]) -> Trend:
    """Least-squares line; its error allows for the correlation time of what is left.

    Raises:
        InputError: fewer than 3 samples, times that do not fit, or values that are not finite.
    """
    values = finite(series, "values")
    if values.ndim != 1 or len(values) < 3:
        raise InputError(f"expected a series of at least 3 samples, got shape {values.shape}")
    interval(times_fs, len(values))
    times = np.asarray(times_fs, np.float64) - np.mean(times_fs)
    offset = values[0]
    squares = times @ times
    slope = times @ (values - offset) / squares
    left = values - offset - np.mean(values - offset) - slope * times
    variance = left @ left / (len(values) - 2)
    persistence = 2 * mean_with_error(left).correlation_time
    return Trend(
        slope=np.asarray(slope),
        error=np.asarray(np.sqrt(variance * max(1.0, float(persistence)) / squares)),
        intercept=np.asarray(values.mean() + slope * times[0]),
        scatter=np.asarray(np.sqrt(left @ left / len(left))),
    )


def energy_drift(
    energies: Float[np.ndarray, "frames"], times_fs: Float[np.ndarray, "frames"], atoms: int
) -> Trend:
    """Drift of a conserved energy (eV, of the whole system) in meV/atom/ns.

    The intercept and the scatter are in meV/atom.

    Raises:
        InputError: as ``trend``, or no atoms.
    """
    if atoms < 1:
        raise InputError(f"expected 1 atom or more, got {atoms}")
    line = trend(energies, times_fs)
    return Trend(
        slope=line.slope * 1e9 / atoms,
        error=line.error * 1e9 / atoms,
        intercept=line.intercept * 1e3 / atoms,
        scatter=line.scatter * 1e3 / atoms,
    )


def displacement_growth(
    positions: Frames,
    masses: Float[np.ndarray, "atoms"],
    times_fs: Float[np.ndarray, "frames"],
) -> Growth:
    """RMSD from the first frame and its growth rate, after removing the centre of mass.

    Args:
        positions: Å, unwrapped, [frames, atoms, 3].
        masses: u.
        times_fs: equally spaced.

    Raises:
        InputError: fewer than 3 frames, or shapes and times that do not fit.
    """
    frames, atoms = checked_frames(positions)
    weights = checked_masses(masses, atoms)
    weights = weights / weights.sum()
    first = finite(positions[0:1], "positions")[0]
    squares = np.empty(frames)
    for start in range(0, frames, CHUNK):
        moved = finite(positions[start : start + CHUNK], "positions") - first
        moved = moved - np.einsum("tax,a->tx", moved, weights)[:, None]
        squares[start : start + CHUNK] = (moved**2).sum(axis=2).mean(axis=1)
    rmsd = np.sqrt(squares)
    return Growth(rmsd, trend(rmsd, times_fs), trend(squares, times_fs))
