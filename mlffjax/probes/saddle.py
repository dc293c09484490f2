"""The saddle of a path, its vibrations, and how often a potential lets atoms cross it.

The band is relaxed as by ``relaxed_neb``; from its highest image the saddle is refined to tight
forces. ``negative_modes`` and ``imaginary_frequency`` prove what was found; the minima on both
sides and their vibrations give the prefactor and the rate of harmonic transition state theory, and
jumps of a given length the diffusion coefficient, in the units of the kind ``transport`` (1/ns and
cm²/s), beside whose numbers from molecular dynamics it belongs.

``barrier`` is that of the one step over the saddle, from the minimum beside it: on a path of
several steps it differs from the barrier of the whole path, ``barrier_band``, and ``connected`` is
0; its rate is no jump from end to end, so that no diffusion is given. A transition that is not
found has no rate, and a warning says why.
"""

import functools
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pydantic

from mlffjax.pathways.saddle import ConnectionStatus
from mlffjax.pathways.settings import Elastic
from mlffjax.pathways.transition import (
    STATUSES,
    Options,
    Transition,
    diffusion,
    jump_length,
    refine,
)
from mlffjax.potential.base import Potential
from mlffjax.probes import relaxed_neb
from mlffjax.probes._example import migration
from mlffjax.probes._probe import Context, Probe, Section
from mlffjax.probes.relaxed_neb import Task
from mlffjax.structures.elements import symbols

NAN = float("nan")
PER_NS = 1e3  # from 1/ps
CM2_PER_S = 1e-4  # from Å²/ps
LINE = 40  # temperatures of the curve for a figure

_UNITS = {
    "status": "",
    "barrier": "eV",
    "barrier_reverse": "eV",
    "barrier_band": "eV",
    "zero_point": "eV",
    "negative_modes": "",
    "imaginary_frequency": "THz",
    "softest_frequency": "THz",
    "curvature": "eV/Å²",
    "residual": "eV/Å",
    "connected": "",
    "jump": "Å",
    "prefactor": "THz",
    "prefactor_reverse": "THz",
}


class Config(Section):
    """A path whose saddle is to be found."""

    uses: ClassVar[frozenset[str]] = frozenset({"paths"})

    path: str = pydantic.Field(min_length=1)
    """Name of the path."""
    start: Literal["path", "linear", "idpp"] = "path"
    """Whether the reference's images are the first guess, or an interpolation of its ends."""
    images: int | None = pydantic.Field(default=None, ge=3)
    """Number of images; by default as many as the path has."""
    fixed: tuple[int, ...] = ()
    """Atoms that must not move, counted from 0."""
    relaxation: Elastic = Elastic()
    """Of the band that leads to the saddle."""
    transition: Options = Options()
    """Temperatures, length and number of jumps, tolerance of the search."""


class _Data(NamedTuple):
    task: Task
    options: Options


def example() -> tuple[Config, Context]:
    """An atom that hops to the next hollow of a small crystal of argon, which stands still."""
    relaxation = Elastic(fmax=0.02, endpoint_fmax=0.01)
    options = Options(temperatures_k=(40.0,), dimensions=3, jumps=6)
    fixed = tuple(range(8))
    config = Config(
        name="saddle", path="hop", fixed=fixed, relaxation=relaxation, transition=options
    )
    return config, migration(images=5)


def build(config: Config, context: Context) -> Probe:
    """Prepare the band.

    Raises:
        ConfigError: the path is not known.
        InputError: equal ends, or fixed atoms that do not exist or move along the path.
    """
    path = context.path(config.path)
    section = relaxed_neb.Config(
        name=config.name, path=config.path, start=config.start, images=config.images,
        fixed=config.fixed, lattice="none", relaxation=config.relaxation,
    )  # fmt: skip
    task = relaxed_neb.prepare(section, path)
    return Probe(
        name=config.name,
        measure=functools.partial(_measure, _Data(task, config.transition)),
        units=_UNITS | _rate_units(config.transition),
        requires=frozenset({"hessian"}),
        compiled=False,
        constants={
            "temperature": np.array(config.transition.temperatures_k),
            "arrhenius_temperature": line(config.transition),
            "mover": np.array([_mover(task)]),
        },
        inspect=functools.partial(_inspect, path.name),
    )


def rate_names(temperature_k: float) -> tuple[str, str]:
    """What the rate and the diffusion coefficient at a temperature are called."""
    return f"rate/{temperature_k:g}K", f"diffusion/{temperature_k:g}K"


def _rate_units(options: Options) -> dict[str, str]:
    return {
        name: unit
        for temperature in options.temperatures_k
        for name, unit in zip(rate_names(temperature), ("1/ns", "cm²/s"), strict=True)
    }


def line(options: Options) -> np.ndarray:
    """Temperatures, K, evenly spaced in 1/T around those that are asked for."""
    low, high = min(options.temperatures_k), max(options.temperatures_k)
    return 1 / np.linspace(1 / (0.8 * low), 1 / (1.25 * high), LINE)


def _mover(task: Task) -> str:
    """Element of the atom that moves most along the reference path."""
    places = task.reference.positions
    atom = np.linalg.norm(places[-1] - places[0], axis=-1).argmax()
    return symbols((int(task.reference.numbers[atom]),))[0]


def _measure(data: _Data, potential: Potential) -> dict[str, Any]:
    outcome = relaxed_neb.relaxed(data.task, potential)
    transition = refine(potential, outcome, data.options)
    metrics = transition_metrics(transition, data.options) | {"barrier_band": outcome.barrier}
    arrays = transition_arrays(transition, data.options)
    return {name: np.asarray(value) for name, value in metrics.items()} | arrays


def transition_metrics(transition: Transition, options: Options) -> dict[str, float]:
    """Numbers of a transition, in the units of the probe; NaN where there is none."""
    metrics = dict.fromkeys((_UNITS | _rate_units(options)).keys() - {"barrier_band"}, NAN)
    metrics["status"] = float(STATUSES.index(transition.status))
    top, sides, rate = transition.saddle, transition.connection, transition.forward
    if top is not None:
        metrics["residual"] = top.residual
    if top is not None and len(top.curvatures):
        metrics |= {"negative_modes": float(top.negative), "curvature": float(top.curvatures[0])}
    if sides is not None and transition.status != "not_connected":
        metrics["barrier"], metrics["barrier_reverse"] = sides.barriers
        metrics["connected"] = float(sides.status is ConnectionStatus.CONNECTED)
        metrics["jump"] = options.jump or jump_length(transition)
    if transition.modes is not None and transition.minimum_modes is not None:
        metrics["imaginary_frequency"] = transition.imaginary_thz
        metrics["softest_frequency"] = float(transition.minimum_modes.frequencies[0])
    if rate is None or transition.backward is None:
        return metrics
    metrics |= {
        "prefactor": rate.prefactor_thz,
        "prefactor_reverse": transition.backward.prefactor_thz,
        "zero_point": rate.correction,
    }
    for temperature in options.temperatures_k:
        often, far = rate_names(temperature)
        metrics[often] = float(rate.at(temperature)) * PER_NS
        if transition.joins_ends:
            metrics[far] = float(diffusion(transition, options, np.array(temperature))) * CM2_PER_S
    return metrics


def transition_arrays(transition: Transition, options: Options) -> dict[str, np.ndarray]:
    """Places, the unstable mode, frequencies and the curve of diffusion, as far as known."""
    arrays: dict[str, np.ndarray] = {}
    if transition.saddle is not None:
        arrays["positions_saddle_model"] = transition.saddle.system.positions
        arrays["mode_model"] = transition.saddle.mode
    if transition.modes is not None and transition.minimum_modes is not None:
        arrays["frequencies_saddle_model"] = transition.modes.frequencies
        arrays["frequencies_minimum_model"] = transition.minimum_modes.frequencies
    if transition.found and transition.joins_ends:
        found = diffusion(transition, options, line(options))
        arrays["arrhenius_diffusion_model"] = found * CM2_PER_S
    return arrays


_MISSING = {
    "no_band": "the band did not relax (the kind relaxed_neb says more)",
    "no_saddle": "the highest image of the relaxed band is an end",
    "not_stationary": "the search from the highest image ended on no saddle of first order",
    "not_connected": "downhill from the saddle no minimum was reached",
    "not_harmonic": "a mode of the saddle or of a minimum is flat or has the wrong sign",
}


def _inspect(name: str, metrics: Mapping[str, float]) -> list[str]:
    status = STATUSES[int(metrics["status"])]
    if status != "found":
        residual = metrics["residual"]
        found = f"largest force {residual:.2g} eV/Å, " if np.isfinite(residual) else ""
        return [f"path {name!r}: {found}no rate: {_MISSING[status]}"]
    if metrics["connected"] != 1:
        return [
            f"path {name!r}: the minima beside the saddle are not the ends of the path, which has "
            "several steps; barrier and rate are those of the highest, and no diffusion is given"
        ]
    return []
