"""The barrier a potential finds for itself: an elastic band relaxed to its own path.

Three barriers are told apart and never mixed. ``barrier`` is the relaxed one: ends and images in
the potential's own minima and saddle, in the reference cell. ``barrier_fixed`` is the energy
along the reference's images as they are (the kind ``fixed_path`` says more about it).
``barrier_matched`` is the same after the images were brought to the potential's own lattice.

A band that did not converge, or has no maximum between its ends, has no barrier: the metric is not
a number, ``height_last`` tells how high the last sound band was, and a warning says what happened.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import numpy as np
import pydantic
from jaxtyping import Float64

from mlffjax.errors import ConfigError
from mlffjax.pathways import bands, fixed, hermite, interpolate, monitor
from mlffjax.pathways.bands import Band
from mlffjax.pathways.elastic import relax_bands
from mlffjax.pathways.lattice import matched_pairs
from mlffjax.pathways.outcome import SAMPLES, Outcome, curve
from mlffjax.pathways.settings import Elastic, Relaxation, Strain
from mlffjax.potential.base import Potential
from mlffjax.probes._example import migration
from mlffjax.probes._probe import Context, Probe, Section
from mlffjax.structures import layers, paths

STATUSES = ("converged", "max_steps", "exploded", "detached", "endpoint_collapsed")
NAN = float("nan")

_UNITS = {
    "barrier": "eV",
    "barrier_reverse": "eV",
    "barrier_hermite": "eV",
    "barrier_fixed": "eV",
    "asymmetry": "eV",
    "height_last": "eV",
    "converged": "",
    "status": "",
    "failure": "",
    "attempts": "",
    "iterations": "",
    "residual": "eV/Å",
    "residual_top": "eV/Å",
    "residual_ends": "eV/Å",
    "end_shift": "Å",
    "path_length": "Å",
    "path_shift": "Å",
}
_MATCHED = {"barrier_matched": "eV", "volume_strain": "", "strain_largest": ""}
_AGAINST_ENERGIES = {
    "barrier_reference": "eV",
    "asymmetry_reference": "eV",
    "barrier_error": "eV",
    "asymmetry_error": "eV",
    "barrier_fixed_error": "eV",
}
_AGAINST_MATCHED = {"barrier_matched_error": "eV"}


class Config(Section):
    """A path to be relaxed by each potential."""

    uses: ClassVar[frozenset[str]] = frozenset({"paths"})

    path: str = pydantic.Field(min_length=1)
    """Name of the path."""
    start: Literal["path", "linear", "idpp"] = "path"
    """Whether the reference's images are the first guess, or an interpolation of its ends."""
    images: int | None = pydantic.Field(default=None, ge=3)
    """Number of images; by default as many as the path has."""
    fixed: tuple[int, ...] = ()
    """Atoms that must not move, counted from 0."""
    layered: bool = False
    """Whether to find layers in the first image and watch the gaps between them."""
    lattice: Strain = "full"
    """Strains of the cell that are relaxed for ``barrier_matched``; ``none`` leaves it out."""
    relaxation: Elastic = Elastic()
    """Springs, tolerance, optimiser, ends, retry."""


class Task(NamedTuple):
    """What is to be done with each potential; see ``prepare``."""

    config: Config
    start: Band
    reference: Band  # the path as it is
    energy: Float64[np.ndarray, " images"] | None


def example() -> tuple[Config, Context]:
    """An atom that hops to the next hollow of a small crystal of argon."""
    relaxation = Elastic(fmax=0.02, endpoint_fmax=0.01, optimizer="ode12r")
    config = Config(name="relaxed_hop", path="hop", relaxation=relaxation, lattice="isotropic")
    return config, migration(images=5)


def prepare(config: Config, path: paths.Path) -> Task:
    """Check a path and make the bands to begin with.

    Raises:
        ConfigError: a lattice is asked of a path without periods.
        InputError: equal ends, fixed atoms that do not exist or move along the path, or no layers
            to be found.
    """
    first = path.frames[0].system
    if config.lattice != "none" and not first.pbc.any():
        raise ConfigError(
            f"probe {config.name}: path {path.name!r} has no period, so there is no lattice to "
            f"relax; expected lattice: none, got {config.lattice!r}"
        )
    numbers = layers.find(first).numbers.tolist() if config.layered else ()
    reference = bands.from_path(path, fixed=config.fixed, layers=numbers)
    return Task(config, _start(config, reference), reference, paths.energies(path))


def build(config: Config, context: Context) -> Probe:
    """Prepare the band and what to compare with.

    Raises:
        ConfigError: the path is not known, or as ``prepare``.
        InputError: as ``prepare``.
    """
    path = context.path(config.path)
    task = prepare(config, path)
    reference, energy = task.reference, task.energy
    units = _UNITS | _MATCHED | _AGAINST_ENERGIES | _AGAINST_MATCHED
    length = interpolate.arclength(reference.positions)
    constants = {"arclength_reference": length}
    if energy is not None:
        constants["energy_reference"] = energy
    return Probe(
        name=config.name,
        measure=functools.partial(_measure, task),
        units=units,
        compiled=False,
        constants=constants,
        reasons=_reasons(config, energy is not None),
        inspect=functools.partial(_inspect, path.name),
    )


def _start(config: Config, reference: Band) -> Band:
    count = config.images or len(reference.positions)
    places = reference.positions
    if config.start == "path":
        if count != len(places):
            places = interpolate.resampled(places, count)
        return reference._replace(positions=places)
    places = interpolate.linear(places[0], places[-1] - places[0], count)
    if config.start == "idpp":
        places = interpolate.idpp(places, reference.cell, reference.pbc, config.fixed)
    return reference._replace(positions=places)


def _reasons(config: Config, labelled: bool) -> dict[str, str]:
    reasons: dict[str, str] = {}
    if not labelled:
        missing = f"path {config.path!r} has no reference energies"
        reasons |= dict.fromkeys(_AGAINST_ENERGIES | _AGAINST_MATCHED, missing)
    if config.lattice == "none":
        reasons |= dict.fromkeys(_MATCHED | _AGAINST_MATCHED, "the lattice was to be left alone")
    return reasons


def _measure(task: Task, potential: Potential) -> dict[str, Any]:
    outcome = relaxed(task, potential)
    fixed = heights(potential, task.reference).max()
    metrics = outcome_metrics(task, outcome) | {"barrier_fixed": fixed}
    if task.config.lattice != "none":
        metrics |= matched_metrics(task, potential)
    if task.energy is not None:
        reference, asymmetry = task.energy.max(), task.energy[-1]
        metrics |= {
            "barrier_reference": reference,
            "asymmetry_reference": asymmetry,
            "barrier_error": outcome.barrier - reference,
            "asymmetry_error": outcome.reaction_energy - asymmetry,
            "barrier_fixed_error": fixed - reference,
        }
        if task.config.lattice != "none":
            metrics["barrier_matched_error"] = metrics["barrier_matched"] - reference
    return {name: np.asarray(value) for name, value in metrics.items()} | outcome_arrays(outcome)


def relaxed(task: Task, potential: Potential) -> Outcome:
    """What becomes of the band; its barriers are numbers only if it converged."""
    return relax_bands([potential], [task.start], task.config.relaxation)[0][0]


def outcome_metrics(task: Task, outcome: Outcome) -> dict[str, Any]:
    """Numbers of a relaxed band, in the units of the probe; NaN where there is none."""
    places = outcome.band.positions
    return {
        "barrier": outcome.barrier,
        "barrier_reverse": outcome.barrier_reverse,
        "barrier_hermite": outcome.saddle_energy,
        "asymmetry": outcome.reaction_energy,
        "height_last": outcome.height_last,
        "converged": float(outcome.converged),
        "status": float(STATUSES.index(outcome.status)),
        "failure": float(outcome.code),
        "attempts": float(len(outcome.attempts)),
        "iterations": float(outcome.iterations),
        "residual": outcome.residual,
        "residual_top": outcome.residual_top,
        "residual_ends": outcome.residual_ends,
        "end_shift": outcome.end_shift.max(),
        "path_length": interpolate.arclength(places)[-1],
        "path_shift": _path_shift(task.reference.positions, places),
    }


def _path_shift(reference: np.ndarray, relaxed: np.ndarray) -> float:
    """Farthest that an atom of a relaxed image is from the reference's path, Å.

    Each image is compared with the nearest point of the polygon through the reference's images.
    """
    fine = interpolate.resampled(reference, 20 * len(reference))
    steps = relaxed[:, None] - fine[None]
    nearest = (steps**2).sum(axis=(2, 3)).argmin(axis=1)
    rest = steps[np.arange(len(relaxed)), nearest]
    return float(np.linalg.norm(rest, axis=-1).max())


def matched_metrics(task: Task, potential: Potential) -> dict[str, float]:
    """The barrier in the potential's own lattice and the strain; NaN if the cell does not relax."""
    return matched_metrics_of([potential], [(task, 0)])[0]


def matched_metrics_of(
    potentials: Sequence[Potential], pairs: Sequence[tuple[Task, int]]
) -> list[dict[str, float]]:
    """The same for tasks with chosen potentials of one model, in one go.

    The tasks must agree about their lattice and relaxation, as those of one batch do.
    """
    if not pairs:
        return []
    config = pairs[0][0].config
    settings = config.relaxation
    wanted = Relaxation(
        cell=config.lattice, fmax=settings.endpoint_fmax, max_steps=settings.endpoint_steps,
        skin=settings.skin, bounds=settings.bounds,
    )  # fmt: skip
    results = matched_pairs(potentials, [(task.reference, which) for task, which in pairs], wanted)
    good = [n for n, (found, _) in enumerate(results) if found.status == "converged"]
    bands_of = [(results[n][1].band, pairs[n][1]) for n in good]
    energies = dict(zip(good, fixed.heights(potentials, bands_of), strict=True))
    return [
        _matched(own.strain, energies[n]) if n in energies else dict.fromkeys(_MATCHED, NAN)
        for n, (_, own) in enumerate(results)
    ]


def _matched(strain: np.ndarray, energies: np.ndarray) -> dict[str, float]:
    return {
        "barrier_matched": float(energies.max()),
        "volume_strain": float(np.linalg.det(np.eye(3) + strain)) - 1,
        "strain_largest": float(abs(np.linalg.eigvalsh(strain)).max()),
    }


_evaluated = jax.jit(hermite.evaluate)


def heights(potential: Potential, band: Band) -> Float64[np.ndarray, " images"]:
    """Energies of the images above the first, eV, nothing relaxed."""
    return fixed.heights([potential], [(band, 0)])[0]


def outcome_arrays(outcome: Outcome) -> dict[str, np.ndarray]:
    """The relaxed path and the history of all attempts, for figures."""
    places = outcome.band.positions
    heights = outcome.energies - outcome.energies[0]
    arrays = {
        "arclength_model": interpolate.arclength(places),
        "energy_model": heights,
        "positions_model": places,
    }
    if outcome.converged:
        line = curve(places, outcome.energies, outcome.forces)
        samples = np.linspace(0.0, arrays["arclength_model"][-1], SAMPLES)
        arrays["curve_arclength_model"] = samples
        arrays["curve_energy_model"] = np.asarray(_evaluated(line, samples))
    attempts = [(k, a.traces) for k, a in enumerate(outcome.attempts) if a.traces is not None]
    if not attempts:
        return arrays
    rows = jax.tree.map(lambda *parts: _appended(parts), *(t for _, t in attempts))
    number = np.concatenate([np.full(len(t.residual), k) for k, t in attempts])
    gap = {} if np.isnan(rows.gap).all() else {"trace_gap": rows.gap}  # without layers, none
    return (
        arrays
        | gap
        | {
            "trace_attempt": number,
            "trace_residual": rows.residual,
            "trace_energy": rows.energies,
            "trace_top": rows.top,
            "trace_closest": rows.closest,
        }
    )


def _appended(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of attempts; those that failed before the band grew have NaN for the other images."""
    width = max(part.shape[1:] for part in parts)
    if not width:
        return np.concatenate(parts)
    missing = [((0, 0), (0, width[0] - part.shape[1])) for part in parts]
    padded = [
        np.pad(part, gap, constant_values=NAN) for part, gap in zip(parts, missing, strict=True)
    ]
    return np.concatenate(padded)


def _inspect(name: str, metrics: Mapping[str, float]) -> list[str]:
    status, said = STATUSES[int(metrics["status"])], []
    if status in ("exploded", "detached"):
        what = monitor.REASONS[int(metrics["failure"]) or monitor.NONFINITE]
        said.append(
            f"path {name!r}: the relaxation failed in all {int(metrics['attempts'])} attempts: "
            f"{what}; there is no barrier"
        )
    elif status == "max_steps":
        said.append(
            f"path {name!r}: not converged, so there is no barrier; the largest force was "
            f"{metrics['residual']:.2g} eV/Å after {int(metrics['iterations'])} iterations"
        )
    elif status == "endpoint_collapsed":
        said.append(f"path {name!r}: both ends relax into one minimum; there is no barrier")
    elif metrics["attempts"] > 1:
        said.append(
            f"path {name!r}: the first attempt failed; converged in attempt "
            f"{int(metrics['attempts'])}"
        )
    if status == "converged" and np.isnan(metrics["barrier"]):
        said.append(
            f"path {name!r}: the highest image is an end, so there is no barrier; forces on the "
            f"ends are {metrics['residual_ends']:.2g} eV/Å"
        )
    return said
