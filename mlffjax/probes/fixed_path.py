"""Energies and forces of given images: what the potential makes of a path it did not choose.

The geometry is that of the reference calculation, nothing is relaxed: this separates the error of
the energies from that of the structure. A barrier on fixed images is an upper bound of the model's
own barrier and must not be compared with a relaxed one.
"""

import functools
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
import pydantic

from mlffjax.arrays import Array, Float
from mlffjax.graphs.graph import Graph
from mlffjax.pathways import hermite
from mlffjax.pathways.profiles import band, profile, slopes, tangents
from mlffjax.potential.base import Potential
from mlffjax.probes._example import migration
from mlffjax.probes._probe import Context, Metrics, Probe, Section, bound
from mlffjax.structures import paths

PROMINENCE = 0.02  # eV, kT at 230 K; smaller wiggles of the curve are not counted as extrema
SAMPLES = 201  # points of the curve that are kept for figures

_PROFILE = {"barrier": "eV", "barrier_hermite": "eV", "asymmetry": "eV", "extrema": ""}
_AGAINST_ENERGIES = {
    "barrier_reference": "eV",
    "asymmetry_reference": "eV",
    "barrier_error": "eV",
    "asymmetry_error": "eV",
    "transition_image_error": "eV",
    "path_rmse": "eV",
}
_AGAINST_FORCES = {
    "barrier_hermite_reference": "eV",
    "extrema_reference": "",
    "barrier_hermite_error": "eV",
    "transition_shift": "",
    "force_mae_parallel": "eV/Å",
    "force_mae_perpendicular": "eV/Å",
    "force_slope": "",
}


class Config(Section):
    """A path to be followed as it is."""

    uses: ClassVar[frozenset[str]] = frozenset({"paths"})

    path: str = pydantic.Field(min_length=1)
    """Name of the path."""


class _Data(NamedTuple):
    images: Graph
    arclength: Float[Array, "images"]
    tangent: Float[Array, "images atoms 3"]
    energy: Float[Array, "images"] | None
    forces: Float[Array, "images atoms 3"] | None


def example() -> tuple[Config, Context]:
    """An atom hopping between two hollows of a small crystal of argon."""
    return Config(name="hop", path="hop"), migration()


def build(config: Config, context: Context) -> Probe:
    """Prepare images, tangents and reference labels.

    Raises:
        ConfigError: the path is not known.
        CompatibilityError: the path contains an element that the potential does not know.
    """
    path = context.path(config.path)
    labelled = [frame.forces for frame in path.frames if frame.forces is not None]
    energy = paths.energies(path)
    data = _Data(
        images=band([f.system for f in path.frames], context.elements, context.cutoff),
        arclength=jnp.asarray(paths.arclength(path)),
        tangent=jnp.asarray(tangents(path)),
        energy=None if energy is None else jnp.asarray(energy),
        forces=jnp.asarray(np.array(labelled)) if labelled else None,
    )
    reasons = {}
    if data.energy is None:
        reasons = dict.fromkeys(_AGAINST_ENERGIES, f"path {path.name!r} has no reference energies")
    if data.energy is None or data.forces is None:
        missing = f"path {path.name!r} lacks reference energies or forces"
        reasons |= dict.fromkeys(_AGAINST_FORCES, missing)
    return Probe(
        name=config.name,
        measure=bound(_measure, data),
        units=_PROFILE | _AGAINST_ENERGIES | _AGAINST_FORCES,
        constants=_constants(data),
        reasons=reasons,
        inspect=functools.partial(_inspect, path.name),
    )


def _measure(data: _Data, potential: Potential) -> Metrics:
    energy, forces = profile(potential, data.images)
    energy = energy - energy[0]
    curve = _curve(data, energy, forces)
    top = hermite.highest(curve)
    metrics: Metrics = {
        "barrier": energy.max(),
        "barrier_hermite": top.energy,
        "asymmetry": energy[-1],
        "extrema": hermite.count_extrema(curve, prominence=PROMINENCE),
        "energy_model": energy,
        "force_parallel_model": -curve.slope,
        "forces_model": forces,
        "curve_energy_model": hermite.evaluate(curve, _samples(data)),
    }
    if data.energy is not None:
        metrics |= energy_errors(energy, data.energy)
    if data.energy is not None and data.forces is not None:
        reference = _curve(data, data.energy, data.forces)
        metrics |= _curve_errors(curve, top, reference)
        metrics |= _force_errors(forces, data.forces, data.tangent)
    return metrics


def energy_errors(
    energy: Float[Array, "images"], reference: Float[Array, "images"]
) -> dict[str, Float[Array, ""]]:
    """Errors of a profile relative to image 0, eV; model minus reference.

    The profiles are aligned at the first image and nowhere else: aligning them at the top would
    hide the error of the barrier.
    """
    return {
        "barrier_reference": reference.max(),
        "asymmetry_reference": reference[-1],
        "barrier_error": energy.max() - reference.max(),
        "asymmetry_error": energy[-1] - reference[-1],
        "transition_image_error": (energy - reference)[jnp.argmax(reference)],
        "path_rmse": jnp.sqrt(((energy - reference)[1:] ** 2).mean()),
    }


def _curve_errors(curve: hermite.Curve, top: hermite.Point, reference: hermite.Curve) -> Metrics:
    expected = hermite.highest(reference)
    return {
        "barrier_hermite_reference": expected.energy,
        "extrema_reference": hermite.count_extrema(reference, prominence=PROMINENCE),
        "barrier_hermite_error": top.energy - expected.energy,
        "transition_shift": (top.position - expected.position) / curve.position[-1],
    }


def _force_errors(
    forces: Float[Array, "images atoms 3"],
    reference: Float[Array, "images atoms 3"],
    tangent: Float[Array, "images atoms 3"],
) -> Metrics:
    """Errors along the path (of F·tangent) and normal to it (of Cartesian components)."""
    error = forces - reference
    along = (error * tangent).sum(axis=(1, 2))
    across = error - along[:, None, None] * tangent
    return {
        "force_mae_parallel": jnp.abs(along).mean(),
        "force_mae_perpendicular": jnp.abs(across).mean(),
        "force_slope": (forces * reference).sum() / (reference**2).sum(),
    }


def _curve(data: _Data, energy: Array, forces: Array) -> hermite.Curve:
    return hermite.Curve(data.arclength, energy, slopes(forces, data.tangent))


def _samples(data: _Data) -> Float[Array, "samples"]:
    return jnp.linspace(0.0, data.arclength[-1], SAMPLES)


def _constants(data: _Data) -> dict[str, np.ndarray]:
    constants = {"arclength": data.arclength, "curve_arclength": _samples(data)}
    if data.energy is not None:
        constants["energy_reference"] = data.energy
    if data.energy is not None and data.forces is not None:
        curve = _curve(data, data.energy, data.forces)
        constants["forces_reference"] = data.forces
        constants["force_parallel_reference"] = -curve.slope
        constants["curve_energy_reference"] = hermite.evaluate(curve, _samples(data))
    return {name: np.asarray(value) for name, value in constants.items()}


def _inspect(name: str, metrics: Mapping[str, float]) -> list[str]:
    if metrics["barrier"] > max(0.0, metrics["asymmetry"]):
        return []
    return [
        f"path {name!r}: the highest image is an end, so 'barrier' is not one for this potential"
    ]
