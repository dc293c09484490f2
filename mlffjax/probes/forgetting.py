"""What a potential has forgotten of the foundation it came from, as one signed index with parts.

Six errors e are measured on the potential and, as e0, on the foundation. Each part is

    part = log2((e + s) / (e0 + s)),        index = mean of the parts that could be measured.

Positive means forgotten, negative improved, zero unchanged; where errors are well above the scale
s, one unit is an error twice as large. The scale (section ``scales``) is the error that does not
matter; it keeps a change from 1 to 2 meV from counting as much as one from 1 to 2 eV.

========================= ======================================================================
part                      error e
========================= ======================================================================
``generic_energy``        rms error per atom against the labels of the bundled generic structures,
                          after least squares have fitted one shift per element: reference
                          energies (E0) therefore cannot count
``generic_forces``        rms error of their force components
``sliding``               rms error of energies along a slide (``path``) relative to its first image
``strain_energy``         rms error per atom of the energies of strained crystals, differences
                          within one composition only
``elastic``               rms change of C11, C33, C12, C13, C44 (clamped ions)
``dimers``                mean over pairs of elements of ripple + hole + |change of well depth|
                          from 0.8 to 2.5 sums of covalent radii (``_dimer_curves``)
========================= ======================================================================

Generic structures, a labelled slide and strained crystals are compared with labels, so their parts
have either sign. A slide without labels, elastic constants and the depths of dimers' wells have
none: there the foundation is the reference, e0 counts no such change, and learning something else
than the foundation said is charged too. The generic structures are the half that no strategy learns
from (``structures.generic``), with labels of the bundled generalist's teacher. Structures with
elements that the potential or the foundation does not know are left out; a part with none left is
null.

A potential that never saw the foundation (trained from scratch) can be measured all the same. Its
index then says how much less it knows, not what it forgot.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pydantic

from mlffjax import config, trees
from mlffjax.arrays import Array, Float
from mlffjax.errors import ConfigError
from mlffjax.potential.base import Potential
from mlffjax.potential.pair import lennard_jones
from mlffjax.probes import _elastic
from mlffjax.probes._dimer_curves import Wells
from mlffjax.probes._dynamics import Start, require_periodic, starting_system
from mlffjax.probes._example import slide
from mlffjax.probes._knowledge import Collected, Observed, Questions, collect, observed, questions
from mlffjax.probes._knowledge import rms as _rms
from mlffjax.probes._probe import Context, Metrics, Name, Probe, Section, bound
from mlffjax.structures import dimers, paths
from mlffjax.structures.system import Frame, System

PARTS = {
    "generic_energy": "eV/atom",
    "generic_forces": "eV/Å",
    "sliding": "eV",
    "strain_energy": "eV/atom",
    "elastic": "GPa",
    "dimers": "eV",
}
"""Units of the errors by part."""


class Scales(config.Config):
    """Errors that do not matter, part by part."""

    generic_energy: float = pydantic.Field(default=0.01, gt=0, description="eV/atom")
    generic_forces: float = pydantic.Field(default=0.05, gt=0, description="eV/Å")
    sliding: float = pydantic.Field(default=0.02, gt=0, description="eV")
    strain_energy: float = pydantic.Field(default=0.002, gt=0, description="eV/atom")
    elastic: float = pydantic.Field(default=5.0, gt=0, description="GPa")
    dimers: float = pydantic.Field(default=0.1, gt=0, description="eV")


class Config(Section):
    """What to compare with the foundation, and how finely."""

    uses: ClassVar[frozenset[str]] = frozenset({"frames", "paths", "foundation"})

    name: Name = "forgetting"
    path: str | None = None
    """Name of a slide; without one the part ``sliding`` is null."""
    crystal: Start | None = None
    """Frame of the data set for the elastic constants; by default the bundled pristine Sb2Te3."""
    scales: Scales = Scales()


class _Data(NamedTuple):
    questions: Questions | None
    foundation: Observed
    slide: Float[Array, "images"] | None  # labels relative to the first image, eV
    scales: dict[str, Array]


def example() -> tuple[Config, Context]:
    """Argon: a slide, a face-centred crystal and its dimer; no generic structure knows argon."""
    context = slide()
    cell = 5.26 / 2 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
    system = System(np.zeros((1, 3)), np.array([18], np.int32), cell, np.ones(3, bool))
    frame = Frame(system, -0.08, np.zeros((1, 3)), None, "fcc", "fcc", 0.0, "fcc", "example", {})
    foundation = lennard_jones((18,), epsilon=0.012, sigma=3.45, cutoff=5.5)
    return Config(path="slide", crystal=Start(config_type="fcc")), context._replace(
        frames=(frame,), foundation=trees.cast(foundation, np.float64)
    )


def build(config: Config, context: Context) -> Probe:
    """Collect structures and labels, and measure the foundation.

    Raises:
        ConfigError: there is no foundation, no such path or frame, or the crystal is not periodic.
    """
    if context.foundation is None:
        raise ConfigError(
            f"probe {config.name}: expected a foundation to compare with, got none; name one in "
            "the section 'foundation'"
        )
    foundation = context.foundation
    found = collect(
        sorted(set(context.elements) & set(foundation.elements)),
        context.frames,
        path=None if config.path is None else context.path(config.path),
        crystal=_crystal(config, context),
    )
    theirs = questions(found, foundation.elements, foundation.cutoff)
    seen = Observed() if theirs is None else _observed_once(theirs, foundation)
    labels = None if found.path is None else paths.energies(found.path)
    data = _Data(
        questions=questions(found, context.elements, context.cutoff),
        foundation=seen,
        slide=None if labels is None else jnp.asarray(labels),
        scales={name: jnp.asarray(getattr(config.scales, name)) for name in PARTS},
    )
    return Probe(
        name=config.name,
        measure=bound(_Measure(tuple(map(dimers.label, found.pairs))), data),
        units=_units(found),
        constants=_constants(found, seen),
        reasons=_reasons(found),
    )


_observed_once = jax.jit(observed)


def _crystal(config: Config, context: Context) -> System | None:
    if config.crystal is None:
        return None
    system = starting_system(config.crystal, context)
    require_periodic(config.name, system, "name another frame under 'crystal'")
    return system


@dataclass(frozen=True)
class _Measure:
    """``measure`` with the names of the pairs; compared by value, so that it is compiled once."""

    pairs: tuple[str, ...]

    def __call__(self, data: _Data, potential: Potential) -> Metrics:
        if data.questions is None:
            return {}
        ours, theirs = observed(data.questions, potential), data.foundation
        errors = _errors(ours, theirs, data.slide)
        parts = {
            name: jnp.log2((error + data.scales[name]) / (before + data.scales[name]))
            for name, (error, before) in errors.items()
        }
        metrics: Metrics = {"index": jnp.stack(list(parts.values())).mean()} | parts
        for name, (error, before) in errors.items():
            metrics |= {f"{name}_error": error, f"{name}_error_foundation": before}
        if ours.constants is not None and theirs.constants is not None:
            for place, name in enumerate(_elastic.NAMES):
                metrics[name] = ours.constants[place]
                metrics[f"{name}_foundation"] = theirs.constants[place]
        if ours.slide is not None:
            metrics["sliding_energy_model"] = ours.slide
        if ours.wells is not None and ours.curves is not None:
            metrics |= _of_pairs(self.pairs, ours.wells)
            metrics["dimer_energy_model"] = ours.curves
        return metrics


def _errors(
    ours: Observed, theirs: Observed, labels: Array | None
) -> dict[str, tuple[Array, Array]]:
    """Error of the potential and of the foundation, by part."""
    errors: dict[str, tuple[Any, Any]] = {}
    for name in ("generic_energy", "generic_forces", "strain_energy"):
        if getattr(ours, name) is not None:
            errors[name] = (getattr(ours, name), getattr(theirs, name))
    if ours.slide is not None and theirs.slide is not None:
        reference = theirs.slide if labels is None else labels
        errors["sliding"] = _rms(ours.slide - reference), _rms(theirs.slide - reference)
    if ours.constants is not None and theirs.constants is not None:
        errors["elastic"] = _rms(ours.constants - theirs.constants), jnp.zeros(())
    if ours.wells is not None and theirs.wells is not None:
        change = jnp.abs(ours.wells.depth - theirs.wells.depth)
        errors["dimers"] = (ours.wells.defect + change).mean(), theirs.wells.defect.mean()
    return {name: errors[name] for name in PARTS if name in errors}


def _of_pairs(pairs: tuple[str, ...], found: Wells) -> Metrics:
    columns = {
        "dimer_depth": found.depth,
        "dimer_distance": found.distance,
        "dimer_defect": found.defect,
        "dimer_extrema": found.extrema,
    }
    return {
        f"{name}/{pair}": values[place]
        for name, values in columns.items()
        for place, pair in enumerate(pairs)
    }


def _units(collected: Collected) -> dict[str, str]:
    units = {"index": ""} | dict.fromkeys(PARTS, "")
    for name, unit in PARTS.items():
        units |= {f"{name}_error": unit, f"{name}_error_foundation": unit}
    for name in _elastic.NAMES:
        units |= {name: "GPa", f"{name}_foundation": "GPa"}
    for name, unit in (("depth", "eV"), ("distance", "Å"), ("defect", "eV"), ("extrema", "")):
        units |= {f"dimer_{name}/{dimers.label(pair)}": unit for pair in collected.pairs}
    return units


def _reasons(collected: Collected) -> dict[str, str]:
    """Metrics of parts that are missing."""
    reasons: dict[str, str] = {}
    if len(collected.reasons) == len(PARTS):
        reasons["index"] = "no part could be measured"
    for name, why in collected.reasons.items():
        reasons |= dict.fromkeys((name, f"{name}_error", f"{name}_error_foundation"), why)
        if name == "elastic":
            constants = [n for c in _elastic.NAMES for n in (c, f"{c}_foundation")]
            reasons |= dict.fromkeys(constants, why)
    return reasons


def _constants(collected: Collected, seen: Observed) -> dict[str, np.ndarray]:
    """Curves of the foundation, for figures."""
    kept: dict[str, Any] = {"generic_structures": np.array([len(collected.generic)])}
    if collected.path is not None:
        length = paths.arclength(collected.path)
        kept |= {"sliding_coordinate": length / length[-1]}
        kept |= {"sliding_energy_foundation": seen.slide}
        if (labels := paths.energies(collected.path)) is not None:
            kept["sliding_energy_reference"] = labels
    if collected.pairs:
        kept["dimer_pairs"] = np.array([dimers.label(pair) for pair in collected.pairs])
        kept["dimer_distance"] = np.array([dimers.distances(pair) for pair in collected.pairs])
        kept["dimer_energy_foundation"] = seen.curves
    return {name: np.asarray(value) for name, value in kept.items()}
