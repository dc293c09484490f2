"""Mean square displacements and diffusion coefficients, with errors that know of correlations."""

from typing import NamedTuple

import numpy as np
from scipy.fft import next_fast_len

from mlffjax.analysis.inputs import (
    Frames,
    checked_frames,
    checked_masses,
    checked_numbers,
    finite,
    interval,
    symbol,
)
from mlffjax.analysis.linear_diffusion import (
    Fit,
    choose_window,
    exponent,
    fit_window,
)
from mlffjax.arrays import Bool, Float, Int
from mlffjax.errors import InputError

CM2_PER_S = 0.1
"""One Å²/fs in cm²/s."""

CHUNK = 64 * 2**20  # bytes of the spectra of one group of atoms
FRAMES = 256  # read at once where each frame stands for itself
LONGEST = 0.25  # of the trajectory; at longer lags hardly anything is averaged
SAMPLED = 18  # lags, spaced geometrically, that fits look at
UNSEEN = 3.0  # events that could have happened, at 95 % confidence, where none did (Poisson)
ONE_SIDED = 1.645  # standard deviations, 95 %


class MeanSquareDisplacement(NamedTuple):
    """<Δa Δb> as a function of time, averaged over atoms and all time origins."""

    times_fs: Float[np.ndarray, "lags"]
    tensor: Float[np.ndarray, "lags 3 3"]  # Å²; the trace is the usual MSD
    sampled: Int[np.ndarray, "sampled"]  # lags at which fourth moments were taken
    fourth: Float[np.ndarray, "sampled 3 3"]  # <Δa² Δb²>, Å⁴
    atoms: Int[np.ndarray, ""]
    frames: Int[np.ndarray, ""]

    def along(self, axes: str) -> Float[np.ndarray, "lags"]:
        """MSD within some directions, Å²: ``"xyz"``, ``"xy"``, ``"z"``.

        Raises:
            InputError: the axes are not some of x, y, z, each once.
        """
        return self.tensor[:, *(2 * [_axes(axes)])].sum(axis=1)


class Diffusion(NamedTuple):
    """A diffusion coefficient, or the answer that none can be seen."""

    # Å²/fs (times CM2_PER_S: cm²/s), with one standard deviation; nan unless ``seen``.
    coefficient: Float[np.ndarray, ""]
    error: Float[np.ndarray, ""]
    upper_bound: Float[np.ndarray, ""]  # Å²/fs, 95 % confidence; always given
    seen: Bool[np.ndarray, ""]
    exponent: Float[np.ndarray, ""]  # d log MSD / d log t in the window; below 1 by vibrations
    window_fs: Float[np.ndarray, "2"]
    intercept: Float[np.ndarray, ""]  # Å²; what vibrations add to the MSD


class DiffusionTensor(NamedTuple):
    """D_ab = 1/2 d<Δa Δb>/dt."""

    tensor: Float[np.ndarray, "3 3"]  # Å²/fs
    error: Float[np.ndarray, "3 3"]
    window_fs: Float[np.ndarray, "2"]


def centre(
    positions: Frames,
    masses: Float[np.ndarray, "atoms"],
    atoms: Bool[np.ndarray, "atoms"] | None = None,
) -> Float[np.ndarray, "frames 3"]:
    """Centre of mass of some atoms in each frame, Å; of all by default.

    Unwrapped positions of a periodic system have no origin, so displacements are measured against
    the centre of the whole system, or against a host lattice that may drift as a whole.

    Raises:
        InputError: shapes do not fit, masses are not positive, or no atom is chosen.
    """
    frames, count = checked_frames(positions)
    masses = checked_masses(masses, count)
    chosen = np.ones(count, bool) if atoms is None else np.asarray(atoms, bool)
    if chosen.shape != (count,) or not chosen.any():
        raise InputError(f"expected some of {count} atoms to be chosen, got {chosen}")
    weights = np.where(chosen, masses, 0.0) / masses[chosen].sum()
    parts = (positions[start : start + FRAMES] for start in range(0, frames, FRAMES))
    return np.concatenate([np.einsum("tax,a->tx", finite(p, "positions"), weights) for p in parts])


def mean_square_displacement(
    positions: Frames,
    times_fs: Float[np.ndarray, "frames"],
    *,
    relative_to: Float[np.ndarray, "frames 3"] | None = None,
) -> MeanSquareDisplacement:
    """MSD of atoms that are alike, for all lags, from all time origins.

    <(a(t+τ)-a(t)) (b(t+τ)-b(t))> is split into sums of squares, which are running sums, and a
    correlation, which is a product of Fourier transforms [1].

    Args:
        positions: Å, unwrapped, [frames, atoms, 3]; of one species, say.
        times_fs: equally spaced.
        relative_to: what the positions are measured against in each frame (``centre``).

    Raises:
        InputError: fewer than 2 frames, times that do not increase or are not equally spaced, or
            shapes that do not fit.

    References:
        [1] Calandrini et al., Collection SFN 12, 201 (2011), doi:10.1051/sfn/201112010.
    """
    frames, atoms = checked_frames(positions)
    step = interval(times_fs, frames)
    reference = np.zeros((frames, 3)) if relative_to is None else finite(relative_to, "centres")
    if reference.shape != (frames, 3):
        raise InputError(f"expected {frames} centres to be relative to, got {reference.shape}")
    length = int(next_fast_len(2 * frames - 1, True))  # pyright: ignore[reportArgumentType]
    width = max(1, CHUNK // (3 * length * 24))
    sampled, places = sampled_lags(frames), np.asarray(positions[:])
    tensor, fourth = np.zeros((frames, 3, 3)), np.zeros((len(sampled), 3, 3))
    for start in range(0, atoms, width):
        part = finite(places[:, start : start + width], "positions") - reference[:, None]
        # Atoms, directions, time: transforms run along contiguous memory. Starting from the origin
        # keeps the digits that the difference of two large sums would lose.
        part = np.ascontiguousarray((part - part[0]).transpose(1, 2, 0))
        tensor += _displacements(part, length)
        fourth += np.stack([_fourth_moments(part, lag) for lag in sampled])
    return MeanSquareDisplacement(
        times_fs=step * np.arange(frames),
        tensor=tensor / atoms,
        sampled=sampled,
        fourth=fourth / atoms,
        atoms=np.asarray(atoms),
        frames=np.asarray(frames),
    )


def by_species(
    positions: Frames,
    numbers: Int[np.ndarray, "atoms"],
    times_fs: Float[np.ndarray, "frames"],
    *,
    relative_to: Float[np.ndarray, "frames 3"] | None = None,
) -> dict[str, MeanSquareDisplacement]:
    """``mean_square_displacement`` of each species, by chemical symbol.

    Raises:
        InputError: as ``mean_square_displacement``, or the numbers do not fit.
    """
    _, atoms = checked_frames(positions)
    numbers, places = checked_numbers(numbers, atoms), np.asarray(positions[:])
    return {
        symbol(number): mean_square_displacement(
            places[:, numbers == number], times_fs, relative_to=relative_to
        )
        for number in np.unique(numbers)
    }


def diffusion_coefficient(
    msd: MeanSquareDisplacement,
    *,
    axes: str = "xyz",
    window_fs: tuple[float, float] | None = None,
    hop_length: float | None = None,
) -> Diffusion:
    """D from MSD = c + 2 d D t, d the number of axes: 6t in space, 4t in a plane, 2t along a line.

    The line is fitted by generalised least squares. Lags overlap in time and share displacements;
    the covariance of their MSDs is that of a Gaussian process with the fitted MSD, and what single
    hops add to it is taken from the fourth moment of the displacements. Atoms count as independent.

    The window, if not given, ends at a quarter of the trajectory and starts as early as the MSD is
    a straight line from there on: no curvature beyond a tenth of the slope or twice its own error.
    No diffusion was seen if there is no such window or if D is not two errors above zero; if the
    hop length is known, also if D amounts to fewer than three hops of all atoms together, or if
    displacements are shorter than hops. Give it: a few atoms that rattle slowly in cages cannot be
    told from diffusing ones by statistics alone. The upper bound then is the D that would make all
    motion diffusion or, if larger, three hops in the time of the trajectory.

    The criterion d log MSD / d log t = 1 is not used: vibrations of 10 % of the MSD violate it, and
    asking for it selects trajectories that happen to move much (30 % bias in a test). The exponent
    is given for information.

    Args:
        msd: of ``mean_square_displacement``.
        axes: directions, such as ``"xyz"``, ``"xy"``, ``"z"``.
        window_fs: first and last lag of the fit.
        hop_length: distance of neighbouring sites, Å.

    Raises:
        InputError: unknown axes, a window with fewer than 4 lags of the trajectory in it, or a
            trajectory of fewer than 40 frames.

    References:
        Michalet, Phys. Rev. E 82, 041914 (2010), doi:10.1103/PhysRevE.82.041914;
        He et al., npj Comput. Mater. 4, 18 (2018), doi:10.1038/s41524-018-0074-y.
    """
    chosen, value = _axes(axes), msd.along(axes)
    dimensions, atoms, step = len(chosen), int(msd.atoms), float(msd.times_fs[1])
    lags = _lags(msd, window_fs)
    search = choose_window if window_fs is None else fit_window
    fit = search(lags, value / dimensions, atoms * dimensions)
    slope = fit.slope / (2 * step)
    error = np.hypot(fit.slope_error / (2 * step), abs(slope) * _hops(msd, chosen, fit))
    # D of one event of unit length among all atoms in the time of the trajectory.
    event = 1 / (2 * dimensions * atoms * float(msd.times_fs[-1]))
    rare = UNSEEN * (hop_length or 0.0) ** 2 * event
    seen = fit.linear and slope > 2 * error and slope >= rare and _far(msd, chosen, hop_length)
    last = fit.lags[-1]
    every_motion = value[last] / (2 * dimensions * msd.times_fs[last])
    bound = slope + ONE_SIDED * error
    values = (
        slope if seen else np.nan,
        error if seen else np.nan,
        bound if seen else max(bound, every_motion, rare),
        seen,
        exponent(fit.lags, value),
        step * fit.lags[[0, -1]],
        dimensions * fit.intercept,
    )
    return Diffusion(*map(np.asarray, values))


def diffusion_tensor(
    msd: MeanSquareDisplacement, *, window_fs: tuple[float, float]
) -> DiffusionTensor:
    """All components of D in one window, say that of the ``diffusion_coefficient`` in a plane.

    A component that is zero within its error is no diffusion or none that was seen.

    Raises:
        InputError: as ``diffusion_coefficient``.
    """
    lags, step, atoms = _lags(msd, window_fs), float(msd.times_fs[1]), int(msd.atoms)
    fits = [fit_window(lags, msd.tensor[:, a, a], atoms) for a in range(3)]
    error = np.array(
        [np.hypot(f.slope_error, f.slope * _hops(msd, [a], f)) for a, f in enumerate(fits)]
    )
    slope = np.diag([fit.slope for fit in fits])
    errors = np.diag(error)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        weights = 0.5 * (fits[a].weights + fits[b].weights)
        slope[a, b] = slope[b, a] = weights @ msd.tensor[lags, a, b]
        product = fits[a].slope * fits[b].slope
        shared = min(1.0, slope[a, b] ** 2 / product) if product > 0 else 0.0
        # <Δa²Δb²> - <ΔaΔb>² = <Δa²><Δb²> + <ΔaΔb>² against 2 <Δa²>² on the diagonal.
        errors[a, b] = errors[b, a] = np.sqrt(error[a] * error[b] * (1 + shared) / 2)
    return DiffusionTensor(slope / (2 * step), errors / (2 * step), step * lags[[0, -1]])


def sampled_lags(frames: int) -> Int[np.ndarray, "sampled"]:
    """Lags that fits look at: geometric from 1 to a quarter of the frames."""
    return np.unique(np.geomspace(1, max(1, int(LONGEST * frames)), SAMPLED).round().astype(int))


def _lags(msd: MeanSquareDisplacement, window_fs: tuple[float, float] | None) -> np.ndarray:
    if int(msd.frames) < 40:
        raise InputError(
            f"expected at least 40 frames to fit a diffusion coefficient, got {int(msd.frames)}; "
            "run longer or store positions more often"
        )
    if window_fs is None:
        return msd.sampled
    first, last = (value / float(msd.times_fs[1]) for value in window_fs)
    inside = np.arange(max(1, int(np.ceil(first - 1e-9))), min(last, int(msd.frames) - 2) + 1e-9)
    if len(inside) < 4:
        raise InputError(
            f"expected a window with at least 4 lags from {msd.times_fs[1]:g} to "
            f"{msd.times_fs[-2]:g} fs, got {window_fs[0]:g} to {window_fs[1]:g} fs"
        )
    places = np.unique(np.geomspace(inside[0], inside[-1], SAMPLED).round().astype(int))
    return places if len(places) >= 4 else inside.astype(int)


def _hops(msd: MeanSquareDisplacement, axes: list[int], fit: Fit) -> float:
    """Relative error that motion by rare events adds: 1/sqrt(number of hops) if all are alike.

    For rare independent jumps the excess of the fourth moment over a normal distribution's grows
    like the lag, and in units of the squared MSD it is 1/(number of jumps during the lag). It is
    read at the lag at which diffusion begins to outweigh vibrations.
    """
    if fit.slope <= 0:
        return 0.0
    begins = max(fit.lags[0], min(fit.intercept / fit.slope, msd.sampled[-1]))
    place = int(np.searchsorted(msd.sampled, begins).clip(0, len(msd.sampled) - 1))
    lag = int(msd.sampled[place])
    tensor = msd.tensor[lag][np.ix_(axes, axes)]
    normal = np.trace(tensor) ** 2 + 2 * (tensor**2).sum()
    excess = max(0.0, msd.fourth[place][np.ix_(axes, axes)].sum() - normal)
    moved = fit.slope * len(axes) * lag
    return float(np.sqrt(excess * lag / (int(msd.frames) * int(msd.atoms))) / moved)


def _far(msd: MeanSquareDisplacement, axes: list[int], hop_length: float | None) -> bool:
    """Whether displacements are as long as hops, those counting most that make up the MSD.

    <Δ⁴>/<Δ²> is the square of the hop for rare hops, however few atoms hop, and small for all that
    rattle about their sites, however many they are.
    """
    fourth = msd.fourth[-1][np.ix_(axes, axes)].sum()
    second = np.trace(msd.tensor[msd.sampled[-1]][np.ix_(axes, axes)])
    return hop_length is None or fourth >= 0.5 * hop_length**2 * second


def _axes(axes: str) -> list[int]:
    if not axes or len(set(axes)) < len(axes) or set(axes) - set("xyz"):
        raise InputError(f"expected axes such as 'xyz', 'xy' or 'z', got {axes!r}")
    return ["xyz".index(axis) for axis in axes]


def _displacements(part: np.ndarray, length: int) -> np.ndarray:
    """Σ_atoms <Δa Δb> [lags, 3, 3] of positions [atoms, 3, frames]."""
    frames = part.shape[-1]
    spectra = np.fft.rfft(part, length, axis=-1)
    pairs = frames - np.arange(frames)
    result = np.empty((frames, 3, 3))
    for a in range(3):
        for b in range(a, 3):
            products = np.einsum("it,it->t", part[:, a], part[:, b])
            squares = np.cumsum(products)[::-1] + np.cumsum(products[::-1])[::-1]
            power = np.einsum("if,if->f", spectra[:, a].conj(), spectra[:, b]).real
            crossed = np.fft.irfft(power, length)[:frames]
            result[:, a, b] = result[:, b, a] = (squares - 2 * crossed) / pairs
    result[0] = 0.0
    return result


def _fourth_moments(part: np.ndarray, lag: int) -> np.ndarray:
    """Σ_atoms <Δa² Δb²> from origins an eighth of the lag apart; closer ones add nothing new."""
    origins = np.arange(0, part.shape[-1] - lag, max(1, lag // 8))
    squares = (part[..., origins + lag] - part[..., origins]) ** 2
    return np.einsum("iat,ibt->ab", squares, squares) / len(origins)
