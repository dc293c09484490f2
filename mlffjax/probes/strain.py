"""How a potential answers to strain: energies, stresses, bulk modulus, and its own lattice.

Three questions, answered apart:

* Labelled strained frames, where they exist: those of the data set whose ``info`` has
  ``strain_kind`` and ``strain``, or else the bundled ones of Sb2Te3. Energies are compared within
  one composition, so reference energies (E0) cannot count. Frames of the kind ``isotropic`` also
  give volume and bulk modulus of model and reference by one and the same fit.
* The crystal strained homogeneously with clamped ions, all lengths together (``volumetric``) and
  along z only (``uniaxial``).
* The crystal relaxed, atoms and cell, to no stress: ``a0`` is the length of the first lattice
  vector, ``c0`` the height of the cell along the normal of the first two.

Clamped-ion moduli are those that frames of rigidly scaled cells know; relaxation softens them.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pydantic
from jaxtyping import Float64

from mlffjax import trees, units
from mlffjax.analysis import equation_of_state
from mlffjax.errors import ConfigError
from mlffjax.pathways.relax import relax
from mlffjax.pathways.settings import Relaxation
from mlffjax.potential.base import Potential
from mlffjax.probes import _packed
from mlffjax.probes._dynamics import Start, require_periodic, starting_system
from mlffjax.probes._packed import Packed
from mlffjax.probes._probe import Context, Name, Probe, Section
from mlffjax.structures import strains
from mlffjax.structures.elements import symbols
from mlffjax.structures.system import Frame, System

NAN = float("nan")

_CRYSTAL = {
    "volume": "Å³/atom",
    "bulk_modulus": "GPa",
    "modulus_z": "GPa",
    "pressure": "GPa",
    "a0": "Å",
    "c0": "Å",
    "a_change": "",
    "c_change": "",
    "relaxed": "",
    "residual": "eV/Å",
}
_FRAMES = {"energy_rmse": "eV/atom"}
_STRESS = {"stress_rmse": "GPa", "pressure_error": "GPa"}
_SCALED = {
    "volume_frames": "Å³/atom",
    "volume_reference": "Å³/atom",
    "volume_error": "Å³/atom",
    "bulk_modulus_frames": "GPa",
    "bulk_modulus_reference": "GPa",
    "bulk_modulus_error": "GPa",
}


class Config(Section):
    """A crystal and how it is strained."""

    uses: ClassVar[frozenset[str]] = frozenset({"frames"})

    name: Name = "strain"
    crystal: Start | None = None
    """Frame of the data set; by default the unstrained one of the labelled frames."""
    strains: tuple[float, ...] = (-0.03, -0.02, -0.01, 0.0, 0.01, 0.02, 0.03)
    """Relative changes of lengths, ascending, 0 among them."""
    relaxation: Relaxation = Relaxation(cell="full", optimizer="lbfgs")
    """Of atoms and cell to no stress."""

    @pydantic.field_validator("strains")
    @classmethod
    def _around_zero(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if sorted(set(values)) != list(values) or 0.0 not in values[1:-1] or min(values) <= -0.5:
            raise ValueError(
                f"expected ascending strains on both sides of 0 and 0 itself, got {list(values)}"
            )
        if len(values) < equation_of_state.FEWEST:
            raise ValueError(
                f"expected at least {equation_of_state.FEWEST} strains, got {len(values)}"
            )
        return values

    @pydantic.field_validator("relaxation")
    @classmethod
    def _cell(cls, settings: Relaxation) -> Relaxation:
        if settings.cell == "none":
            raise ValueError("expected a cell that relaxes (such as cell: full), got 'none'")
        return settings


class _Task(NamedTuple):
    """Structures and labels: volumetric scan, uniaxial scan, labelled frames, in this order."""

    config: Config
    crystal: System
    frames: tuple[Frame, ...]
    packed: Packed


def example() -> tuple[Config, Context]:
    """Face-centred argon with labels at seven volumes."""
    cell = 5.26 * np.eye(3)
    places = 5.26 / 2 * np.array([[0.0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]])
    ideal = System(places, np.full(4, 18, np.int32), cell, np.ones(3, bool))
    frames = tuple(
        Frame(
            strains.strained(ideal, amount * np.eye(3)),
            -0.3 + 20 * amount**2,
            np.zeros((4, 3)),
            0.1 * amount * np.eye(3),
            "strain",
            "strain",
            float(index),
            f"strain{index}",
            "example",
            {strains.KIND: strains.VOLUMETRIC, strains.AMOUNT: float(amount)},
        )
        for index, amount in enumerate((-0.03, -0.02, -0.01, 0.0, 0.01, 0.02, 0.03))
    )
    relaxation = Relaxation(cell="isotropic", fmax=1e-3)
    return Config(relaxation=relaxation), Context((18,), 5.5, frames=frames)


def build(config: Config, context: Context) -> Probe:
    """Find the crystal and the labelled frames.

    Raises:
        ConfigError: there is no such frame, no crystal at all, or it is not periodic.
        CompatibilityError: the crystal contains an element that the potential does not know.
    """
    frames = strains.labelled(context.frames, context.elements)
    crystal = _crystal(config, context, frames)
    systems = [
        *strains.scan(crystal, config.strains, "volumetric"),
        *strains.scan(crystal, config.strains, "uniaxial"),
        *(frame.system for frame in frames),
    ]
    task = _Task(config, crystal, frames, _packed.pack(systems, context.elements, context.cutoff))
    return Probe(
        name=config.name,
        measure=functools.partial(_measure, task),
        units=_units(frames),
        compiled=False,
        constants=_constants(config, frames),
        reasons=_reasons(frames),
        inspect=_inspect,
    )


def _crystal(config: Config, context: Context, frames: Sequence[Frame]) -> System:
    if config.crystal is not None:
        system = starting_system(config.crystal, context)
    else:
        found = strains.unstrained(frames)
        if found is None:
            raise ConfigError(
                f"probe {config.name}: expected a crystal to strain, got none (there is no "
                "unstrained frame among labelled strained ones); name a frame of the data under "
                "'crystal'"
            )
        system = found
    require_periodic(config.name, system, "name another frame under 'crystal'")
    return system


def _kinds(frames: Sequence[Frame]) -> tuple[str, ...]:
    return tuple(sorted({str(frame.info[strains.KIND]) for frame in frames}))


def _units(frames: Sequence[Frame]) -> dict[str, str]:
    found = _CRYSTAL | _FRAMES | _STRESS | _SCALED
    for kind in _kinds(frames):
        found |= {f"{name}/{kind}": unit for name, unit in (_FRAMES | _STRESS).items()}
    return found


def _reasons(frames: Sequence[Frame]) -> dict[str, str]:
    reasons: dict[str, str] = {}
    if not frames:
        missing = "there are no labelled strained frames with elements that the potential knows"
        return dict.fromkeys(_FRAMES | _STRESS | _SCALED, missing)
    for kind in ("", *_kinds(frames)):
        chosen = _of_kind(frames, kind) if kind else frames
        if not any(frame.stress is not None for frame in chosen):
            names = [f"{name}/{kind}" if kind else name for name in _STRESS]
            reasons |= dict.fromkeys(names, "the strained frames have no stresses")
    if len(_scaled(frames)) < equation_of_state.FEWEST:
        why = f"fewer than {equation_of_state.FEWEST} labelled frames of kind {strains.VOLUMETRIC}"
        reasons |= dict.fromkeys(_SCALED, why)
    return reasons


def _of_kind(frames: Sequence[Frame], kind: str) -> list[Frame]:
    return [frame for frame in frames if str(frame.info[strains.KIND]) == kind]


def _scaled(frames: Sequence[Frame]) -> list[int]:
    """Rigidly scaled frames of one composition, that of the first of them."""
    found = [
        index
        for index, frame in enumerate(frames)
        if str(frame.info[strains.KIND]) == strains.VOLUMETRIC
    ]
    first = [sorted(frames[index].system.numbers.tolist()) for index in found[:1]]
    return [i for i in found if [sorted(frames[i].system.numbers.tolist())] == first]


_evaluated = jax.jit(_packed.evaluated)


def _measure(task: _Task, potential: Potential) -> dict[str, Any]:
    potential = trees.cast(potential, np.float64)
    found = jax.device_get(_evaluated(potential, jax.tree.map(jnp.asarray, task.packed)))
    count = len(task.config.strains)
    energy, stress = np.asarray(found.energy), np.asarray(found.stress) / units.GPA
    metrics = _scans(task, energy[: 2 * count], stress[: 2 * count])
    metrics |= _own_lattice(task, potential)
    arrays = {
        "energy_volumetric_model": energy[:count] - energy[:count].min(),
        "energy_uniaxial_model": energy[count : 2 * count] - energy[count : 2 * count].min(),
        "pressure_volumetric_model": _pressure(stress[:count]),
        "stress_uniaxial_model": stress[count : 2 * count, 2, 2],
    }
    if task.frames:
        compared = _against_frames(task.frames, energy[2 * count :], stress[2 * count :])
        metrics |= compared[0]
        arrays |= compared[1]
    return {name: np.asarray(value) for name, value in (metrics | arrays).items()}


def _pressure(stress: np.ndarray) -> np.ndarray:
    """Minus a third of the trace, GPa."""
    return -np.trace(stress, axis1=-2, axis2=-1) / 3


def _scans(task: _Task, energy: np.ndarray, stress: np.ndarray) -> dict[str, float]:
    amounts, atoms = np.array(task.config.strains), len(task.crystal.numbers)
    count, zero = len(amounts), task.config.strains.index(0.0)
    volumes = abs(np.linalg.det(task.crystal.cell)) * (1 + amounts) ** 3
    state = equation_of_state.fit(volumes, energy[:count])
    along = stress[count:, 2, 2]
    slope = (along[zero + 1] - along[zero - 1]) / (amounts[zero + 1] - amounts[zero - 1])
    return {
        "volume": state.volume / atoms,
        "bulk_modulus": state.bulk_modulus,
        "modulus_z": float(slope),
        "pressure": float(_pressure(stress[zero])),
    }


def _own_lattice(task: _Task, potential: Potential) -> dict[str, float]:
    """Lattice parameters without stress; NaN unless the relaxation converged."""
    found = relax([potential], [task.crystal], task.config.relaxation)[0][0]
    before, after = _lengths(task.crystal.cell), _lengths(found.system.cell)
    good = found.status == "converged"
    change = after / before - 1
    return {
        "a0": after[0] if good else NAN,
        "c0": after[1] if good else NAN,
        "a_change": change[0] if good else NAN,
        "c_change": change[1] if good else NAN,
        "relaxed": float(good),
        "residual": found.residual,
    }


def _lengths(cell: Float64[np.ndarray, "3 3"]) -> np.ndarray:
    normal = np.cross(cell[0], cell[1])
    return np.array([np.linalg.norm(cell[0]), abs(np.linalg.det(cell)) / np.linalg.norm(normal)])


def _against_frames(
    frames: Sequence[Frame], energy: np.ndarray, stress: np.ndarray
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Errors on labelled frames, together and by kind, and what figures need."""
    atoms = np.array([len(frame.system.numbers) for frame in frames])
    centring = strains.centring(frames)
    model = centring @ (energy / atoms)
    reference = centring @ (np.array([frame.energy for frame in frames], float) / atoms)
    kinds = np.array([str(frame.info[strains.KIND]) for frame in frames])
    labels = np.array(
        [np.full((3, 3), NAN) if f.stress is None else f.stress / units.GPA for f in frames]
    )
    labelled = np.isfinite(labels).all(axis=(1, 2))
    metrics: dict[str, Any] = {}
    for kind in ("", *_kinds(frames)):
        chosen = kinds == kind if kind else np.ones(len(frames), bool)
        ending = f"/{kind}" if kind else ""
        metrics[f"energy_rmse{ending}"] = _rms((model - reference)[chosen])
        if (chosen & labelled).any():
            off = (stress - labels)[chosen & labelled]
            metrics[f"stress_rmse{ending}"] = _rms(off)
            metrics[f"pressure_error{ending}"] = float(_pressure(off).mean())
    if len(scaled := _scaled(frames)) >= equation_of_state.FEWEST:
        metrics |= _states([frames[index] for index in scaled], energy[scaled])
    arrays = {"frame_energy_model": model, "frame_energy_reference": reference}
    if labelled.any():
        pressures = {"frame_pressure_model": stress, "frame_pressure_reference": labels}
        arrays |= {name: _pressure(values) for name, values in pressures.items()}
    return metrics, arrays


def _states(frames: Sequence[Frame], energy: np.ndarray) -> dict[str, float]:
    """Volume and bulk modulus of model and reference from the same cells."""
    volumes = np.array([abs(np.linalg.det(frame.system.cell)) for frame in frames])
    atoms = len(frames[0].system.numbers)
    labels = np.array([frame.energy for frame in frames], float)
    ours, theirs = (equation_of_state.fit(volumes, e) for e in (energy, labels))
    return {
        "volume_frames": ours.volume / atoms,
        "volume_reference": theirs.volume / atoms,
        "volume_error": (ours.volume - theirs.volume) / atoms,
        "bulk_modulus_frames": ours.bulk_modulus,
        "bulk_modulus_reference": theirs.bulk_modulus,
        "bulk_modulus_error": ours.bulk_modulus - theirs.bulk_modulus,
    }


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))


def _constants(config: Config, frames: Sequence[Frame]) -> dict[str, np.ndarray]:
    constants = {"strain": np.array(config.strains)}
    if frames:
        constants["frame_strain"] = np.array([float(f.info[strains.AMOUNT]) for f in frames])
        constants["frame_series"] = np.array(
            [f"{f.info[strains.KIND]} {_formula(f)}" for f in frames]
        )
    return constants


def _formula(frame: Frame) -> str:
    """Numbers of atoms by element, such as ``Cr1Sb8Te12``."""
    numbers, counts = np.unique(frame.system.numbers, return_counts=True)
    named = zip(symbols(tuple(numbers.tolist())), counts, strict=True)
    return "".join(f"{symbol}{count}" for symbol, count in named)


def _inspect(metrics: Mapping[str, float]) -> list[str]:
    said = []
    if metrics["relaxed"] != 1:
        said.append(
            "the crystal did not relax to zero stress (largest force or strain "
            f"{metrics['residual']:.2g}), so there are no a0 and c0"
        )
    if np.isnan(metrics["volume"]):
        said.append(
            "the energy has no minimum within the volumes scanned, so there is no bulk modulus"
        )
    return said
