"""The paper's figures, built from the records of a study.

Each function takes the records and the looks of the candidates and returns a ``Figure``; where the
study holds nothing to show, its ``missing`` says why. Nothing is computed but means over seeds,
differences to the reference, and limits of axes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from mlffjax.report import style
from mlffjax.report.curves import (
    Curve,
    Measured,
    extracted,
    grouped,
    mean_trace,
    measured,
    reference_traces,
    with_spread,
)
from mlffjax.report.panels import Figure, Form, Panel, Trace, cleaned, finite, thinned, window
from mlffjax.report.style import Look
from mlffjax.study.records import ProbeInfo, RunRecords, StudyRecords, mean_and_std, parity

Looks = Mapping[str, Look]

CLOUD_POINTS = 1500  # per candidate and panel: enough to see the shape, few enough to draw at once
MANY = 8  # candidates whose parity is drawn; tables hold the errors of all
FEW = 100  # so few points are drawn large
NO_CURVE = ("epoch", "seconds")  # of a history: the abscissa, and what the table of runs tells
HISTORY_POINTS = 250  # at most, per run and panel
EVERY_POINT = 6000  # of a panel with many runs, which has to be drawn at once and kept small
TALLEST = 15.0  # a profile may leave the frame above this multiple of the reference's height
LONGEST_BAR = 40.0  # likewise for bars, in multiples of the median length
PATH_LABEL = "distance along the path (Å)"
BESIDE = 0.38  # of the distance between bars: single seeds stand beside theirs
ENERGY_LABEL = "energy above first image (eV)"
SPREAD = (
    "Lines of candidates are means over seeds; thin lines are single seeds, bands ± one standard "
    "deviation."
)
SEEDS = "Bars are means over seeds, whiskers ± one standard deviation, markers single seeds."


def reference_name(study: StudyRecords) -> str:
    """What the labels are called in figures: the functional, if the study names it."""
    return str(study.info.data.get("functional") or "reference")


def probes_of_kind(study: StudyRecords, kind: str) -> tuple[ProbeInfo, ...]:
    """The probes of a kind that left records, in the order of the configuration."""
    return tuple(probe for probe in study.probes().values() if probe.kind == kind)


def absence(study: StudyRecords, kind: str) -> str:
    """Why there is nothing to show for a kind of probe, in one sentence."""
    asked = [s for s in study.info.config.get("probes", ()) if s.get("kind") == kind]
    messages = {
        record.message or record.status
        for run in study.runs
        for record in run.probes.values()
        if record.probe.kind == kind and record.status != "ok"
    }
    if messages:
        return f"No {kind} probe gave a result: {'; '.join(sorted(messages))}."
    if asked:
        return (
            f"The {kind} probes of the configuration left no records: the study is not finished, "
            "or no run succeeded."
        )
    return f"The configuration asks for no {kind} probe, so there is nothing to show here."


def filled(figure: Figure, panels: Sequence[Panel], study: StudyRecords, kind: str) -> Figure:
    """The figure with its panels, or with why a kind of probe gave none."""
    if not panels:
        return figure._replace(missing=absence(study, kind))
    return figure._replace(panels=tuple(panels))


def parity_figure(study: StudyRecords, looks: Looks) -> Figure:
    """Predicted against reference energies and forces of the test set (the paper's Fig. 5)."""
    figure = Figure(
        "fig5-parity",
        "Parity of energies and forces (the paper's Fig. 5)",
        "Test frames of every candidate, all seeds. The dotted line marks equality. "
        f"At most {CLOUD_POINTS} points of a panel are drawn, evenly chosen.",
    )
    shown = _representatives(study)
    left = len(study.by_name()) - len(shown)
    if left:
        caption = (
            f"{figure.caption} Of every learning curve only the largest size is drawn, and at most "
            f"{MANY} candidates; the table above holds the errors of the other {left}."
        )
        figure = figure._replace(caption=caption)
    panels = [
        panel
        for probe in probes_of_kind(study, "accuracy")
        for name, runs in shown.items()
        for panel in _parity_panels(study, probe, name, runs, looks[name])
    ]
    return filled(figure, panels, study, "accuracy")


def _representatives(study: StudyRecords) -> dict[str, Sequence[RunRecords]]:
    """All candidates if they are few, otherwise the largest size of every learning curve."""
    groups = study.by_name()
    if len(groups) <= MANY:
        return dict(groups)
    largest: dict[str, tuple[float, str]] = {}
    for name, runs in groups.items():
        size = runs[0].info.fraction or 0.0
        family = runs[0].info.family or name
        largest[family] = max(largest.get(family, (size, name)), (size, name))
    kept = [name for _, name in largest.values()][:MANY]
    return {name: groups[name] for name in groups if name in kept}


def _parity_panels(
    study: StudyRecords, probe: ProbeInfo, name: str, runs: Sequence[RunRecords], look: Look
) -> Iterator[Panel]:
    parts = []
    for run in runs:
        arrays = run.arrays(probe.name)
        part = parity(arrays, "test") if "frame_split" in arrays else None
        if part is not None and len(part.energy_reference):
            parts.append((run.info.seed, part))
    if not parts:
        return
    source = reference_name(study)
    for quantity, attribute, unit in (
        ("energy", "energy", "eV/atom"),
        ("forces", "forces", "eV/Å"),
    ):
        clouds = [
            Curve(
                f"seed {seed}",
                np.ravel(getattr(part, f"{attribute}_reference")),
                np.ravel(getattr(part, f"{attribute}_model")),
            )
            for seed, part in parts
        ]
        ends = _ends(np.concatenate([cloud.x for cloud in clouds]))
        points = [_cloud(cloud, name, look, CLOUD_POINTS // len(clouds)) for cloud in clouds]
        guide = Trace("equality", "guide", style.GUIDE, ends, ends)
        labels = (f"{source} {quantity} ({unit})", f"predicted {quantity} ({unit})")
        note = _parity_note(runs, probe, "force" if quantity == "forces" else "energy")
        several = len(probes_of_kind(study, "accuracy")) > 1
        title = f"{name}, {probe.name}: {quantity}" if several else f"{name}: {quantity}"
        yield Panel(title, *labels, (guide, *points), square=True, note=note)


def _cloud(cloud: Curve, name: str, look: Look, limit: int) -> Trace:
    places = thinned(len(cloud.x), max(1, limit))
    x, y = cloud.x[places], cloud.y[places]
    form: Form = "cloud" if len(cloud.x) > FEW else "marks"
    return Trace(name, form, look, cleaned(x), cleaned(y), cloud.run)


def _ends(values: np.ndarray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)


def _parity_note(runs: Sequence[RunRecords], probe: ProbeInfo, quantity: str) -> str:
    mean, spread, _ = mean_and_std([r.metric(probe.name, f"test_{quantity}_rmse") for r in runs])
    if mean is None:
        return ""
    unit = "meV/atom" if quantity == "energy" else "meV/Å"
    tail = "" if spread is None else f" ± {1e3 * spread:.1f}"
    return f"Test RMSE {1e3 * mean:.1f}{tail} {unit}."


def profile_figure(study: StudyRecords, looks: Looks) -> Figure:
    """Energies along each fixed path, and their errors (the paper's Fig. 2 c-f)."""
    source = reference_name(study)
    figure = Figure(
        "fig2-profiles",
        "Energy along the migration paths (the paper's Fig. 2 c–f)",
        "Left: energies on the fixed images of the path (marks) and cubic Hermite curves through "
        f"energies and forces; {source} solid black. Right: candidate minus {source} at the "
        f"images. {SPREAD}",
    )
    panels = [
        panel
        for probe in probes_of_kind(study, "fixed_path")
        for panel in _profile_panels(study, probe, looks)
    ]
    return filled(figure, panels, study, "fixed_path")


def _profile_panels(study: StudyRecords, probe: ProbeInfo, looks: Looks) -> Iterator[Panel]:
    known = measured(study, probe, "arclength", "energy_model")
    if not known:
        return
    source = reference_name(study)
    traces = [*reference_traces(source, known, ("arclength", "curve_arclength"))]
    for name, runs in grouped(known).items():
        curves = extracted(runs, "curve_arclength", "curve_energy_model")
        images = extracted(runs, "arclength", "energy_model")
        traces += with_spread(name, looks[name], curves or images)
        traces += mean_trace(name, looks[name], images, "marks")
    yield _cut(Panel(probe.name, PATH_LABEL, ENERGY_LABEL, tuple(traces)), known)
    errors = []
    for name, runs in grouped(known).items():
        curves = extracted(runs, "arclength", "energy_model", minus="energy_reference")
        errors += with_spread(name, looks[name], curves)
        errors += mean_trace(name, looks[name], curves, "marks")
    if errors:
        ends = _ends(np.concatenate([arrays["arclength"] for _, arrays in known]))
        zero = Trace("zero", "guide", style.GUIDE, ends, (0.0, 0.0))
        title = f"{probe.name}: error"
        yield _cut(Panel(title, PATH_LABEL, "error of energy (eV)", (zero, *errors)), known)


def barrier_figure(study: StudyRecords, looks: Looks) -> Figure:
    """Errors of the migration barriers, one panel a path (the paper's Fig. 2 b)."""
    source = reference_name(study)
    figure = Figure(
        "fig2-barrier-errors",
        "Errors of the migration barriers (the paper's Fig. 2 b)",
        f"Highest image above the first, candidate minus {source}, on fixed images. {SEEDS}",
    )
    probes = probes_of_kind(study, "fixed_path")
    panels = [panel for p in probes if (panel := _barrier_panel(study, p, looks)) is not None]
    if panels:
        return figure._replace(panels=tuple(panels))
    if any(run.arrays(p.name) for p in probes for run in study.runs):
        return figure._replace(missing="The paths carry no reference energies to compare with.")
    return figure._replace(missing=absence(study, "fixed_path"))


def _barrier_panel(study: StudyRecords, probe: ProbeInfo, looks: Looks) -> Panel | None:
    groups = study.by_name()
    traces = tuple(
        trace
        for place, (name, runs) in enumerate(groups.items())
        for trace in bars_of(probe, "barrier_error", name, runs, looks[name], place)
    )
    if not traces:
        return None
    bars = finite(y for trace in traces for y in trace.y if trace.form == "bar")
    limits = window(bars, float(np.median(np.abs(bars))), factor=LONGEST_BAR)
    panel = Panel(probe.name, "", "barrier error (eV)", traces, ticks=tuple(groups))
    return panel._replace(window=limits, note=_beyond(traces, limits))


def bars_of(
    probe: ProbeInfo, metric: str, name: str, runs: Sequence[RunRecords], look: Look, place: int
) -> Iterator[Trace]:
    """A metric of one candidate as a bar and, beside it, of its seeds if there are several."""
    values = {f"seed {run.info.seed}": run.metric(probe.name, metric) for run in runs}
    mean, spread, count = mean_and_std(values.values())
    if mean is None:
        return
    bar = Trace(name, "bar", look, (float(place),), (mean,))
    if spread is not None:
        bar = bar._replace(low=(mean - spread,), high=(mean + spread,))
    yield bar
    if count > 1:
        black = look._replace(color=style.BLACK)
        for label, value in values.items():
            if value is not None:
                yield Trace(name, "marks", black, (place + BESIDE,), (value,), label)


def sliding_figure(study: StudyRecords, looks: Looks) -> Figure:
    """Energies along each sliding path (the paper's Fig. 3)."""
    source = reference_name(study)
    figure = Figure(
        "fig3-sliding",
        "Energy of interlayer sliding (the paper's Fig. 3)",
        f"Energy against the normalised sliding distance on fixed images; {source} solid black. "
        f"{SPREAD}",
    )
    panels = []
    for probe in probes_of_kind(study, "sliding"):
        known = measured(study, probe, "reaction_coordinate", "energy_model")
        traces = [*reference_traces(source, known, ("reaction_coordinate", ""))]
        for name, runs in grouped(known).items():
            curves = extracted(runs, "reaction_coordinate", "energy_model")
            traces += with_spread(name, looks[name], curves)
            traces += mean_trace(name, looks[name], curves, "marks")
        if known:
            panel = Panel(
                probe.name, "sliding distance / lattice translation", ENERGY_LABEL, tuple(traces)
            )
            panels.append(_cut(panel, known))
    return filled(figure, panels, study, "sliding")


def history_figure(study: StudyRecords, looks: Looks) -> Figure:
    """Losses and errors while training, every run by itself."""
    figure = Figure(
        "training-histories",
        "Training histories",
        f"Every trained run by itself. At most {HISTORY_POINTS} epochs of a run are drawn, evenly "
        "chosen.",
    )
    columns = dict.fromkeys(
        name for run in study.runs for name in run.history if name not in NO_CURVE
    )
    panels = [panel for c in columns if (panel := _history_panel(study, c, looks)) is not None]
    if not panels:
        return figure._replace(missing="No run of this study was trained, so there is no history.")
    return figure._replace(panels=tuple(panels))


def _history_panel(study: StudyRecords, column: str, looks: Looks) -> Panel | None:
    traces = []
    for run in study.runs:
        values = cleaned(run.history.get(column, ()))
        if finite(values):
            places = thinned(len(values), min(HISTORY_POINTS, EVERY_POINT // len(study.runs) + 1))
            epochs = cleaned(run.history.get("epoch", ()))
            if len(epochs) != len(values):
                epochs = tuple(float(epoch) for epoch in range(1, len(values) + 1))
            x, y = tuple(epochs[i] for i in places), tuple(values[i] for i in places)
            name, label = run.info.name, f"seed {run.info.seed}"
            traces.append(Trace(name, "seed", looks[name], x, y, label))
    if not traces:
        return None
    positive = all(y > 0 for trace in traces for y in finite(trace.y))
    label = column.replace("_", " ")
    return Panel(label, "epoch", label, tuple(traces), log_y=positive)


def _cut(panel: Panel, known: Measured) -> Panel:
    """Limit the ordinate by the reference's height, so that one failure hides nothing else."""
    references = [arrays["energy_reference"] for _, arrays in known if "energy_reference" in arrays]
    scale = max((max(map(abs, finite(r)), default=0.0) for r in references), default=0.0)
    limits = window((y for t in panel.traces for y in t.y), scale, factor=TALLEST)
    return panel._replace(window=limits, note=_beyond(panel.traces, limits))


def _beyond(traces: Iterable[Trace], limits: tuple[float, float] | None) -> str:
    """Names of the series that leave the frame, with their extreme values."""
    if limits is None:
        return ""
    extremes: dict[str, float] = {}
    for trace in traces:
        outside = [y for y in finite(trace.y) if not limits[0] <= y <= limits[1]]
        if outside:
            worst = max([*outside, extremes.get(trace.series, 0.0)], key=abs)
            extremes[trace.series] = worst
    parts = (f"{name} reaches {value:.3g} eV" for name, value in extremes.items())
    return f"Cut for legibility: {', '.join(parts)}. Double-click for the whole range."
