"""One structure, one potential, layers sliding: what is asked for, computed and written.

``run`` writes into its directory

    slide.json       what was asked, the layers, barrier, corrugation, minima, self-test
    slide.npz        the arrays: energies, shifts, distances, positions
    line.extxyz      the structures along the line, relaxed if that was asked for

Energies are eV of the whole cell unless a name says otherwise; a number that could not be had is
null. Nothing here judges the potential against a reference.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydantic
from jaxtyping import Float64

from mlffjax import config as configuration
from mlffjax.config import Config
from mlffjax.errors import ConfigError
from mlffjax.pathways import gamma_surface
from mlffjax.pathways.gamma_surface import LineResult, Settings, Shifted, SurfaceResult, per_area
from mlffjax.pathways.layer_relaxation import Mode, Status
from mlffjax.pathways.slide import Side, Slider, lattice_vector, slider
from mlffjax.potential.dispersion import Damping, corrected
from mlffjax.structures.files import write_frames
from mlffjax.structures.layers import Layers, LayersConfig, layers_of
from mlffjax.structures.system import Frame, System
from mlffjax.study.inputs import Calculator, Model, frame_of, model_of, require_ase, versions
from mlffjax.study.lock import locked
from mlffjax.study.records import number_or_none, write_arrays, write_json

REPORT, ARRAYS, IMAGES = "slide.json", "slide.npz", "line.extxyz"
Observe = Callable[[str, int, int], None]
"""Called with what is being done, the number of structures done and the number of all."""


class SlideConfig(Config):
    """A slide of layers over each other, along a line and, if wanted, over a whole surface."""

    structure: str = pydantic.Field(min_length=1)
    """A file with the structure, relative to the configuration, or ``bundled:``."""
    frame: int = pydantic.Field(default=0, ge=0)
    """Which frame of the file, counted from 0."""
    potential: str = "bundled:generalist"
    """Directory of a stored potential, relative to the configuration, or ``bundled:``."""
    calculator: Calculator | None = None
    """A section ``kind: ase`` in place of a stored potential."""
    dispersion: Damping | None = None
    """Add D3 to a potential that has none; refused for one that has."""
    layers: LayersConfig = LayersConfig()
    moving: tuple[int, ...] | None = None
    """Layers that slide, 0 being the lowest; by default the upper one of two."""
    intercalated: Side = "rest"
    """Whether atoms in the sheared gap stay at rest or move along."""
    direction: tuple[int, int, int] | None = None
    """Lattice vector to slide by, as a combination of the cell vectors; by default the shortest."""
    vector: tuple[float, float, float] | None = None
    """Å; to slide by something else."""
    images: int = pydantic.Field(default=25, ge=3)
    surface: tuple[int, int] | None = None
    """Shifts along the two lattice vectors of the plane; none: no surface."""
    relaxation: Mode = "rigid"
    tolerance: float = pydantic.Field(default=1e-4, gt=0, description="of free forces, eV/Å")
    steps: int = pydantic.Field(default=300, ge=1, description="of a relaxation")
    closure_tolerance: float = pydantic.Field(default=1e-6, gt=0.0)
    """Largest energy change on sliding by a lattice vector, eV."""

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> "SlideConfig":
        if self.direction is not None and self.vector is not None:
            raise ValueError("expected 'direction' or 'vector', got both")
        if self.surface is not None and min(self.surface) < 3:
            raise ValueError(f"surface: expected at least 3 x 3, got {list(self.surface)}")
        if self.calculator is not None:
            require_ase(self.calculator)
            if "potential" in self.model_fields_set or self.dispersion is not None:
                raise ValueError("a 'calculator' excludes 'potential' and 'dispersion'")
        return self


class SlideOutcome(NamedTuple):
    """What was found.

    Attributes:
        report: contents of ``slide.json``.
        failures: why numbers must not be used; empty if all is well.
    """

    report: dict[str, Any]
    failures: tuple[str, ...]


class SlidePlan(NamedTuple):
    """What slides over what, and how far."""

    frame: Frame
    model: Model
    layers: Layers
    along: Slider
    vector: Float64[np.ndarray, " 3"]
    """Å, of the line."""


def run(
    config: SlideConfig, base: Path, out: Path, *, observe: Observe | None = None
) -> SlideOutcome:
    """Slide, and write what was found into a directory.

    Args:
        config: what to do.
        base: directory that its relative paths start from.
        out: output directory; files of an earlier run are replaced.
        observe: told about progress.

    Raises:
        ConfigError: the configuration cannot be used, or JAX is not set to 64 bits.
        InputError: no layers, an ambiguous choice, a slide out of the plane, or another process
            works on ``out``.
        CompatibilityError: the potential does not know an element, or has a dispersion correction.
    """
    plan = planned(config, base)
    with locked(out):
        return _slid(config, plan, out, observe or (lambda what, done, every: None))


def _slid(config: SlideConfig, plan: SlidePlan, out: Path, tell: Observe) -> SlideOutcome:
    frame, model, layers, along, vector = plan
    potential, card = model
    settings = Settings(config.relaxation, config.tolerance, config.steps)
    line = gamma_surface.along_line(
        potential,
        along,
        vector,
        config.images,
        settings=settings,
        observe=lambda done, every: tell("line", done, every),
    )
    surface = None
    if config.surface is not None:
        surface = gamma_surface.over_grid(
            potential,
            along,
            config.surface,
            settings=settings,
            observe=lambda done, every: tell("surface", done, every),
        )
    failures = _failures(config, line, surface)
    report = {
        "config": configuration.dump(config),
        "structure": frame.source,
        "potential": model.described,
        "dispersion": None if card is None else card.dispersion,
        "layers": _layers_report(layers, along),
        "line": _line_report(line, along),
        "surface": None if surface is None else _surface_report(surface, along),
        "failures": list(failures),
        "versions": versions(),
    }
    (out / REPORT).unlink(missing_ok=True)  # never an old report beside new arrays
    write_arrays(out / ARRAYS, _arrays(line, surface))
    write_frames(out / IMAGES, _frames(line, along))
    write_json(out / REPORT, report)
    return SlideOutcome(report, failures)


def planned(config: SlideConfig, base: Path) -> SlidePlan:
    """Read the structure and the model, and find the layers; nothing is computed.

    Raises:
        ConfigError, InputError, CompatibilityError: as ``run``.
    """
    frame = frame_of(config.structure, config.frame, base)
    system = frame.system
    model = _model(config, base, system)
    layers = layers_of(system, config.layers)
    along = slider(system, layers, moving=config.moving, intercalated=config.intercalated)
    vector = np.array(config.vector) if config.vector else along.plane[0]
    if config.direction is not None:
        vector = lattice_vector(along, config.direction)
    return SlidePlan(frame, model, layers, along, vector)


def _model(config: SlideConfig, base: Path, system: System) -> Model:
    model = model_of(config.potential, config.calculator, base, system.numbers)
    if config.dispersion is None or model.card is None:
        return model
    if not system.pbc.all():
        raise ConfigError(
            "expected a structure that is periodic in three directions for 'dispersion', got pbc "
            f"= {system.pbc.tolist()}; give the open direction a period with enough vacuum"
        )
    return Model(*corrected(model.potential, model.card, damping=config.dispersion))


def _failures(
    config: SlideConfig, line: LineResult, surface: SurfaceResult | None
) -> tuple[str, ...]:
    found = []
    error = max(line.closure_error, 0.0 if surface is None else surface.closure_error)
    if not error <= config.closure_tolerance:
        found.append(
            f"sliding by a lattice vector changes the energy by {error:.2g} eV, allowed "
            f"{config.closure_tolerance:g}: a defect of cell, neighbour list or precision"
        )
    for name, part in (("line", line), ("surface", surface)):
        if part is None:
            continue
        bad = np.flatnonzero(part.found.status != Status.CONVERGED)
        if len(bad):
            kinds = sorted({Status(int(part.found.status[index])).name.lower() for index in bad})
            found.append(
                f"{name}: {len(bad)} of {len(part.found.status)} structures did not relax "
                f"({', '.join(kinds)}; first number {bad[0]}); no barrier is given"
            )
    return tuple(found)


def _layers_report(layers: Layers, along: Slider) -> dict[str, Any]:
    return {
        "atoms": [layer.atoms.tolist() for layer in layers.layers],
        "thickness": [layer.top - layer.bottom for layer in layers.layers],
        "gaps": [
            {
                "thickness": number_or_none(gap.thickness),
                "vacuum": gap.vacuum,
                "intercalated": gap.intercalated.tolist(),
            }
            for gap in layers.gaps
        ],
        "normal": layers.normal.tolist(),
        "plane": along.plane.tolist(),
        "area": along.area,
        "moving": np.flatnonzero(along.moving).tolist(),
        "interfaces": along.interfaces,
    }


def _energies(name: str, energy: float, along: Slider) -> dict[str, float | None]:
    """An energy of the cell, per area of sheared interface and per atom."""
    atoms = len(along.moving)
    return {
        name: number_or_none(energy),
        f"{name}_j_per_m2": number_or_none(per_area(energy, along)),
        f"{name}_mev_per_atom": number_or_none(1e3 * energy / atoms),
    }


def _found_report(found: Shifted) -> dict[str, Any]:
    return {
        "converged": bool((found.status == Status.CONVERGED).all()),
        "residual": number_or_none(float(found.residual.max())),
        "interlayer_distance": [float(found.distance.min()), float(found.distance.max())],
    }


def _line_report(line: LineResult, along: Slider) -> dict[str, Any]:
    return {
        "vector": line.shifts[-1].tolist(),
        "closed": line.closed,
        "closure_error": line.closure_error,
        **_energies("barrier", line.barrier, along),
        **_energies("corrugation", line.corrugation, along),
        "saddle_fraction": number_or_none(line.saddle),
        "minima": [{"fraction": one.fraction, "energy": one.energy} for one in line.minima],
        **_found_report(line.found),
    }


def _surface_report(surface: SurfaceResult, along: Slider) -> dict[str, Any]:
    return {
        "grid": list(surface.energy.shape),
        "closure_error": surface.closure_error,
        **_energies("barrier", surface.barrier, along),
        **_energies("corrugation", surface.corrugation, along),
        "saddle_fraction": [number_or_none(float(part)) for part in surface.saddle],
        "minima": [
            {
                "fraction": one.fraction.tolist(),
                "shift": (one.fraction @ along.plane).tolist(),
                "energy": one.energy,
            }
            for one in surface.minima
        ],
        **_found_report(surface.found),
    }


def _arrays(line: LineResult, surface: SurfaceResult | None) -> dict[str, np.ndarray]:
    arrays = {
        "line_shift": line.shifts,
        "line_arclength": line.arclength,
        "line_energy": line.energy,
    } | _found_arrays("line", line.found)
    if surface is not None:
        arrays |= {"surface_shift": surface.shifts, "surface_energy": surface.energy}
        arrays |= _found_arrays("surface", surface.found)
    return arrays


def _found_arrays(name: str, found: Shifted) -> dict[str, np.ndarray]:
    return {
        f"{name}_distance": found.distance,
        f"{name}_positions": found.positions,
        f"{name}_status": found.status,
    }


def _frames(line: LineResult, along: Slider) -> list[Frame]:
    """Structures along the line; energies are the potential's, so they are no labels."""
    return [
        Frame(
            system=along.system._replace(positions=positions),
            energy=None,
            forces=None,
            stress=None,
            config_type="slide",
            trajectory="slide",
            order=float(index),
            identifier=f"slide:{index}",
            source=f"slide image {index}",
            info={
                "image": index,
                "slide_length": float(line.arclength[index]),
                "model_energy": float(line.energy[index]),
                "interlayer_distance": float(line.found.distance[index]),
            },
        )
        for index, positions in enumerate(line.found.positions)
    ]
