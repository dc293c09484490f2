"""How alike candidates represent the same structures, and how far they went from the foundation."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlffjax.report import style
from mlffjax.report.figures import SEEDS, Looks, bars_of, filled, probes_of_kind
from mlffjax.report.panels import Figure, Panel, Trace, cleaned, finite
from mlffjax.report.tables import Column, Table, measured_table
from mlffjax.study.compared import KIND
from mlffjax.study.records import ProbeInfo, StudyRecords

MANY = 12  # runs; of more, cells hold means over the seeds of candidates
KERNELS = {"linear": "linear", "rbf": "Gaussian"}
LOWEST = 0.9  # the colours reach down to this at least

Evidence = Mapping[str, Any]


def alignment_figure(study: StudyRecords, made: Mapping[str, Evidence], kernel: str) -> Figure:
    """Alignment of every pair of runs as a map, by layer and element."""
    width = "The kernel is as wide as each candidate's median distance. " if kernel == "rbf" else ""
    figure = Figure(
        "fig4-alignment" if kernel == "linear" else "fig4-alignment-rbf",
        f"Alignment of features at the same structures, {KERNELS[kernel]} kernel",
        f"Centred kernel alignment (CKA), {KERNELS[kernel]}, debiased: 1 if two candidates order "
        "the same atoms alike up to a rotation of the features, about 0 if they have nothing in "
        "common. Every element by itself: what tells elements apart all candidates have in common, "
        f"and it would hide the rest. {width}Colours of all panels are comparable; empty cells are "
        "not defined.",
        columns=3,
    )
    maps = [
        (f"{probe}: {layer}" if len(made) > 1 else layer, part)
        for probe, one in made.items()
        for layer, part in _by_element(one.get("layers", {})).items()
    ]
    values = finite(value for _, part in maps for row in part[kernel] for value in row)
    low = max(0.0, min([LOWEST, *(math.floor(10 * value) / 10 for value in values)]))
    panels = [
        _map_panel(study, title, part, kernel)._replace(z_window=(low, 1.0)) for title, part in maps
    ]
    return filled(figure, panels, study, KIND)


def _by_element(layers: Mapping[str, Evidence]) -> dict[str, Evidence]:
    """Elements of every layer; a layer as a whole where there is one element only."""
    return {
        name: part
        for name, part in layers.items()
        if "," in name or not any(other.startswith(f"{name}, ") for other in layers)
    }


def _map_panel(study: StudyRecords, title: str, part: Evidence, kernel: str) -> Panel:
    names, rows = _cells(study, part["runs"], part[kernel])
    count = range(len(names))
    x = tuple(float(column) for _ in count for column in count)
    y = tuple(float(row) for row in count for _ in count)
    values = tuple(value for row in rows for value in row)
    trace = Trace(title, "cells", style.REFERENCE, x, y, z=values)
    atoms = part["rbf_rows" if kernel == "rbf" else "rows"]
    return Panel(title, "", "", (trace,), ticks=names, z_label="CKA", note=f"{atoms} atoms.")


def _cells(
    study: StudyRecords, runs: Sequence[str], matrix: Sequence[Sequence[float | None]]
) -> tuple[tuple[str, ...], list[tuple[float | None, ...]]]:
    """Names and rows: single runs if they are few, otherwise means over pairs of seeds."""
    infos = {run.info.id: run.info for run in study.runs}
    names = [infos[run].name if run in infos else run for run in runs]
    if len(runs) <= MANY:
        several = {name for name in names if names.count(name) > 1}
        labels = [
            f"{name}, s{infos[run].seed}" if name in several and run in infos else name
            for name, run in zip(names, runs, strict=True)
        ]
        return tuple(labels), [cleaned(row) for row in matrix]
    groups = {name: [i for i, other in enumerate(names) if other == name] for name in names}
    rows = [
        tuple(
            _mean(matrix[i][j] for i in first for j in second if i != j or len(first) == 1)
            for second in groups.values()
        )
        for first in groups.values()
    ]
    return tuple(groups), rows


def _mean(values: Iterable[float | None]) -> float | None:
    known = finite(values)
    return sum(known) / len(known) if known else None


def drift_figure(study: StudyRecords, looks: Looks) -> Figure:
    """How far the last layer went from the foundation's, by element, as bars."""
    figure = Figure(
        "fig4-drift",
        "Drift from the foundation",
        "1 - CKA between the last layer of each candidate and of the foundation, at the same atoms "
        "of one element: 0 if the relations between atoms are still those of the foundation. It "
        "says how much was rewritten, not whether that harmed: see the table of rank correlations. "
        f"{SEEDS}",
    )
    panels = []
    for probe in _alike(study):
        names = dict.fromkeys(
            metric
            for run in study.runs
            for metric in (run.probes[probe.name].metrics if probe.name in run.probes else ())
            if metric.startswith("drift/")
        )
        for metric in names:
            panel = _drift_panel(study, probe, metric, looks)
            panels += [panel] if panel is not None else []
    if panels or not _alike(study):
        return filled(figure, panels, study, KIND)._replace(columns=min(3, max(1, len(panels))))
    return figure._replace(missing=_no_drift(study))


def _drift_panel(study: StudyRecords, probe: ProbeInfo, metric: str, looks: Looks) -> Panel | None:
    groups = study.by_name()
    traces = tuple(
        trace
        for place, (name, runs) in enumerate(groups.items())
        for trace in bars_of(probe, metric, name, runs, looks[name], place)
    )
    if not traces:
        return None
    element = metric.partition("/")[2]
    return Panel(f"{probe.name}: {element}", "", "1 - CKA", traces, ticks=tuple(groups))


def _no_drift(study: StudyRecords) -> str:
    reasons = {
        record.reasons["drift"]
        for probe in _alike(study)
        for run in study.runs
        if (record := run.probes.get(probe.name)) is not None and "drift" in record.reasons
    }
    return f"No drift can be measured: {'; '.join(sorted(reasons))}." if reasons else ""


def _alike(study: StudyRecords) -> tuple[ProbeInfo, ...]:
    probes = probes_of_kind(study, KIND)
    return tuple(probe for probe in probes if probe.config.get("mode") != "paper")


def drift_table(study: StudyRecords) -> Table:
    """Drifts of the last layer, in three measures, and how separate kinds of structures are."""
    table = Table(
        "table-drift",
        "Drift from the foundation, and kinds of structures",
        "Last layer; means over elements and single elements. Cosine and displacement (change over "
        "the spread of the foundation's features) compare channel by channel and mean nothing for "
        "a candidate that did not start from the foundation's weights. Silhouette of kinds: how "
        "separate frames of different kinds and paths are within one candidate's features, with "
        "the mean of permuted labels. Mean ± standard deviation over seeds.",
    )
    elements = dict.fromkeys(
        metric.partition("/")[2]
        for run in study.runs
        for record in run.probes.values()
        for metric in record.metrics
        if record.probe.kind == KIND and metric.startswith("drift/")
    )
    columns = [
        Column("drift", "1 - CKA", digits=3),
        *(Column(f"drift/{z}", f"1 - CKA, {z}", digits=3) for z in elements),
        Column("cosine", "Cosine", digits=4),
        Column("displacement", "Displacement", digits=3),
        Column("silhouette", "Silhouette of kinds", digits=3, signed=True),
        Column("silhouette_null", "its null", digits=3, signed=True),
    ]
    made = measured_table(table, study, KIND, columns)
    alike = {probe.name for probe in _alike(study)}
    return made._replace(rows=tuple(row for row in made.rows if row[1].value in alike))
