"""Figures and tables of gamma surfaces (the paper's Fig. 3): maps, cuts, numbers."""

import math
from collections.abc import Iterator, Mapping
from statistics import median

import numpy as np

from mlffjax.report import style
from mlffjax.report.curves import Curve, grouped, measured, with_spread
from mlffjax.report.figures import SPREAD, TALLEST, Looks, absence, probes_of_kind
from mlffjax.report.panels import Figure, Panel, Trace, cleaned
from mlffjax.report.style import Look
from mlffjax.report.tables import Column, Table, measured_table
from mlffjax.study.records import ProbeInfo, StudyRecords

KIND = "gamma_surface"
POINTS = 72  # of a map along the longer side
MINIMUM, START = Look(style.PALETTE[1], "solid", "circle"), Look(style.BLACK, "solid", "cross")
ENERGY = "energy above the minimum (eV)"
DIRECTIONS = {"first lattice vector": (1, 0), "second lattice vector": (0, 1), "their sum": (1, 1)}

SURFACES = (
    Column("corrugation", "Corrugation (eV)", digits=3),
    Column("corrugation_per_area", "Corrugation (J/m²)", digits=4),
    Column("barrier", "Lowest pass (eV)", digits=3),
    Column("barrier_per_area", "Lowest pass (J/m²)", digits=4),
    Column("minima", "Minima", digits=1),
    Column("interlayer_distance", "Layer distance (Å)", digits=3),
    Column("unconverged", "Not relaxed", digits=1),
    Column("closure_error", "Closure error (µeV)", 1e6, 3),
)


def blocks(study: StudyRecords, looks: Looks) -> tuple[Figure | Table, ...]:
    """Everything about gamma surfaces."""
    return map_figure(study), surface_figure(study, looks), surface_table(study)


def map_figure(study: StudyRecords) -> Figure:
    """The surface of every candidate as a map in the plane of the layers."""
    figure = Figure(
        "fig3-gamma-map",
        "Gamma surfaces",
        "Energy above the lowest point of the surface for every shift of the sliding layers in "
        "their plane, mean over seeds, interpolated by Fourier series through the computed grid; "
        "one cell is outlined, the rest repeats it. Circles: minima; cross: the given stacking. "
        "Colours of one probe are comparable between candidates.",
    )
    panels = [panel for probe in probes_of_kind(study, KIND) for panel in _map_panels(study, probe)]
    if not panels:
        return figure._replace(missing=absence(study, KIND))
    return figure._replace(panels=tuple(panels))


def _map_panels(study: StudyRecords, probe: ProbeInfo) -> Iterator[Panel]:
    known = measured(study, probe, "energy_fine_model", "plane")
    heights = {
        name: np.mean([arrays["energy_fine_model"] for _, arrays in runs], axis=0)
        for name, runs in grouped(known).items()
    }
    if not heights:
        return
    largest = [float(np.nanmax(surface - surface.min())) for surface in heights.values()]
    high = min(max(largest), TALLEST * median(largest))
    for name, surface in heights.items():
        plane = _flat(grouped(known)[name][0][1]["plane"])
        surface = surface - surface.min()
        note = "Colours are cut for legibility." if surface.max() > high else ""
        yield Panel(
            f"{probe.name}: {name}",
            "shift along the first lattice vector (Å)",
            "shift across it (Å)",
            (_map(name, surface, plane), *_marked(surface, plane), _outline(plane)),
            square=True,
            note=note,
            z_label=ENERGY,
            z_window=(0.0, high) if high > 0 else None,
        )


def _flat(plane: np.ndarray) -> np.ndarray:
    """Two lattice vectors in the plane they span, the first along x, the second upwards [2, 2]."""
    length = np.linalg.norm(plane[0])
    along = plane[0] / length
    across = plane[1] - (plane[1] @ along) * along
    return np.array([[length, 0.0], [plane[1] @ along, np.linalg.norm(across)]])


def _map(name: str, surface: np.ndarray, plane: np.ndarray) -> Trace:
    """The surface on a rectangular grid around one cell."""
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) @ plane
    size = np.ptp(corners, axis=0)
    counts = np.maximum(np.round(POINTS * size / size.max()).astype(int), 2)
    x, y = (
        np.linspace(low, low + width, count)
        for low, width, count in zip(corners.min(axis=0), size, counts, strict=True)
    )
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    heights = between(surface, points @ np.linalg.inv(plane))
    look = Look(style.GREY, "solid", "circle")
    return Trace(
        name, "map", look, cleaned(points[:, 0]), cleaned(points[:, 1]), z=cleaned(heights)
    )


def between(surface: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    """A periodic surface at fractions of its lattice vectors, linear between the grid points."""
    places = fractions % 1.0 * surface.shape
    lower = np.floor(places).astype(int)
    rest = places - lower
    found = np.zeros(len(places))
    for step in np.ndindex(2, 2):
        index = (lower + step) % surface.shape
        weight = np.where(step, rest, 1 - rest).prod(axis=1)
        found += weight * surface[index[:, 0], index[:, 1]]
    return found


def _marked(surface: np.ndarray, plane: np.ndarray) -> Iterator[Trace]:
    """Minima of the drawn surface and the stacking it starts from."""
    lowest = np.ones(surface.shape, bool)
    for step in [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]:
        lowest &= surface < np.roll(surface, step, axis=(0, 1))
    places = np.argwhere(lowest) / surface.shape @ plane
    yield Trace("minimum", "marks", MINIMUM, cleaned(places[:, 0]), cleaned(places[:, 1]))
    yield Trace("given stacking", "marks", START, (0.0,), (0.0,))


def _outline(plane: np.ndarray) -> Trace:
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]) @ plane
    return Trace("cell", "guide", style.GUIDE, cleaned(corners[:, 0]), cleaned(corners[:, 1]))


def surface_figure(study: StudyRecords, looks: Looks) -> Figure:
    """Cuts through the surface along the lattice vectors of the plane."""
    figure = Figure(
        "fig3-gamma-surface",
        "Cuts through the gamma surface",
        "Energy above the lowest point of the surface against the shift of the sliding layers, "
        "from the given stacking along the lattice vectors of the plane and along their sum, "
        f"interpolated by Fourier series through the computed grid. {SPREAD}",
    )
    panels = [
        panel for probe in probes_of_kind(study, KIND) for panel in _cut_panels(study, probe, looks)
    ]
    if not panels:
        return figure._replace(missing=absence(study, KIND))
    return figure._replace(panels=tuple(panels))


def _cut_panels(study: StudyRecords, probe: ProbeInfo, looks: Looks) -> Iterator[Panel]:
    known = measured(study, probe, "energy_fine_model")
    for title, direction in DIRECTIONS.items():
        traces: list[Trace] = []
        for name, runs in grouped(known).items():
            curves = [_section(f"seed {run.info.seed}", a, direction) for run, a in runs]
            traces += with_spread(name, looks[name], curves)
        if traces:
            title = f"{probe.name}: {title}"
            yield Panel(title, "shift / translation", ENERGY, tuple(traces))


def _section(label: str, arrays: Mapping[str, np.ndarray], direction: tuple[int, int]) -> Curve:
    """Energies at grid points along a direction, closed by the first: the surface is periodic."""
    surface = arrays["energy_fine_model"]
    counts = [n for n, wanted in zip(surface.shape, direction, strict=True) if wanted]
    points = math.gcd(*counts)  # a diagonal meets only these
    steps = np.arange(points + 1)
    places = [
        wanted * steps * (n // points) % n if wanted else 0 * steps
        for n, wanted in zip(surface.shape, direction, strict=True)
    ]
    return Curve(label, steps / points, surface[places[0], places[1]])


def surface_table(study: StudyRecords) -> Table:
    """Corrugation, lowest pass and minima of gamma surfaces."""
    table = Table(
        "table-gamma-surface",
        "Gamma surfaces",
        "Corrugation: highest above lowest point. Lowest pass: what must be climbed to slide from "
        "one minimum to its next image. J/m² are per area of sheared interface. The closure error "
        "is the energy change on sliding by a lattice vector. Mean ± standard deviation over "
        "seeds.",
    )
    return measured_table(table, study, KIND, SURFACES)
