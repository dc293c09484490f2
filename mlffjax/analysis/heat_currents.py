"""Recorded heat currents made ready for conductivities: zero of energy, other currents, checks.

Currents are extensive (not divided by the volume), in eV Å per internal unit of time (Å sqrt(u/eV),
10.18 fs), trajectories of equal length along the first axis and samples along the second.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlffjax.arrays import Float
from mlffjax.errors import InputError
from mlffjax.units import FS, GPA, KB

WATT_PER_METRE_KELVIN = GPA * 1e-4 / FS
"""One W/(m K) in eV/(Å K) per internal unit of time."""

FEWEST_SAMPLES = 1000
HIGHEST_THZ = 25.0
"""Frequencies that may be present unless the caller knows better; no crystal of our elements has
higher ones. Sampling must resolve them: at least every 20 fs."""


class HeatCurrents(NamedTuple):
    """What ``dynamics.heat_flux.observe`` recorded, split."""

    heat: Float[np.ndarray, "trajectories samples 3"]
    species: Float[np.ndarray, "trajectories samples elements 3"]  # particle currents, Å per time


class Checked(NamedTuple):
    """Currents along the chosen axes with what turns their integrals into conductivities."""

    heat: Float[np.ndarray, "trajectories samples axes"]
    # Conductivity in W/mK = prefactor * integral of <J(0) J(t)> over t in fs.
    prefactor: Float[np.ndarray, "trajectories"]
    interval_fs: float
    flags: tuple[str, ...]


def heat_currents(
    records: Float[np.ndarray, "*trajectories samples rows 3"],
    mean_energies: Float[np.ndarray, "elements"],
) -> HeatCurrents:
    """Heat currents with another zero of energy, and particle currents, from recorded rows.

    The rows are potential part, convective part, then particle currents of the elements. Energies
    of atoms are taken relative to ``mean_energies``, eV: J - sum_s u_s N_s. For atoms that stay on
    their sites this changes no conductivity, but removes noise that grows with u.

    Raises:
        InputError: shapes do not fit.
    """
    records = np.asarray(records, np.float64)
    means = np.asarray(mean_energies, np.float64)
    if records.ndim not in (3, 4) or records.shape[-1] != 3 or records.shape[-2] != 2 + len(means):
        raise InputError(
            f"expected records [trajectories, samples, {2 + len(means)}, 3] for {len(means)} "
            f"elements, got shape {records.shape}"
        )
    records = records if records.ndim == 4 else records[None]
    species = records[:, :, 2:]
    heat = records[:, :, 0] + records[:, :, 1] - np.einsum("s,tnsx->tnx", means, species)
    return HeatCurrents(heat, species)


def independent_currents(
    species: Float[np.ndarray, "trajectories samples elements 3"],
) -> Float[np.ndarray, "trajectories samples others 3"]:
    """Particle currents without those of absent elements and without the last of the others.

    The last one follows from the others because the centre of mass is at rest.
    """
    species = np.asarray(species, np.float64)
    present = np.flatnonzero(species.any(axis=(0, 1, 3)))
    return species[:, :, present[:-1]]


def checked(
    currents: Float[np.ndarray, "trajectories samples 3"],
    times_fs: Float[np.ndarray, "samples"],
    *,
    volume: float,
    temperature_k: float | Float[np.ndarray, "trajectories"],
    axes: Sequence[int],
    ensemble: str,
    highest_thz: float = HIGHEST_THZ,
) -> Checked:
    """Check what a conductivity is to be made of, and pick the axes.

    Args:
        currents: extensive; a single trajectory may come without its axis.
        times_fs: equally spaced, fs.
        volume: Å³.
        temperature_k: mean temperature of the runs, or of each.
        axes: Cartesian components to average over, such as (0, 1) for in-plane.
        ensemble: of the production run; anything but "nve" is flagged.
        highest_thz: highest frequency that the motion contains.

    Raises:
        InputError: too few samples, unequal intervals, sampling too coarse for the highest
            frequency, values that are not finite, or volume or temperature missing.
    """
    heat = np.asarray(currents, np.float64)
    heat = heat if heat.ndim == 3 else heat[None]
    if heat.ndim != 3 or heat.shape[-1] != 3:
        raise InputError(f"expected currents [trajectories, samples, 3], got {heat.shape}")
    interval = _interval(np.asarray(times_fs, np.float64), heat.shape[1], highest_thz)
    if not np.isfinite(heat).all():
        trajectory, sample = np.argwhere(~np.isfinite(heat))[0, :2]
        raise InputError(
            f"trajectory {trajectory} holds a current that is not finite, first at sample "
            f"{sample}; cut the series where the run failed"
        )
    axes = tuple(axes)
    if not axes or len(set(axes)) != len(axes) or not set(axes) <= {0, 1, 2}:
        raise InputError(f"expected different axes of 0, 1, 2, got {axes}")
    volume = float(_positive(volume, "volume in Å³", 1)[0])
    temperature = _positive(temperature_k, "temperature in K", len(heat))
    prefactor = FS / (WATT_PER_METRE_KELVIN * KB * volume * temperature**2)
    return Checked(heat[:, :, axes], prefactor, interval, _flags(ensemble))


def _interval(times: np.ndarray, samples: int, highest_thz: float) -> float:
    """Sampling interval, fs."""
    if times.shape != (samples,):
        raise InputError(f"expected {samples} times in fs, got an array of shape {times.shape}")
    if samples < FEWEST_SAMPLES:
        raise InputError(
            f"expected at least {FEWEST_SAMPLES} samples of the current, got {samples}; run longer"
        )
    interval = (times[-1] - times[0]) / (samples - 1)
    steps = np.diff(times)
    if not np.isfinite(interval) or interval <= 0 or np.ptp(steps) > 1e-3 * interval:
        worst = int(np.argmax(np.abs(steps - np.median(steps))))
        raise InputError(
            f"expected equally spaced times, but sample {worst + 1} follows after {steps[worst]:g} "
            f"fs and most after {np.median(steps):g} fs; samples are missing or runs were joined"
        )
    longest = 1e3 / (2 * highest_thz)
    if interval > longest:
        raise InputError(
            f"sampled every {interval:g} fs, but frequencies up to {highest_thz:g} THz need one "
            f"every {longest:g} fs (Nyquist); sample more often, or state highest_thz if the "
            "vibrations are slower"
        )
    return float(interval)


def _positive(value: object, name: str, count: int) -> np.ndarray:
    """One positive number, or one per trajectory, as an array [count]."""
    given = np.asarray(np.nan if value is None else value, np.float64)
    if given.shape not in ((), (count,)) or not (np.isfinite(given).all() and (given > 0).all()):
        raise InputError(f"expected a positive {name}, one or one per trajectory, got {value!r}")
    return np.broadcast_to(given, (count,))


def _flags(ensemble: str) -> tuple[str, ...]:
    if ensemble == "nve":
        return ()
    return (
        f"the production run was {ensemble}, not nve: a thermostat scatters the heat current, and "
        "Langevin friction of 0.01 1/fs lowers a conductivity several times; repeat in nve",
    )
