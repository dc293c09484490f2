"""Tables of the report: numbers as text for readers, and unrounded for sorting and CSV."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mlffjax.report.figures import absence, probes_of_kind
from mlffjax.report.panels import finite
from mlffjax.report.style import Look
from mlffjax.study import tables as aggregates
from mlffjax.study.records import RunRecords, StudyRecords, mean_and_std
from mlffjax.study.verdict import Criterion, Verdict
from mlffjax.study.wording import quantity

DASH = "–"


class Cell(NamedTuple):
    """What is read (``text``) and what sorts (``value``, empty where nothing is known)."""

    text: str
    value: str | float = ""
    numeric: bool = False
    spread: float | None = None
    look: str = ""
    """A class of the style sheet: ``pass``, ``fail`` or ``unknown``."""


class Table(NamedTuple):
    """Rows of cells under column names; ``missing`` says why there are none."""

    key: str
    title: str
    caption: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()
    sortable: bool = True
    missing: str = ""
    looks: Mapping[str, Look] | None = None
    """Of the names in the first column, where they are not those of candidates."""


class Column(NamedTuple):
    """One metric of a probe as a column: its name, heading, factor to the unit shown, digits."""

    metric: str
    heading: str
    factor: float = 1.0
    digits: int = 2
    signed: bool = False
    worst: bool = False
    """Show the largest magnitude over seeds, in powers of ten, instead of the mean."""


ACCURACY = (
    Column("train_force_rmse", "Train RMSE F (meV/Å)", 1e3, 1),
    Column("validation_force_rmse", "Valid RMSE F (meV/Å)", 1e3, 1),
    Column("test_force_rmse", "Test RMSE F (meV/Å)", 1e3, 1),
    Column("test_energy_rmse", "Test RMSE E (meV/atom)", 1e3, 1),
)
TEST = ACCURACY[2:]
MIGRATION = (
    Column("barrier_reference", "Reference barrier (eV)", digits=2),
    Column("barrier", "Barrier (eV)", digits=2),
    Column("barrier_error", "Error (eV)", digits=2, signed=True),
    Column("barrier_hermite_error", "Error, Hermite (eV)", digits=2, signed=True),
    Column("asymmetry_error", "Last image error (eV)", digits=2, signed=True),
    Column("transition_shift", "Shift of the maximum", digits=2, signed=True),
    Column("path_rmse", "Path RMSE (eV)", digits=2),
    Column("force_slope", "Force slope", digits=2),
)
SLIDE = (
    Column("barrier_reference", "Reference barrier (eV)", digits=3),
    Column("barrier", "Barrier (eV)", digits=3),
    Column("barrier_error", "Error (eV)", digits=3, signed=True),
    Column("asymmetry_error", "Last image error (eV)", digits=4, signed=True),
    Column("path_rmse", "Path RMSE (eV)", digits=3),
    Column("closure_error", "Closure error (eV)", worst=True),
)


def number(value: float | None, column: Column, *, spread: float | None = None) -> Cell:
    """A number with its standard deviation, in the unit of the column."""
    if value is None:
        return Cell(DASH, "", numeric=True)
    value, spread = column.factor * value, None if spread is None else column.factor * spread
    if column.worst:
        return Cell(_power(value, digits=1), value, True)
    # z: an error that rounds to nothing has no sign.
    text = f"{value:{'+' if column.signed else ''}z.{column.digits}f}"
    tail = "" if spread is None else f" ± {spread:.{column.digits}f}"
    return Cell(text + tail, value, True, spread)


def score_table(verdict: Verdict) -> Table:
    """Every candidate by every criterion of the verdict, best candidate first."""
    table = Table(
        "table-scores",
        "Scores",
        "Errors over seeds (mean magnitude) against the limits of the verdict: ✓ within, ✗ above, "
        "? unknown; ~: the 95 % interval over seeds, widened by the uncertainty of the reference, "
        "crosses the limit or is not known. The score is the geometric mean of error over limit; "
        "below 1 is good. Times are wall times; a step of dynamics includes its compilation.",
    )
    if not verdict.candidates:
        return table._replace(missing="There is no candidate to judge.")
    criteria = verdict.candidates[0].criteria
    demands = (_demand(criterion) for criterion in criteria)
    costs = (Column("", "Training (s)", digits=0), Column("", "MD (ms/step)", digits=2))
    heads = ("Candidate", "Rank", "Score", *demands, *(column.heading for column in costs))
    rows = tuple(
        (
            Cell(candidate.name, candidate.name),
            number(candidate.rank, Column("rank", "Rank", digits=0)),
            number(candidate.score, Column("score", "Score")),
            *(_outcome(criterion) for criterion in candidate.criteria),
            number(candidate.training_seconds, costs[0]),
            number(candidate.md_ms_per_step, costs[1]),
        )
        for candidate in verdict.candidates
    )
    return table._replace(columns=heads, rows=rows)


def _demand(criterion: Criterion) -> str:
    head = criterion.label[:1].upper() + criterion.label[1:]
    if criterion.threshold is None:
        return head
    return f"{head} (limit {quantity(criterion.threshold, criterion.unit)})"


def _outcome(criterion: Criterion) -> Cell:
    sign = {"pass": "✓", "fail": "✗", "unknown": "?"}[criterion.outcome]
    if criterion.value is None:
        return Cell(sign, "", look=criterion.outcome)
    unsure = "" if criterion.sure or criterion.outcome == "unknown" else "~"
    text = f"{sign}{unsure} {quantity(criterion.value, criterion.unit)}"
    return Cell(text, criterion.value, look=criterion.outcome)


def accuracy_table(study: StudyRecords) -> Table:
    """Errors on the training, validation and test sets: Table 1 of the paper."""
    table = Table(
        "table1-accuracy",
        "Errors on training, validation and test sets (the paper's Table 1)",
        "Root mean square errors of force components and of energies per atom: mean ± standard "
        "deviation over the seeds that gave a potential.",
    )
    return _filled(table, study, "accuracy", ACCURACY)


def path_table(study: StudyRecords) -> Table:
    """Barriers and what else was measured on fixed migration paths."""
    table = Table(
        "table-paths",
        "Migration paths",
        "Energies and forces on fixed images. The barrier is the highest image above the first; "
        "errors are candidate minus reference; the shift of the maximum is in units of the path's "
        "length. A force slope below 1 means a softened potential. Mean ± standard deviation over "
        "seeds.",
    )
    return _filled(table, study, "fixed_path", MIGRATION)


def sliding_table(study: StudyRecords) -> Table:
    """Barriers and closure of sliding paths."""
    limits = [p.config.get("closure_tolerance") for p in probes_of_kind(study, "sliding")]
    bound = max((limit for limit in limits if limit is not None), default=None)
    demand = "" if bound is None else f" It must stay below {_power(bound)} eV."
    table = Table(
        "table-sliding",
        "Sliding paths and the closure test",
        "The closure error is the energy change on moving the slid atoms by a full lattice vector, "
        f"which gives the same crystal; the worst seed is shown.{demand} More is a defect of cell, "
        "neighbour list or precision, not physics. The rest is mean ± standard deviation over "
        "seeds.",
    )
    return _filled(table, study, "sliding", SLIDE)


def _power(value: float, *, digits: int = 0) -> str:
    """Powers of ten without padding: 1e-6."""
    return re.sub(r"e([+-])0", r"e\1", f"{value:.{digits}e}")


def _filled(table: Table, study: StudyRecords, kind: str, columns: Sequence[Column]) -> Table:
    """One row per candidate and probe of a kind, in the order of the configuration."""
    source = aggregates.accuracy_table if kind == "accuracy" else aggregates.path_table
    groups = study.by_name()
    found = [row for row in source(study) if row.kind == kind]
    if not found:
        return table._replace(missing=absence(study, kind))
    # Paths are always named; the accuracy probe only where there are several.
    named = kind != "accuracy" or len({row.probe for row in found}) > 1
    rows = tuple(
        (
            Cell(row.name, row.name),
            *((Cell(row.probe, row.probe),) if named else ()),
            _seeds(row),
            *(_entry(groups[row.name], row, column) for column in columns),
        )
        for row in found
    )
    heads = ("Candidate", *(("Probe",) if named else ()), "Seeds")
    return table._replace(columns=(*heads, *(column.heading for column in columns)), rows=rows)


def _seeds(row: aggregates.Row) -> Cell:
    good = row.seeds - row.failed
    return Cell(f"{good} of {row.seeds}" if row.failed else str(good), good, True)


def _entry(runs: Iterable[RunRecords], row: aggregates.Row, column: Column) -> Cell:
    if column.worst:
        values = finite(run.metric(row.probe, column.metric) for run in runs)
        return number(max(values, key=abs, default=None), column)
    found = row.metrics[column.metric]
    # The reference is the same for every seed, so its deviation says nothing.
    known = column.metric.endswith("_reference")
    return number(found.mean, column, spread=None if known else found.std)


def kinds_table(study: StudyRecords) -> Table:
    """Test errors of each candidate by kind of frame (``config_type``)."""
    table = Table(
        "table-frame-kinds",
        "Test errors by kind of frame",
        "Test RMSE by config_type of the frames; mean ± standard deviation over seeds.",
    )
    probes = probes_of_kind(study, "accuracy")
    if not probes:
        return table._replace(missing=absence(study, "accuracy"))
    rows = tuple(
        (Cell(name, name), Cell(kind, kind), *(_mean(runs, probe.name, c) for c in columns))
        for probe in probes
        for kind, columns in _kinds(study, probe.name).items()
        for name, runs in study.by_name().items()
    )
    if not rows:
        return table._replace(missing="The records hold no errors by config_type.")
    headings = ("Candidate", "Kind of frame", *(column.heading for column in TEST))
    return table._replace(columns=headings, rows=rows)


def measured_table(
    table: Table, study: StudyRecords, kind: str, columns: Sequence[Column]
) -> Table:
    """One row per candidate and probe of a kind, straight from the records.

    Columns that no run has a number for are left out.
    """
    probes = probes_of_kind(study, kind)
    if not probes:
        return table._replace(missing=absence(study, kind))
    groups = study.by_name().items()
    kept = [
        column
        for column in columns
        if finite(
            r.metric(p.name, column.metric) for p in probes for _, runs in groups for r in runs
        )
    ]
    rows = tuple(
        (Cell(name, name), Cell(p.name, p.name), *(_mean(runs, p.name, c) for c in kept))
        for p in probes
        for name, runs in groups
    )
    heads = ("Candidate", "Probe", *(column.heading for column in kept))
    return table._replace(columns=heads, rows=rows)


def _mean(runs: Iterable[RunRecords], probe: str, column: Column) -> Cell:
    mean, spread, _ = mean_and_std(run.metric(probe, column.metric) for run in runs)
    return number(mean, column, spread=spread)


def _kinds(study: StudyRecords, probe: str) -> dict[str, list[Column]]:
    """Columns of test errors by config_type, in the order of the records."""
    heads = [f"{column.metric}/" for column in TEST]
    names = dict.fromkeys(
        name.partition("/")[2]
        for run in study.runs
        if probe in run.probes
        for name in run.probes[probe].metrics
        if name.startswith(heads[0])
    )
    return {
        kind: [column._replace(metric=f"{column.metric}/{kind}") for column in TEST]
        for kind in names
    }


def runs_table(study: StudyRecords) -> Table:
    """Every run by itself: status, size, length and duration."""
    counts = (
        Column("parameters", "Parameters", digits=0),
        Column("train", "Train frames", digits=0),
        Column("epochs", "Epochs", digits=0),
        Column("steps", "Steps", digits=0),
        Column("seconds", "Training time (s)", digits=1),
    )
    rows = []
    for run in study.runs:
        info = run.info
        values = (info.parameters, info.frames.get("train"), info.epochs, info.steps, info.seconds)
        numbers = (number(value, column) for value, column in zip(values, counts, strict=True))
        texts = (info.strategy, str(info.seed), info.status)
        rows.append((Cell(info.name, info.name), *(Cell(t, t) for t in texts), *numbers))
    headings = ("Candidate", "Strategy", "Seed", "Status", *(column.heading for column in counts))
    caption = "Finished runs in the order of the configuration; failed ones are explained above."
    table = Table("table-runs", "Runs", caption, headings, tuple(rows))
    return table if rows else table._replace(missing="No run of this study is finished.")


def provenance_table(study: StudyRecords) -> Table:
    """Where the numbers come from: data, configuration, versions, device, time."""
    info, data = study.info, study.info.data
    kinds = data.get("config_types") or {}
    entries: dict[str, object] = {
        "Study": f"{info.name} ({info.fingerprint})",
        "Started": info.started,
        "Device": info.device,
        "Data digest": data.get("digest"),
        "Reference": data.get("reference"),
        "Functional": data.get("functional"),
        "Dispersion": data.get("dispersion") or "none",
        "Frames": data.get("frames"),
        "Frames by kind": ", ".join(f"{name} {count}" for name, count in kinds.items()),
        "Training time": f"{sum(run.info.seconds for run in study.runs):.0f} s, all runs",
        "Probe time": f"{_probe_seconds(study):.0f} s, all runs",
        "Versions": ", ".join(f"{name} {version}" for name, version in info.versions.items()),
    }
    rows = tuple(
        (Cell(name, name), Cell(str(value), str(value)))
        for name, value in entries.items()
        if value not in (None, "")
    )
    caption = "As recorded when the study started; times are wall times."
    return Table(
        "table-provenance",
        "Data, software and machine",
        caption,
        ("Entry", "Value"),
        rows,
        sortable=False,
    )


def _probe_seconds(study: StudyRecords) -> float:
    return sum(record.seconds for run in study.runs for record in run.probes.values())


def numbers_of(table: Table) -> tuple[tuple[str, ...], list[list[object]]]:
    """Columns and rows for CSV: unrounded, a standard deviation in a column of its own."""
    spreads = [
        any(row[place].spread is not None for row in table.rows)
        for place in range(len(table.columns))
    ]
    columns: list[str] = []
    for name, has_spread in zip(table.columns, spreads, strict=True):
        columns += [name, f"{name} std"] if has_spread else [name]
    rows = []
    for row in table.rows:
        values: list[object] = []
        for cell, has_spread in zip(row, spreads, strict=True):
            values += [cell.value, cell.spread] if has_spread else [cell.value]
        rows.append(values)
    return tuple(columns), rows
