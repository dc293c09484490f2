"""What was forgotten of the foundation, and how candidates answer to strain."""

from collections.abc import Iterator, Mapping

import numpy as np

from mlffjax.report import style
from mlffjax.report.curves import Curve, Measured, grouped, measured, with_spread
from mlffjax.report.figures import (
    SEEDS,
    SPREAD,
    Looks,
    bars_of,
    filled,
    probes_of_kind,
    reference_name,
)
from mlffjax.report.panels import Figure, Panel, Trace, cleaned, finite, window
from mlffjax.report.tables import Cell, Column, Table, measured_table
from mlffjax.study.records import ProbeInfo, StudyRecords

FORGETTING, STRAIN = "forgetting", "strain"
FOUNDATION = "foundation (reference)"
DEEPEST = 4.0  # dimer curves are cut at this multiple of the foundation's deepest well

INDEX = (
    Column("index", "Index", digits=2, signed=True),
    Column("generic_energy", "Generic energies", digits=2, signed=True),
    Column("generic_forces", "Generic forces", digits=2, signed=True),
    Column("sliding", "Slide", digits=2, signed=True),
    Column("strain_energy", "Strain energy", digits=2, signed=True),
    Column("elastic", "Elastic constants", digits=2, signed=True),
    Column("dimers", "Dimers", digits=2, signed=True),
)
ERRORS = (
    Column("generic_energy_error", "Generic E (meV/atom)", 1e3, 1),
    Column("generic_forces_error", "Generic F (meV/Å)", 1e3, 0),
    Column("sliding_error", "Slide (meV)", 1e3, 0),
    Column("strain_energy_error", "Strain (meV/atom)", 1e3, 2),
    Column("elastic_error", "ΔC (GPa)", digits=1),
    Column("dimers_error", "Dimers (eV)", digits=2),
    Column("c11", "C11 (GPa)", digits=1),
    Column("c33", "C33 (GPa)", digits=1),
    Column("c12", "C12 (GPa)", digits=1),
    Column("c13", "C13 (GPa)", digits=1),
    Column("c44", "C44 (GPa)", digits=1),
)
STRAINED = (
    Column("energy_rmse", "Energies (meV/atom)", 1e3, 2),
    Column("stress_rmse", "Stresses (GPa)", digits=2),
    Column("pressure_error", "Pressure error (GPa)", digits=2, signed=True),
    Column("volume_error", "Volume error (Å³/atom)", digits=2, signed=True),
    Column("bulk_modulus_reference", "Reference B (GPa)", digits=1),
    Column("bulk_modulus_frames", "B (GPa)", digits=1),
    Column("a0", "a0 (Å)", digits=3),
    Column("a_change", "a0 (%)", 100.0, 2, signed=True),
    Column("c0", "c0 (Å)", digits=3),
    Column("c_change", "c0 (%)", 100.0, 2, signed=True),
    Column("relaxed", "Relaxed (fraction)", digits=2),
)


def blocks(study: StudyRecords, looks: Looks) -> tuple[Figure | Table, ...]:
    """Everything about forgetting and strain; nothing if the study has no such probe."""
    asked = {section.get("kind") for section in study.info.config.get("probes", ())}
    made: list[Figure | Table] = []
    if FORGETTING in asked:
        made += [index_figure(study, looks), index_table(study), error_table(study)]
        made += [dimer_figure(study, looks)]
    if STRAIN in asked:
        made += [strain_figure(study, looks), strain_table(study)]
    return tuple(made)


def index_figure(study: StudyRecords, looks: Looks) -> Figure:
    """The index of every candidate, as bars."""
    figure = Figure(
        "forgetting-index",
        "Forgetting index",
        "Mean over parts of log2((error + scale) / (error of the foundation + scale)): positive is "
        "forgotten, negative improved; 1 means errors twice as large where they are well above "
        "the scale. Candidates that did not start from the foundation have nothing to forget; "
        f"theirs says how much less they know. {SEEDS}",
    )
    panels = []
    for probe in probes_of_kind(study, FORGETTING):
        groups = study.by_name()
        traces = tuple(
            trace
            for place, (name, runs) in enumerate(groups.items())
            for trace in bars_of(probe, "index", name, runs, looks[name], place)
        )
        if traces:
            title = probe.name
            panels.append(Panel(title, "", "forgetting index", traces, ticks=tuple(groups)))
    return filled(figure, panels, study, FORGETTING)._replace(columns=1)


def index_table(study: StudyRecords) -> Table:
    """The index and its parts; candidates that had nothing to forget are marked."""
    table = Table(
        "table-forgetting",
        "Forgetting: the index and its parts",
        "Each part is log2((error + scale) / (error of the foundation + scale)), the index their "
        "mean; positive is forgotten. Errors of generic structures, of the slide and of strained "
        "crystals are against labels; elastic constants and wells of dimers are compared with the "
        "foundation itself, so their parts cannot reward. Mean ± standard deviation over seeds.",
    )
    made = measured_table(table, study, FORGETTING, INDEX)
    if not made.rows:
        return made
    starts = {name: runs[0].info.starts_from for name, runs in study.by_name().items()}
    rows = tuple((row[0], _start(starts.get(str(row[0].value), "")), *row[1:]) for row in made.rows)
    columns = (made.columns[0], "Started from", *made.columns[1:])
    return made._replace(columns=columns, rows=rows)


def _start(start: str) -> Cell:
    text = {"model": "nothing: knows less, forgot nothing", "foundation": "foundation"}
    return Cell(text.get(start, "not recorded"), start)


def error_table(study: StudyRecords) -> Table:
    """The errors behind the parts, and elastic constants."""
    scales = {
        name: value
        for probe in probes_of_kind(study, FORGETTING)
        for name, value in (probe.config.get("scales") or {}).items()
    }
    said = ", ".join(f"{name} {value:g}" for name, value in scales.items())
    table = Table(
        "table-forgetting-errors",
        "Forgetting: errors and elastic constants",
        "Generic E: after one shift per element was fitted, so that reference energies do not "
        "count. ΔC: rms change of the clamped-ion elastic constants from the foundation's. Dimers: "
        "ripples, holes at short distance and change of the wells' depths. Scales (units of the "
        f"errors in eV, Å, GPa): {said or 'not recorded'}. Mean ± standard deviation over seeds.",
    )
    return measured_table(table, study, FORGETTING, ERRORS)


def dimer_figure(study: StudyRecords, looks: Looks) -> Figure:
    """Energies of pairs of atoms against their distance."""
    figure = Figure(
        "forgetting-dimers",
        "Dimer curves",
        "Two atoms in empty space, from 0.8 to 2.5 sums of covalent radii, energy above the "
        "largest distance; the foundation solid black. A sound curve has a wall and one well. "
        f"{SPREAD}",
    )
    panels = [
        panel
        for probe in probes_of_kind(study, FORGETTING)
        for panel in _dimer_panels(study, probe, looks)
    ]
    return filled(figure, panels, study, FORGETTING)


def _dimer_panels(study: StudyRecords, probe: ProbeInfo, looks: Looks) -> Iterator[Panel]:
    known = measured(
        study, probe, "dimer_pairs", "dimer_distance", "dimer_energy_model",
        "dimer_energy_foundation",
    )  # fmt: skip
    if not known:
        return
    pairs = dict.fromkeys(str(pair) for _, arrays in known for pair in arrays["dimer_pairs"])
    for pair in pairs:
        # Runs may know different pairs, so every array is looked up by the name of the pair.
        having = [(run, arrays, _place(arrays, pair)) for run, arrays in known]
        having = [(run, arrays, place) for run, arrays, place in having if place is not None]
        _, first, place = having[0]
        distance = first["dimer_distance"][place]
        reference = first["dimer_energy_foundation"][place]
        traces = [
            Trace(
                FOUNDATION, "line", style.REFERENCE, cleaned(distance), cleaned(reference)
            )
        ]  # fmt: skip
        for name, runs in grouped(known).items():
            curves = [
                Curve(
                    f"seed {run.info.seed}", a["dimer_distance"][own], a["dimer_energy_model"][own]
                )
                for run, a in runs
                if (own := _place(a, pair)) is not None
            ]
            traces += with_spread(name, looks[name], curves)
        scale = max((-min(value, 0.0) for value in finite(reference)), default=0.0)
        limits = window((y for t in traces for y in t.y), max(scale, 0.1), factor=DEEPEST)
        label = "energy above free atoms (eV)"
        note = "Cut for legibility; double-click for the whole range." if limits else ""
        title = f"{probe.name}: {pair}"
        yield Panel(title, "distance (Å)", label, tuple(traces), window=limits, note=note)


def _place(arrays: Mapping[str, np.ndarray], pair: str) -> int | None:
    """Where a run keeps a pair; None if it does not know it."""
    names = [str(name) for name in arrays["dimer_pairs"]]
    return names.index(pair) if pair in names else None


def strain_figure(study: StudyRecords, looks: Looks) -> Figure:
    """Energies and pressures of labelled strained frames, by kind of strain."""
    source = reference_name(study)
    figure = Figure(
        "strain",
        "Energy and pressure under strain",
        "Labelled strained frames: energy per atom relative to the mean of all frames of the same "
        f"composition, and static pressure; {source} solid black. {SPREAD}",
    )
    panels = [
        panel
        for probe in probes_of_kind(study, STRAIN)
        for panel in _strain_panels(study, probe, looks)
    ]
    return filled(figure, panels, study, STRAIN)


def _strain_panels(study: StudyRecords, probe: ProbeInfo, looks: Looks) -> Iterator[Panel]:
    for quantity, unit in (("energy", "eV/atom"), ("pressure", "GPa")):
        known = measured(
            study, probe, "frame_series", "frame_strain", f"frame_{quantity}_model",
            f"frame_{quantity}_reference",
        )  # fmt: skip
        for series in np.unique(known[0][1]["frame_series"]) if known else ():
            traces = [*_strain_reference(reference_name(study), known, quantity, str(series))]
            for name, runs in grouped(known).items():
                curves = [
                    _of_series(f"seed {run.info.seed}", a, f"frame_{quantity}_model", str(series))
                    for run, a in runs
                ]
                traces += with_spread(name, looks[name], curves)
            title, label = f"{probe.name}, {series}: {quantity}", f"{quantity} ({unit})"
            yield Panel(title, "strain", label, tuple(traces))


def _strain_reference(source: str, known: Measured, quantity: str, series: str) -> Iterator[Trace]:
    curve = _of_series("", known[0][1], f"frame_{quantity}_reference", series)
    x, y = cleaned(curve.x), cleaned(curve.y)
    if finite(y):
        yield Trace(source, "line", style.REFERENCE, x, y)
        yield Trace(source, "marks", style.REFERENCE, x, y)


def _of_series(label: str, arrays: Mapping[str, np.ndarray], name: str, series: str) -> Curve:
    """Frames of one kind of strain and one composition, by growing strain."""
    chosen = np.flatnonzero(arrays["frame_series"] == series)
    order = chosen[np.argsort(arrays["frame_strain"][chosen], kind="stable")]
    return Curve(label, arrays["frame_strain"][order], arrays[name][order])


def strain_table(study: StudyRecords) -> Table:
    """Errors under strain, equation of state, and the lattice without stress."""
    table = Table(
        "table-strain",
        "Strain, equation of state and lattice parameters",
        "Energies and stresses on labelled strained frames; B and volume from frames scaled in all "
        "directions with clamped atoms, model and reference by the same fit; a0 and c0 after "
        "relaxation of atoms and cell to zero stress (length of the first lattice vector, height "
        "of the cell), in per cent of the given crystal. Mean ± standard deviation over seeds.",
    )
    return measured_table(table, study, STRAIN, STRAINED)
