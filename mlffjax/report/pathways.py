"""Figures and tables of relaxed bands (the paper's Fig. 7), with those of saddles and surfaces."""

from collections.abc import Iterator

import numpy as np

from mlffjax.report import saddles, style, surfaces
from mlffjax.report.curves import Measured, extracted, grouped, measured, with_spread
from mlffjax.report.figures import (
    ENERGY_LABEL,
    PATH_LABEL,
    TALLEST,
    Looks,
    absence,
    probes_of_kind,
    reference_name,
)
from mlffjax.report.panels import Figure, Panel, Trace, cleaned, finite, thinned, window
from mlffjax.report.tables import Column, Table, measured_table
from mlffjax.study.records import ProbeInfo, StudyRecords

RELAXED = "relaxed_neb"
POINTS = 400  # of a trace
# Statuses as the probe numbers them, in words for a note.
ENDED = ("", "did not settle", "exploded", "came apart", "lost its ends to one minimum")

BARRIERS = (
    Column("barrier_reference", "Reference barrier (eV)", digits=2),
    Column("barrier_fixed", "Fixed images (eV)", digits=2),
    Column("barrier_matched", "Own lattice (eV)", digits=2),
    Column("barrier", "Relaxed (eV)", digits=2),
    Column("barrier_fixed_error", "Error, fixed (eV)", digits=2, signed=True),
    Column("barrier_matched_error", "Error, own lattice (eV)", digits=2, signed=True),
    Column("barrier_error", "Error, relaxed (eV)", digits=2, signed=True),
    Column("converged", "Converged (fraction)", digits=2),
    Column("attempts", "Attempts", digits=1),
    Column("iterations", "Iterations", digits=0),
    Column("end_shift", "Shift of the ends (Å)", digits=2),
    Column("path_shift", "Off the reference path (Å)", digits=2),
    Column("volume_strain", "Volume (%)", 100.0, 1, signed=True),
)


def blocks(study: StudyRecords, looks: Looks) -> tuple[Figure | Table, ...]:
    """Everything about relaxed paths and surfaces; nothing if the study has no such probe."""
    asked = {section.get("kind") for section in study.info.config.get("probes", ())}
    made: list[Figure | Table] = []
    if RELAXED in asked:
        made += [band_figure(study, looks), trace_figure(study, looks), barrier_table(study)]
    if saddles.KIND in asked:
        made += saddles.blocks(study, looks)
    if surfaces.KIND in asked:
        made += surfaces.blocks(study, looks)
    return tuple(made)


def band_figure(study: StudyRecords, looks: Looks) -> Figure:
    """Energy along each candidate's own relaxed path (the paper's Fig. 7 b)."""
    source = reference_name(study)
    figure = Figure(
        "fig7-bands",
        "Energy along relaxed paths (the paper's Fig. 7 b)",
        "Every candidate on the path it relaxed to, by its own length: images (marks) and cubic "
        f"Hermite curves through energies and forces; {source} on its own images in black. A band "
        "that did not converge has marks only, those of its last sound images, and no barrier.",
    )
    panels = [
        panel
        for probe in probes_of_kind(study, RELAXED)
        if (panel := _band_panel(study, probe, looks)) is not None
    ]
    if not panels:
        return figure._replace(missing=absence(study, RELAXED))
    return figure._replace(panels=tuple(panels))


def _band_panel(study: StudyRecords, probe: ProbeInfo, looks: Looks) -> Panel | None:
    known = measured(study, probe, "arclength_model", "energy_model")
    if not known:
        return None
    traces = [*_reference(reference_name(study), known)]
    for name, runs in grouped(known).items():
        curves = extracted(runs, "curve_arclength_model", "curve_energy_model")
        traces += with_spread(name, looks[name], curves)
        traces += [
            Trace(name, "marks", looks[name], cleaned(c.x), cleaned(c.y), c.run)
            for c in extracted(runs, "arclength_model", "energy_model")
        ]
    heights = [finite(t.y) for t in traces if t.series not in looks] or [
        finite(t.y) for t in traces if t.form == "line"
    ]
    scale = max((max(map(abs, h), default=0.0) for h in heights), default=0.0)
    limits = window((y for t in traces for y in t.y), scale, factor=TALLEST)
    note = _failures(study, probe)
    if limits is not None:
        note = f"{note} Cut at {TALLEST:g} times the reference's height.".strip()
    return Panel(probe.name, PATH_LABEL, ENERGY_LABEL, tuple(traces), window=limits, note=note)


def _reference(source: str, known: Measured) -> Iterator[Trace]:
    """Line and images of the reference, from the first run that recorded them."""
    for _, arrays in known:
        if "energy_reference" in arrays and "arclength_reference" in arrays:
            x, y = cleaned(arrays["arclength_reference"]), cleaned(arrays["energy_reference"])
            yield Trace(source, "line", style.REFERENCE, x, y)
            yield Trace(source, "marks", style.REFERENCE, x, y)
            return


def _failures(study: StudyRecords, probe: ProbeInfo) -> str:
    """Which bands have no barrier, and how they ended."""
    ended: dict[str, None] = {}
    for run in study.runs:
        status = run.metric(probe.name, "status")
        if status:
            ended[f"{run.info.name}, seed {run.info.seed}, {ENDED[round(status)]}"] = None
    return f"No barrier: {'; '.join(ended)}." if ended else ""


def trace_figure(study: StudyRecords, looks: Looks) -> Figure:
    """Energy and largest force while bands relax (the paper's Fig. 7 c)."""
    figure = Figure(
        "fig7-traces",
        "Energy and force while the bands relax (the paper's Fig. 7 c)",
        "Every run by itself: energy of the highest image above the first, and the largest force "
        "on an atom of the band, tangential forces apart; the dotted line is the force at which it "
        "counts as converged. Attempts after a failure follow one another, so a sudden rise is "
        f"where one exploded. At most {POINTS} iterations of a run are drawn, evenly chosen.",
    )
    panels = [p for probe in probes_of_kind(study, RELAXED) for p in _traces(study, probe, looks)]
    if not panels:
        return figure._replace(missing=absence(study, RELAXED))
    return figure._replace(panels=tuple(panels))


def _traces(study: StudyRecords, probe: ProbeInfo, looks: Looks) -> Iterator[Panel]:
    known = measured(study, probe, "trace_residual", "trace_energy")
    energies, forces, longest = [], [], 1
    for run, arrays in known:
        name, label = run.info.name, f"seed {run.info.seed}"
        residual = arrays["trace_residual"]
        places = np.array(thinned(len(residual), POINTS), int)
        x, longest = cleaned(places + 1.0), max(longest, len(residual))
        highest = _highest(arrays["trace_energy"][places])
        energies.append(Trace(name, "seed", looks[name], x, cleaned(highest), label))
        # A logarithmic axis has no place for zero or less.
        positive = np.where(residual > 0, residual, np.nan)[places]
        forces.append(Trace(name, "seed", looks[name], x, cleaned(positive), label))
    if not known:
        return
    scale = float(np.median([abs(v) for t in energies for v in finite(t.y)] or [0.0]))
    limits = window((y for t in energies for y in t.y), scale, factor=TALLEST)
    note = "Cut for legibility; double-click for the whole range." if limits else ""
    label = "highest image above first (eV)"
    title = f"{probe.name}: energy"
    yield Panel(title, "iteration", label, tuple(energies), window=limits, note=note)
    goal = probe.config.get("relaxation", {}).get("fmax")
    if goal is not None:
        ends = (1.0, float(longest))
        forces.insert(0, Trace("converged", "guide", style.GUIDE, ends, (float(goal),) * 2))
    title = f"{probe.name}: force"
    yield Panel(title, "iteration", "largest force (eV/Å)", tuple(forces), log_y=True)


def _highest(energies: np.ndarray) -> np.ndarray:
    """Of every row the largest number above the first; NaN where the row holds none.

    Attempts with fewer images than others hold no numbers for the rest.
    """
    heights = energies - energies[:, :1]
    best = np.where(np.isfinite(heights), heights, -np.inf).max(axis=1)
    return np.where(np.isfinite(best), best, np.nan)


def barrier_table(study: StudyRecords) -> Table:
    """Three barriers, their errors, and how the relaxation went."""
    table = Table(
        "table-relaxed",
        "Fixed, lattice-matched and relaxed barriers",
        "Fixed: highest image above the first on the reference's images. Own lattice: the same "
        "after the cell of the first image relaxed and all images followed it. Relaxed: of the "
        "band between the candidate's own minima; only of bands that converged. Errors are "
        f"candidate minus {reference_name(study)}. Mean ± standard deviation over seeds.",
    )
    return measured_table(table, study, RELAXED, BARRIERS)
