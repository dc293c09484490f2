"""Velocity autocorrelation and vibrational densities of states."""

from typing import NamedTuple

import numpy as np

from mlffjax.analysis.correlation import summed_autocorrelation
from mlffjax.analysis.inputs import (
    Frames,
    checked_frames,
    checked_masses,
    checked_numbers,
    finite,
    interval,
)
from mlffjax.arrays import Bool, Float, Int
from mlffjax.errors import InputError

LONGEST_INTERVAL = 10.0  # fs; 50 THz, above the vibrations of all but bonds to hydrogen
EDGE, ALIASED = 0.1, 0.01  # weight in the top tenth of the band that betrays folded frequencies
PADDING = 4  # points of the spectrum for each independent one
BLOCKS = 5
CHUNK = 64 * 2**20  # bytes of the velocities of one group of atoms


class VelocityAutocorrelation(NamedTuple):
    """C(t) = Σ m v(0)·v(t), normalised to C(0) = 1."""

    times_fs: Float[np.ndarray, "lags"]
    value: Float[np.ndarray, "lags"]
    error: Float[np.ndarray, "lags"]
    # u Å²/fs², mean over atoms of m v²; three times kT in equilibrium.
    scale: Float[np.ndarray, ""]


class DensityOfStates(NamedTuple):
    """Vibrational density of states; species add up to the total."""

    frequency_thz: Float[np.ndarray, "frequencies"]
    total: Float[np.ndarray, "frequencies"]  # modes per THz; the sum times the spacing is 3N - 3
    total_error: Float[np.ndarray, "frequencies"]
    species: Int[np.ndarray, "species"]  # atomic numbers
    partial: Float[np.ndarray, "species frequencies"]
    partial_error: Float[np.ndarray, "species frequencies"]
    resolution_thz: Float[np.ndarray, ""]  # full width at half maximum of a sharp line
    # Whether there is weight where folded frequencies would be: then all of it is in doubt.
    aliased: Bool[np.ndarray, ""]


def velocity_autocorrelation(
    velocities: Frames,
    masses: Float[np.ndarray, "atoms"],
    times_fs: Float[np.ndarray, "frames"],
    *,
    longest_fs: float | None = None,
) -> VelocityAutocorrelation:
    """Mass-weighted VACF of atoms, of one species say, from all time origins.

    Error bars are from ``BLOCKS`` parts of the trajectory.

    Args:
        velocities: Å/fs, [frames, atoms, 3].
        masses: u.
        times_fs: equally spaced.
        longest_fs: longest lag; a tenth of the trajectory by default.

    Raises:
        InputError: shapes or times do not fit, or the longest lag does not fit into a fifth of the
            trajectory.
    """
    frames, atoms = checked_frames(velocities, "velocities")
    step = interval(times_fs, frames)
    lags = _lags(frames, step, longest_fs)
    masses = checked_masses(masses, atoms)
    mean, *blocks = _correlations(np.asarray(velocities[:]), masses, np.arange(atoms), lags)
    if mean[0] <= 0:
        raise InputError("expected velocities that are not all zero; no atom ever moved")
    blocks = np.array(blocks)
    spread = (blocks / blocks[:, :1]).std(axis=0, ddof=1) / np.sqrt(BLOCKS)
    return VelocityAutocorrelation(
        step * np.arange(lags), mean / mean[0], spread, np.asarray(mean[0] / atoms)
    )


def density_of_states(
    velocities: Frames,
    masses: Float[np.ndarray, "atoms"],
    numbers: Int[np.ndarray, "atoms"],
    times_fs: Float[np.ndarray, "frames"],
    *,
    longest_fs: float | None = None,
    highest_thz: float | None = None,
    modes: int | None = None,
) -> DensityOfStates:
    """Fourier transform of the mass-weighted VACF: g(ν), ∫ g dν = 3N - 3.

    The VACF is cut at ``longest_fs`` by half a Hann window, which sets the resolution. Every
    harmonic mode in equilibrium then has weight one, whatever its mass. Velocities obtained from
    positions by central differences lose a factor (sin(2πνΔt) / 2πνΔt)².

    Args:
        velocities: Å/fs, [frames, atoms, 3]; without motion of the centre of mass.
        masses: u.
        numbers: atomic numbers.
        times_fs: equally spaced, at most 10 fs apart.
        longest_fs: longest lag; a tenth of the trajectory by default.
        highest_thz: highest frequency of the material, if known; allows longer intervals as long as
            it is below 80 % of the Nyquist frequency.
        modes: what the density integrates to, if not 3N - 3.

    Raises:
        InputError: samples are too far apart, so that high frequencies would appear as low ones;
            also as ``velocity_autocorrelation``.
    """
    frames, atoms = checked_frames(velocities, "velocities")
    step = interval(times_fs, frames)
    check_sampling(step, highest_thz)
    numbers, lags = checked_numbers(numbers, atoms), _lags(frames, step, longest_fs)
    masses, species, every = checked_masses(masses, atoms), np.unique(numbers), velocities[:]
    correlations = np.stack(
        [
            _correlations(np.asarray(every), masses, np.flatnonzero(numbers == s), lags)
            for s in species
        ]
    )
    if correlations[:, 0, 0].sum() <= 0:
        raise InputError("expected velocities that are not all zero; no atom ever moved")
    modes = 3 * atoms - 3 if modes is None else modes
    frequency, spectra = _spectra(correlations, step)
    # Each part has its own temperature, which must not count as noise of the spectrum.
    norm = modes / (spectra.sum(axis=(0, 2), keepdims=True) * frequency[1])
    spectra = spectra * norm
    total = spectra.sum(axis=0)
    edge = total[0, int((1 - EDGE) * len(frequency)) :].sum() / total[0].sum()
    return DensityOfStates(
        frequency_thz=frequency,
        total=total[0],
        total_error=total[1:].std(axis=0, ddof=1) / np.sqrt(BLOCKS),
        species=species,
        partial=spectra[:, 0],
        partial_error=spectra[:, 1:].std(axis=1, ddof=1) / np.sqrt(BLOCKS),
        resolution_thz=np.asarray(1e3 / (step * lags)),
        aliased=np.asarray(edge > ALIASED),
    )


def check_sampling(interval_fs: float, highest_thz: float | None = None) -> None:
    """Refuse samples so far apart that vibrations appear at wrong frequencies.

    Raises:
        InputError: says how often to store velocities.
    """
    nyquist = 500.0 / interval_fs
    if highest_thz is None and interval_fs > LONGEST_INTERVAL * (1 + 1e-6):
        raise InputError(
            f"expected velocities every {LONGEST_INTERVAL:g} fs or more often, got every "
            f"{interval_fs:g} fs: frequencies above {nyquist:.3g} THz would appear below it; store "
            "velocities more often, or give highest_thz if the material has none that high"
        )
    if highest_thz is not None and not 0 < highest_thz <= 0.8 * nyquist:
        raise InputError(
            f"expected a highest frequency up to {0.8 * nyquist:.3g} THz for samples every "
            f"{interval_fs:g} fs, got {highest_thz:g} THz; store velocities every "
            f"{400 / highest_thz if highest_thz > 0 else LONGEST_INTERVAL:.3g} fs"
        )


def central_velocities(
    positions: Frames, times_fs: Float[np.ndarray, "frames"]
) -> Float[np.ndarray, "frames-2 atoms 3"]:
    """Velocities from positions, Å/fs, at all frames but the first and last.

    For trajectories that come without velocities. A vibration of frequency ν loses the factor
    sin(2πνΔt)/(2πνΔt) of its amplitude: 6 % at 5 THz and 20 fs.

    Raises:
        InputError: fewer than 3 frames, or times that are not equally spaced.
    """
    frames, _ = checked_frames(positions)
    step = interval(times_fs, frames)
    if frames < 3:
        raise InputError(f"expected at least 3 frames for central differences, got {frames}")
    places = finite(positions[:], "positions")
    return (places[2:] - places[:-2]) / (2 * step)


def _lags(frames: int, step: float, longest_fs: float | None) -> int:
    lags = frames // 10 if longest_fs is None else int(longest_fs / step + 1e-9) + 1
    if not 2 <= lags <= frames // BLOCKS:
        raise InputError(
            f"expected a longest lag from {step:g} to {step * (frames // BLOCKS - 1):g} fs for a "
            f"trajectory of {frames} frames, got {step * (lags - 1):g} fs"
        )
    return lags


def _correlations(
    velocities: np.ndarray, masses: np.ndarray, chosen: np.ndarray, lags: int
) -> np.ndarray:
    """Σ m v(0)·v(t) of some atoms: in the whole trajectory, then in each part, [1 + BLOCKS, lags].

    A few atoms at a time; velocities may be a large array in float32.
    """
    frames = len(velocities)
    length, width = frames // BLOCKS, max(1, CHUNK // (frames * 24))
    result = np.zeros((1 + BLOCKS, lags))
    for start in range(0, len(chosen), width):
        atoms = chosen[start : start + width]
        part = finite(velocities[:, atoms], "velocities") * np.sqrt(masses[atoms])[:, None]
        result[0] += summed_autocorrelation(part, lags=lags)
        for block in range(BLOCKS):
            inside = part[block * length : (block + 1) * length]
            result[1 + block] += summed_autocorrelation(inside, lags=lags)
    return result


def _spectra(correlations: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies, THz, and cosine transforms along the last axis."""
    lags = correlations.shape[-1]
    window = 0.5 * (1 + np.cos(np.pi * np.arange(lags) / lags))
    even = np.zeros((*correlations.shape[:-1], 2 * PADDING * lags))
    even[..., :lags] = correlations * window
    even[..., -lags + 1 :] = even[..., lags - 1 : 0 : -1]
    spectra = np.fft.rfft(even, axis=-1).real
    return np.fft.rfftfreq(even.shape[-1], step) * 1e3, spectra
