"""Figure and table of saddles: barriers, frequencies, rates, and diffusion beside dynamics."""

from collections.abc import Iterator, Sequence

from mlffjax.report.curves import extracted, grouped, measured, with_spread
from mlffjax.report.figures import SPREAD, Looks, absence, probes_of_kind
from mlffjax.report.panels import Figure, Panel, Trace, cleaned
from mlffjax.report.style import Look
from mlffjax.report.tables import DASH, Cell, Column, Table, measured_table, number
from mlffjax.study.records import ProbeInfo, RunRecords, StudyRecords, mean_and_std

KIND, MOTION = "saddle", "transport"
PLANE = 2  # dimensions in which molecular dynamics and jumps are compared
BESIDE = "in_plane"  # what the dynamics calls them

COLUMNS = (
    Column("barrier", "Barrier (eV)", digits=3),
    Column("barrier_reverse", "Reverse (eV)", digits=3),
    Column("barrier_band", "Of the band (eV)", digits=3),
    Column("negative_modes", "Negative modes", digits=1),
    Column("imaginary_frequency", "Imaginary frequency (THz)", digits=2),
    Column("prefactor", "Prefactor (THz)", digits=2),
    Column("prefactor_reverse", "Prefactor, reverse (THz)", digits=2),
    Column("jump", "Jump (Å)", digits=2),
    Column("connected", "Joins the ends (fraction)", digits=2),
    Column("residual", "Force left (eV/Å)", worst=True),
)


def blocks(study: StudyRecords, looks: Looks) -> tuple[Figure | Table, ...]:
    """Everything about saddles."""
    return saddle_table(study), arrhenius_figure(study, looks)


def saddle_table(study: StudyRecords) -> Table:
    """Saddles, rates and the diffusion that they imply, beside that of molecular dynamics."""
    table = Table(
        "table-saddles",
        "Saddles, rates and diffusion",
        "The saddle below the highest image of each candidate's relaxed band, by harmonic "
        "transition state theory. Barrier: of that one step, from the minimum beside the saddle; "
        "on a path of several steps it is not that of the whole band. D: of independent jumps. "
        "MD: in-plane D of the same candidate and element, where the study simulated it and jumps "
        "lie in the plane; < is the bound where no diffusion was seen. Harmonic theory neglects "
        "recrossing, correlated jumps and anharmonicity. Mean ± standard deviation over seeds.",
    )
    table = measured_table(table, study, KIND, [*COLUMNS, *_at_temperatures(study)])
    simulated = [probe for probe in probes_of_kind(study, MOTION) if _has_motion(study, probe)]
    if table.missing or not simulated:
        return table
    heads = tuple(f"D, MD {probe.name} (cm²/s)" for probe in simulated)
    saddles = [probe for probe in probes_of_kind(study, KIND) for _ in study.by_name()]
    runs = [*study.by_name().values()] * len(probes_of_kind(study, KIND))
    rows = tuple(
        (*row, *(_simulated(group, saddle, probe.name) for probe in simulated))
        for row, saddle, group in zip(table.rows, saddles, runs, strict=True)
    )
    return table._replace(columns=(*table.columns, *heads), rows=rows)


def _at_temperatures(study: StudyRecords) -> Iterator[Column]:
    """Rate and diffusion at every temperature that a probe was asked for."""
    asked = dict.fromkeys(
        name.partition("/")[2]
        for probe in probes_of_kind(study, KIND)
        for run in study.runs
        if probe.name in run.probes
        for name in run.probes[probe.name].metrics
        if name.startswith("rate/")
    )
    for label in asked:
        shown = label.removesuffix("K") + " K"
        yield Column(f"rate/{label}", f"Rate, {shown} (1/ns)", worst=True)
        yield Column(f"diffusion/{label}", f"D, {shown} (cm²/s)", worst=True)


def _has_motion(study: StudyRecords, probe: ProbeInfo) -> bool:
    return any(probe.name in run.probes for run in study.runs)


def _element(runs: Sequence[RunRecords], saddle: ProbeInfo) -> str | None:
    """The element that moves, if its motion in the plane can be compared."""
    dimensions = saddle.config.get("transition", {}).get("dimensions", PLANE)
    if dimensions != PLANE:
        return None
    for run in runs:
        mover = run.arrays(saddle.name).get("mover")
        if mover is not None:
            return str(mover[0])
    return None


def _simulated(runs: Sequence[RunRecords], saddle: ProbeInfo, probe: str) -> Cell:
    """The diffusion coefficient of molecular dynamics, or a bound that holds for all seeds."""
    element = _element(runs, saddle)
    name = f"diffusion_{BESIDE}/{element}"
    mean = mean_and_std(run.metric(probe, name) for run in runs)[0]
    if mean is not None:
        return number(mean, Column(name, "", worst=True))
    name = f"diffusion_bound_{BESIDE}/{element}"
    bounds = [bound for run in runs if (bound := run.metric(probe, name)) is not None]
    if not bounds:
        return Cell(DASH, "", numeric=True)
    cell = number(max(bounds), Column(name, "", worst=True))
    return cell._replace(text=f"< {cell.text}")


def arrhenius_figure(study: StudyRecords, looks: Looks) -> Figure:
    """Diffusion over inverse temperature: lines of jumps, marks of molecular dynamics."""
    figure = Figure(
        "fig-arrhenius",
        "Diffusion from the saddle and from dynamics",
        "Lines: independent jumps over the saddle at the rate of harmonic transition state "
        "theory. Marks: in-plane diffusion of the same element in molecular dynamics with its "
        f"error, where it was seen and jumps lie in the plane. {SPREAD}",
    )
    panels = [
        panel
        for probe in probes_of_kind(study, KIND)
        if (panel := _arrhenius(study, probe, looks)) is not None
    ]
    if not panels:
        return figure._replace(missing=absence(study, KIND))
    return figure._replace(panels=tuple(panels))


def _arrhenius(study: StudyRecords, probe: ProbeInfo, looks: Looks) -> Panel | None:
    known = measured(study, probe, "arrhenius_temperature", "arrhenius_diffusion_model")
    traces: list[Trace] = []
    for name, runs in grouped(known).items():
        curves = extracted(runs, "arrhenius_temperature", "arrhenius_diffusion_model")
        inverse = [curve._replace(x=1e3 / curve.x) for curve in curves]
        traces += with_spread(name, looks[name], inverse)
        marks = _marks(study, name, probe, looks[name])
        traces += [marks] if marks is not None else []
    if not traces:
        return None
    return Panel(probe.name, "1000 / T (1/K)", "D (cm²/s)", tuple(traces), log_y=True)


def _marks(study: StudyRecords, name: str, saddle: ProbeInfo, look: Look) -> Trace | None:
    """Molecular dynamics of one candidate, all temperatures and seeds."""
    runs = study.by_name()[name]
    element = _element(runs, saddle)
    points = [
        (1e3 / temperature, value, run.metric(probe.name, f"diffusion_error_{BESIDE}/{element}"))
        for probe in probes_of_kind(study, MOTION)
        for run in runs
        if (value := run.metric(probe.name, f"diffusion_{BESIDE}/{element}")) is not None
        and value > 0
        and (temperature := run.metric(probe.name, "temperature"))
    ]
    if not points:
        return None
    x, y, errors = zip(*points, strict=True)
    ends = [(v, v) if e is None else (v - e, v + e) for v, e in zip(y, errors, strict=True)]
    low, high = zip(*ends, strict=True)
    # A logarithmic axis has no place for zero or less.
    low = [end if end > 0 else value for end, value in zip(low, y, strict=True)]
    return Trace(name, "marks", look, cleaned(x), cleaned(y), low=cleaned(low), high=cleaned(high))
