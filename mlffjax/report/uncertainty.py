"""Error bars: what candidates say of themselves, against their errors."""

from collections.abc import Iterator, Mapping

import numpy as np

from mlffjax.report import style
from mlffjax.report.curves import Measured, extracted, grouped, measured, with_spread
from mlffjax.report.figures import (
    ENERGY_LABEL,
    PATH_LABEL,
    SPREAD,
    Looks,
    absence,
    filled,
    probes_of_kind,
    reference_name,
)
from mlffjax.report.panels import Figure, Panel, Trace, cleaned, finite, window
from mlffjax.report.tables import Cell, Column, Table, measured_table, number
from mlffjax.study.records import ProbeInfo, RunRecords, StudyRecords, mean_and_std

KIND = "uncertainty"
FIXED = "fixed_path"
TALLEST = 15.0  # in multiples of the reference's height, as other profiles
SETS = {
    "test_energy": "test frames, energies",
    "test_forces": "test frames, forces",
    "path_energy": "path images, energies above the first",
    "path_forces": "path images, forces",
}
GUIDE = style.REFERENCE

SCORES = tuple(
    Column(f"{kind}_{measure}", f"{short}: {name}", digits=2)
    for kind, short in (
        ("test_energy", "Test E"),
        ("path_energy", "Path ΔE"),
        ("test_forces", "Test F"),
        ("path_forces", "Path F"),
    )
    for measure, name in (
        ("typical", "error/σ"),
        ("factor", "rms error/σ"),
        ("miscalibration", "area"),
        ("rank", "rank"),
    )
)
BARRIERS = (
    "Candidate", "Path", "Barrier (eV)", "σ, last layer (eV)", "Error (eV)", "|Error| / σ",
)  # fmt: skip
COMMITTEES = (
    "Candidate", "Path", "Seeds", "Barrier (eV)", "Error of the mean (eV)", "Forces: spread (eV/Å)",
    "Forces: error of the mean (eV/Å)",
)  # fmt: skip


def blocks(study: StudyRecords, looks: Looks) -> tuple[Figure | Table, ...]:
    """Everything about uncertainties; nothing if the study has no such probe."""
    asked = {section.get("kind") for section in study.info.config.get("probes", ())}
    if KIND not in asked:
        return ()
    made = (
        calibration_figure(study, looks),
        score_table(study),
        profile_figure(study, looks),
        barrier_table(study),
    )
    return made if not _committees(study) else (*made, committee_table(study))


def calibration_figure(study: StudyRecords, looks: Looks) -> Figure:
    """Observed against expected parts of errors inside central intervals."""
    figure = Figure(
        "calibration",
        "Calibration of last-layer uncertainties",
        "Part of the errors inside the central interval that the stated normal distribution "
        "expects to hold a given part of them; dotted: calibrated, below it: over-confident. "
        f"Scales were fitted to the validation frames. {SPREAD}",
    )
    panels = [
        panel
        for probe in probes_of_kind(study, KIND)
        for kind, title in SETS.items()
        if (panel := _calibration_panel(study, probe, kind, title, looks)) is not None
    ]
    return filled(figure, panels, study, KIND)


def _calibration_panel(
    study: StudyRecords, probe: ProbeInfo, kind: str, title: str, looks: Looks
) -> Panel | None:
    known = measured(study, probe, "expected", f"{kind}_coverage")
    if not known:
        return None
    traces = [Trace("calibrated", "guide", GUIDE, (0.0, 1.0), (0.0, 1.0))]
    for name, runs in grouped(known).items():
        traces += with_spread(name, looks[name], extracted(runs, "expected", f"{kind}_coverage"))
    return Panel(
        f"{probe.name}: {title}", "expected part", "observed part", tuple(traces), square=True
    )


def score_table(study: StudyRecords) -> Table:
    """Calibration on frames and on paths side by side."""
    table = Table(
        "table-calibration",
        "Calibration: test frames against path images",
        "σ by last-layer prediction rigidity, scaled on validation frames. error/σ: median, over "
        "that of a normal distribution, and rms, which the smallest σ rule; 1 is calibrated, above "
        "is over-confident. Area between the curve above and its diagonal, 0 to 0.5. Rank: "
        "Spearman's correlation of σ with the size of errors. Mean ± standard deviation over "
        "seeds.",
    )
    return measured_table(table, study, KIND, SCORES)


def profile_figure(study: StudyRecords, looks: Looks) -> Figure:
    """Energies along paths with their own error bars."""
    source = reference_name(study)
    figure = Figure(
        "profile-uncertainty",
        "Energy profiles with last-layer uncertainties",
        "Fixed images; lines are means over seeds, bands ± one standard deviation of the energy "
        "above the first image by last-layer prediction rigidity (rms over seeds; not the spread "
        f"over seeds); {source} in black.",
    )
    panels = [
        panel
        for probe in probes_of_kind(study, KIND)
        for panel in _profile_panels(study, probe, looks)
    ]
    return filled(figure, panels, study, KIND)


def _profile_panels(study: StudyRecords, probe: ProbeInfo, looks: Looks) -> Iterator[Panel]:
    known = measured(study, probe, "paths", "image_path", "arclength", "image_energy")
    names = dict.fromkeys(str(path) for _, arrays in known for path in arrays["paths"])
    for path in names:
        having = [(run, arrays) for run, arrays in known if path in arrays["paths"]]
        _, first = having[0]
        reference = _part(first, "image_reference", path)
        x = cleaned(_part(first, "arclength", path))
        traces = []
        if finite(reference):
            traces = [Trace(reference_name(study), form, style.REFERENCE, x, cleaned(reference))
                      for form in ("line", "marks")]  # fmt: skip
        for name, runs in grouped(having).items():
            traces += _profile(name, runs, path, looks)
        scale = max((abs(v) for v in finite(reference)), default=0.0)
        limits = window((v for t in traces for v in (*t.y, *t.low, *t.high)), scale, factor=TALLEST)
        note = f"Cut at {TALLEST:g} times the reference's height." if limits else ""
        title = f"{probe.name}: {path}"
        yield Panel(title, PATH_LABEL, ENERGY_LABEL, tuple(traces), window=limits, note=note)


def _profile(name: str, runs: Measured, path: str, looks: Looks) -> Iterator[Trace]:
    energy = np.mean([_part(arrays, "image_energy", path) for _, arrays in runs], axis=0)
    squares = [_part(arrays, "image_spread", path) ** 2 for _, arrays in runs]
    spread = np.sqrt(np.mean(squares, axis=0))
    x = cleaned(_part(runs[0][1], "arclength", path))
    low, high = cleaned(energy - spread), cleaned(energy + spread)
    yield Trace(name, "band", looks[name], x, (), "", low, high)
    yield Trace(name, "line", looks[name], x, cleaned(energy))


def _part(arrays: Mapping[str, np.ndarray], name: str, path: str) -> np.ndarray:
    """Images of one path."""
    place = [str(each) for each in arrays["paths"]].index(path)
    return np.asarray(arrays[name])[np.asarray(arrays["image_path"]) == place]


def barrier_table(study: StudyRecords) -> Table:
    """Barriers with the error bars of single potentials."""
    table = Table(
        "table-barrier-uncertainty",
        "Barriers with last-layer uncertainties",
        "Highest fixed image above the first; ± standard deviation over seeds, where there are "
        "several. σ is what one potential says of its own barrier (mean over seeds); an error of "
        "many σ is one that the potential does not know of.",
    )
    probes = probes_of_kind(study, KIND)
    if not probes:
        return table._replace(missing=absence(study, KIND))
    rows = []
    for name, runs in study.by_name().items():
        for probe in probes:
            rows += _barrier_rows(name, runs, probe)
    if not rows:
        return table._replace(missing="The probe was given no paths.")
    return table._replace(columns=BARRIERS, rows=tuple(rows))


def _barrier_rows(
    name: str, runs: tuple[RunRecords, ...], probe: ProbeInfo
) -> Iterator[tuple[Cell, ...]]:
    records = [run.probes[probe.name] for run in runs if probe.name in run.probes]
    heads = dict.fromkeys(
        metric.partition("/")[2]
        for record in records
        for metric in record.metrics
        if metric.startswith("barrier/")
    )
    for path in heads:
        barrier, error, spread = (
            mean_and_std(run.metric(probe.name, f"{metric}/{path}") for run in runs)
            for metric in ("barrier", "barrier_error", "barrier_spread")
        )
        ratio = abs(error[0]) / spread[0] if error[0] is not None and spread[0] else None
        yield (
            Cell(name, name),
            Cell(path, path),
            number(barrier[0], Column("", "", digits=3), spread=barrier[1]),
            number(spread[0], Column("", "", digits=3)),
            number(error[0], Column("", "", digits=3, signed=True), spread=error[1]),
            number(ratio, Column("", "", digits=1)),
        )


def committee_table(study: StudyRecords) -> Table:
    """Runs of one candidate with several seeds, taken as a committee."""
    table = Table(
        "table-committees",
        "Committees of seeds",
        "Runs of one candidate that differ by their seed: barrier on fixed images, mean ± standard "
        "deviation; rms over atoms and images of the spread of forces (population) and of the "
        "error of their mean. Members that began with one foundation agree more than they are "
        "right: a spread far below the error is over-confident.",
    )
    rows = tuple(
        row
        for probe in probes_of_kind(study, FIXED)
        for name, runs in _committees(study).items()
        if (row := _committee_row(name, runs, probe)) is not None
    )
    return table._replace(columns=COMMITTEES, rows=rows)


def _committees(study: StudyRecords) -> dict[str, tuple[RunRecords, ...]]:
    """Candidates with a measured path of two seeds or more."""
    groups = {}
    for name, runs in study.by_name().items():
        for probe in probes_of_kind(study, FIXED):
            having = [run for run in runs if run.metric(probe.name, "barrier") is not None]
            if len(having) > 1:
                groups[name] = runs
    return groups


def _committee_row(
    name: str, runs: tuple[RunRecords, ...], probe: ProbeInfo
) -> tuple[Cell, ...] | None:
    barrier, spread, count = mean_and_std(run.metric(probe.name, "barrier") for run in runs)
    if barrier is None or count < 2:
        return None
    error, *_ = mean_and_std(run.metric(probe.name, "barrier_error") for run in runs)
    apart, wrong = _forces([run.arrays(probe.name) for run in runs])
    return (
        Cell(name, name),
        Cell(probe.name, probe.name),
        number(count, Column("", "", digits=0)),
        number(barrier, Column("", "", digits=3), spread=spread),
        number(error, Column("", "", digits=3, signed=True)),
        number(apart, Column("", "", digits=4)),
        number(wrong, Column("", "", digits=4)),
    )


def _forces(records: list[dict[str, np.ndarray]]) -> tuple[float | None, float | None]:
    """Rms over atoms of the spread of members, and of the error of their mean, eV/Å."""
    having = [arrays for arrays in records if "forces_model" in arrays]
    forces = [arrays["forces_model"] for arrays in having]
    if len(forces) < 2 or not all(np.isfinite(each).all() for each in forces):
        return None, None
    mean = np.mean(forces, axis=0)
    apart = float(np.sqrt(((np.array(forces) - mean) ** 2).sum(axis=-1).mean()))
    if "forces_reference" not in having[0]:
        return apart, None
    wrong = ((mean - having[0]["forces_reference"]) ** 2).sum(axis=-1)
    return apart, float(np.sqrt(wrong.mean()))
