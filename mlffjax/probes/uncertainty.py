"""Whether a potential knows where it is wrong: last-layer rigidity, tried on frames and on paths.

The covariance of readout features is that of the run's training frames, scales are those of highest
likelihood on its validation frames (``potential.rigidity``). Spreads are then compared with errors
on the test frames, and on the images of paths, which were not drawn from the same distribution:
calibration on the first says little about the second, so both are given.

Metrics, of ``test_energy`` (total, per atom), ``test_forces`` (components), ``path_energy``
(differences to image 0) and ``path_forces``, the last two also by path, as
``path_energy_nll/<path>``: what ``analysis.calibration`` gives, ``_nll``, ``_miscalibration``,
``_rank``, ``_sharpness``, ``_rmse``, ``_factor`` and ``_typical`` (above 1: over-confident; forces
that nearly vanish by symmetry have nearly no spread, and rule ``_factor``). For every path
``barrier`` (highest image above image 0), ``barrier_spread`` and ``barrier_error``.
``energy_scale``, ``force_scale``, ``ridge`` and ``condition`` say how the spreads came about. What
is known exactly (forces that vanish by symmetry, an image that equals image 0) is left out.

Arrays: ``<set>_error``, ``<set>_spread`` of the four sets; ``<set>_coverage`` over ``expected``;
``paths``; by image of all paths ``image_path`` (index), ``arclength``, ``image_energy``,
``image_spread``, ``image_reference`` (NaN without label), relative to image 0.
"""

import functools
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pydantic

from mlffjax.analysis.calibration import Calibration, calibration, coverage
from mlffjax.errors import InputError
from mlffjax.potential import rigidity
from mlffjax.potential.base import Potential
from mlffjax.probes._example import frames as example_frames
from mlffjax.probes._example import migration
from mlffjax.probes._probe import Context, Name, Probe, Section
from mlffjax.representation.features import Packed, packed
from mlffjax.structures import paths
from mlffjax.structures.checks import require_labels
from mlffjax.structures.paths import Path
from mlffjax.structures.system import Frame

ATOMS = 48  # of structures that are differentiated together
EXPECTED = np.linspace(0.0, 1.0, 41)
EXACT = 1e-6  # spreads below this part of the largest are rounding
UNITS = {
    "test_energy": "eV/atom",
    "test_forces": "eV/Å",
    "path_energy": "eV",
    "path_forces": "eV/Å",
}
WITH_UNIT = ("sharpness", "rmse")
BARRIER = ("barrier", "barrier_spread", "barrier_error")


class Config(Section):
    """Which paths, and how features of energies and forces are weighed."""

    uses: ClassVar[frozenset[str]] = frozenset({"frames", "splits", "paths"})

    name: Name = "uncertainty"
    paths: tuple[str, ...] | None = None
    """None: all of the study."""
    energy_weight: float = pydantic.Field(default=1.0, ge=0)
    """Of energies per atom in the covariance; take that of the loss."""
    forces_weight: float = pydantic.Field(default=10.0, ge=0)
    """Of components of forces in the covariance."""
    ridge: float = pydantic.Field(default=0.0, ge=0)
    """Least regularisation of the covariance; more where its condition asks for it."""

    @pydantic.model_validator(mode="after")
    def _something_weighs(self) -> "Config":
        if self.energy_weight == self.forces_weight == 0:
            raise ValueError("expected a positive energy_weight or forces_weight, got 0 for both")
        return self


class _Data(NamedTuple):
    train: Packed
    validation: tuple[Frame, ...]
    test: tuple[Frame, ...]
    paths: tuple[Path, ...]
    asked: Packed  # validation frames, test frames, images of all paths


class _Part(NamedTuple):
    """Predictions, spreads (eV, eV/Å) and labels of some frames."""

    energy: np.ndarray  # total
    forces: np.ndarray  # [atoms, 3]
    whitened: np.ndarray  # [frames, features]
    force_spread: np.ndarray
    frames: tuple[Frame, ...]


def example() -> tuple[Config, Context]:
    """Rattled argon, and an interstitial that hops."""
    return Config(), example_frames()._replace(paths=migration().paths)


def build(config: Config, context: Context) -> Probe:
    """Lay the structures out.

    Raises:
        ConfigError: a path is not known.
        InputError: there are no training or validation frames, or one has no label.
        CompatibilityError: a structure contains an element that the potential does not know.
    """
    train, validation, test = (
        tuple(context.frames[index] for index in context.splits.get(split, ()))
        for split in ("train", "validation", "test")
    )
    for name, split in (("training", train), ("validation", validation)):
        if not split:
            raise InputError(
                f"probe {config.name}: expected {name} frames, got none; spreads are of a fit to "
                "the training split, scaled by errors on the validation split"
            )
    require_labels([*validation, *test])
    names = context.paths if config.paths is None else config.paths
    chosen = tuple(context.path(name) for name in names)
    images = [image for path in chosen for image in path.frames]
    lay = functools.partial(packed, elements=context.elements, cutoff=context.cutoff, atoms=ATOMS)
    data = _Data(
        lay([frame.system for frame in train]),
        validation,
        test,
        chosen,
        lay([frame.system for frame in (*validation, *test, *images)]),
    )
    return Probe(
        name=config.name,
        measure=functools.partial(_measure, config, data),
        units=_units(chosen),
        requires=frozenset({"readout_features"}),
        compiled=False,
        constants=_constants(chosen),
        reasons=_reasons(test, chosen),
    )


def _units(chosen: Sequence[Path]) -> dict[str, str]:
    units = dict.fromkeys(("energy_scale", "force_scale", "ridge", "condition"), "")
    for kind, unit in UNITS.items():
        tails = ("", *(f"/{path.name}" for path in chosen)) if kind.startswith("path") else ("",)
        for measure in Calibration._fields:
            own = unit if measure in WITH_UNIT else ""
            units |= {f"{kind}_{measure}{tail}": own for tail in tails}
    return units | {f"{name}/{path.name}": "eV" for name in BARRIER for path in chosen}


def _reasons(test: Sequence[Frame], chosen: Sequence[Path]) -> dict[str, str]:
    """What cannot be had of these frames and paths."""
    reasons: dict[str, str] = {}

    def lacking(kind: str, why: str, tail: str = "") -> None:
        reasons.update({f"{kind}_{measure}{tail}": why for measure in Calibration._fields})

    if len(test) < 2:
        lacking("test_energy", f"errors of 2 test frames are needed, there are {len(test)}")
    if not test:
        lacking("test_forces", "there are no test frames")
    for path in chosen:
        if paths.energies(path) is None:
            why = f"path {path.name!r} has no reference energies"
            lacking("path_energy", why, f"/{path.name}")
            reasons[f"barrier_error/{path.name}"] = why
        if not _has_forces(path):
            lacking("path_forces", f"path {path.name!r} has no reference forces", f"/{path.name}")
    if all(paths.energies(path) is None for path in chosen):
        lacking("path_energy", "there are no paths with reference energies")
    if not any(_has_forces(path) for path in chosen):
        lacking("path_forces", "there are no paths with reference forces")
    return reasons


def _has_forces(path: Path) -> bool:
    return all(frame.forces is not None for frame in path.frames)


def _constants(chosen: Sequence[Path]) -> dict[str, np.ndarray]:
    constants = {"expected": EXPECTED}
    if not chosen:
        return constants
    counts = [len(path.frames) for path in chosen]
    references = [paths.energies(path) for path in chosen]
    return constants | {
        "paths": np.array([path.name for path in chosen]),
        "image_path": np.repeat(np.arange(len(chosen)), counts),
        "arclength": np.concatenate([paths.arclength(path) for path in chosen]),
        "image_reference": np.concatenate(
            [
                np.full(n, np.nan) if r is None else r
                for n, r in zip(counts, references, strict=True)
            ]
        ),
    }


def _measure(config: Config, data: _Data, potential: Potential) -> dict[str, Any]:
    weights = config.energy_weight, config.forces_weight
    raw = rigidity.fit(
        rigidity.covariance(potential, data.train.graphs, *weights), ridge=config.ridge
    )
    validation, test, *bands = _parts(data, potential, raw)
    known = rigidity.calibrated(raw, _energy_pairs(validation), _seen(*_force_pairs(validation)))
    scales = {"energy": float(known.energy_scale), "forces": float(known.force_scale)}
    found: dict[str, Any] = {
        "energy_scale": scales["energy"],
        "force_scale": scales["forces"],
        "ridge": known.ridge,
        "condition": known.condition,
    }
    if test.frames:
        counts = np.array([len(frame.system.numbers) for frame in test.frames])
        errors, spreads = _energy_pairs(test)
        found |= _scored("test_energy", errors / counts, scales["energy"] * spreads / counts)
        errors, spreads = _force_pairs(test)
        found |= _scored("test_forces", errors, scales["forces"] * spreads)
    found |= _of_paths(data.paths, bands, scales)
    return {name: np.asarray(value) for name, value in found.items()}


def _parts(data: _Data, potential: Potential, known: rigidity.Rigidity) -> list[_Part]:
    """Of validation, test, and every path."""
    said = rigidity.spreads(potential, known, data.asked.graphs)
    structures = np.asarray(data.asked.graphs.graph_mask)
    atoms = np.asarray(data.asked.graphs.atom_mask)
    energy, whitened = (np.asarray(v)[structures] for v in (said.energy, said.whitened))
    forces, spread = (np.asarray(v)[atoms] for v in (said.forces, said.force_spread))
    parts, first, atom = [], 0, 0
    for frames in (data.validation, data.test, *(path.frames for path in data.paths)):
        references = np.array([potential.reference_energy(frame.system) for frame in frames])
        last = first + len(frames)
        end = atom + sum(len(frame.system.numbers) for frame in frames)
        rows, places = slice(first, last), slice(atom, end)
        parts.append(
            _Part(energy[rows] + references, forces[places], whitened[rows], spread[places], frames)
        )
        first, atom = last, end
    return parts


def _energy_pairs(part: _Part) -> tuple[np.ndarray, np.ndarray]:
    """Errors and spreads of total energies, eV."""
    labels = np.array([frame.energy for frame in part.frames], float)
    return part.energy - labels, np.linalg.norm(part.whitened, axis=1)


def _force_pairs(part: _Part) -> tuple[np.ndarray, np.ndarray]:
    """Errors and spreads of components of forces, eV/Å."""
    labels = np.concatenate([np.asarray(frame.forces) for frame in part.frames])
    return (part.forces - labels).ravel(), part.force_spread.ravel()


def _seen(errors: np.ndarray, spreads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without what is known exactly."""
    seen = spreads > EXACT * spreads.max(initial=0.0)
    return errors[seen], spreads[seen]


def _scored(
    kind: str, errors: np.ndarray, spreads: np.ndarray, *, tail: str = ""
) -> dict[str, Any]:
    """Metrics, and for all paths together also arrays."""
    errors, spreads = _seen(errors, spreads)
    if len(errors) < 2:
        return dict.fromkeys((f"{kind}_{m}{tail}" for m in Calibration._fields), np.nan)
    scores = calibration(errors, spreads)._asdict()
    found: dict[str, Any] = {f"{kind}_{name}{tail}": value for name, value in scores.items()}
    if not tail:
        found[f"{kind}_error"], found[f"{kind}_spread"] = errors, spreads
        found[f"{kind}_coverage"] = coverage(errors, spreads, EXPECTED)
    return found


def _of_paths(
    chosen: Sequence[Path], bands: Sequence[_Part], scales: dict[str, float]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"path_energy": [], "path_forces": []}
    profiles = []
    for path, band in zip(chosen, bands, strict=True):
        energy = band.energy - band.energy[0]
        spread = scales["energy"] * np.linalg.norm(band.whitened - band.whitened[0], axis=1)
        profiles.append((energy, spread))
        top, reference = int(energy.argmax()), paths.energies(path)
        found |= {f"barrier/{path.name}": energy[top], f"barrier_spread/{path.name}": spread[top]}
        if reference is not None:
            found[f"barrier_error/{path.name}"] = energy[top] - reference.max()
            pairs["path_energy"].append(((energy - reference)[1:], spread[1:]))
            found |= _scored("path_energy", *pairs["path_energy"][-1], tail=f"/{path.name}")
        if _has_forces(path):
            errors, spreads = _force_pairs(band)
            pairs["path_forces"].append((errors, scales["forces"] * spreads))
            found |= _scored("path_forces", *pairs["path_forces"][-1], tail=f"/{path.name}")
    for kind, each in pairs.items():
        if each:
            errors, spreads = (np.concatenate(part) for part in zip(*each, strict=True))
            found |= _scored(kind, errors, spreads)
    if profiles:
        energy, spread = (np.concatenate(part) for part in zip(*profiles, strict=True))
        found |= {"image_energy": energy, "image_spread": spread}
    return found
