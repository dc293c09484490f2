"""Learning curves: errors of barriers, and what was forgotten, against the training frames."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from mlffjax.report import style
from mlffjax.report.figures import Looks, probes_of_kind
from mlffjax.report.panels import Figure, Panel, Trace
from mlffjax.report.style import Look
from mlffjax.report.tables import Cell, Column, Table, number
from mlffjax.study.records import ProbeInfo, RunRecords, StudyRecords, mean_and_std

Value = Callable[[RunRecords], float | None]
FRAMES = "training frames"


class Quantity(NamedTuple):
    """What is drawn against the number of frames."""

    title: str
    label: str
    value: Value
    column: Column


def blocks(study: StudyRecords, looks: Looks) -> tuple[Figure | Table, ...]:
    """Figure and table; nothing if no entry of the study was run with several sizes."""
    del looks  # families have looks of their own
    groups = families(study)
    if not any(_sizes(runs) > 1 for runs in groups.values()):
        return ()
    return curve_figure(study), curve_table(study)


def families(study: StudyRecords) -> dict[str, tuple[RunRecords, ...]]:
    """Successful runs by family, in the order of the configuration."""
    groups: dict[str, tuple[RunRecords, ...]] = {}
    for run in study.runs:
        if run.info.status == "ok":
            name = run.info.family or run.info.name
            groups[name] = (*groups.get(name, ()), run)
    return groups


def curve_figure(study: StudyRecords) -> Figure:
    """One panel for every barrier, for the forgetting index, and for test forces."""
    figure = Figure(
        "learning-curves",
        "Learning curves",
        "Against the number of training frames: magnitude of the error of each barrier on fixed "
        "images, forgetting index (positive: worse than the foundation on what it knew; see "
        "Forgetting), and force error on the test frames, the same for all sizes. Lines join means "
        "over seeds, bands are ± one standard deviation, marks single seeds; level lines are "
        "candidates without training. Seeds share their frames, so the bands do not contain the "
        "luck of choosing frames.",
    )
    groups = families(study)
    looks = style.looks(list(groups))
    panels = tuple(
        Panel(quantity.title, FRAMES, quantity.label, traces, log_x=True)
        for quantity in _quantities(study)
        if (traces := tuple(_traces(groups, quantity.value, looks)))
    )
    if not panels:
        return figure._replace(missing="No run of a learning curve has been measured yet.")
    return figure._replace(panels=panels)


def curve_table(study: StudyRecords) -> Table:
    """The numbers of the figure, mean ± standard deviation over seeds."""
    quantities = [*_quantities(study)]
    rows = []
    for family, runs in families(study).items():
        for frames, members in sorted(_by_size(runs).items()):
            numbers = (_entry(members, quantity) for quantity in quantities)
            share = members[0].info.fraction
            learned = float(frames) if _trained(members) else None
            rows.append(
                (
                    Cell(family, family),
                    number(share, Column("fraction", "", 100.0, 0)),
                    number(learned, Column("frames", "", digits=0)),
                    number(float(len(members)), Column("seeds", "", digits=0)),
                    *numbers,
                )
            )
    heads = ("Strategy", "Fraction (%)", "Frames", "Seeds")
    return Table(
        "table-learning-curves",
        "Learning curves",
        "Magnitudes of barrier errors, forgetting index and test errors: mean ± standard deviation "
        "over seeds.",
        (*heads, *(quantity.column.heading for quantity in quantities)),
        tuple(rows),
        looks=style.looks(list(families(study))),
    )


def _quantities(study: StudyRecords) -> Iterator[Quantity]:
    for probe in probes_of_kind(study, "fixed_path"):
        if any(run.metric(probe.name, "barrier_error") is not None for run in study.runs):
            heading = f"|Error| {probe.name} (eV)"
            column = Column("barrier_error", heading, digits=3)
            title = f"{probe.name}: barrier"
            yield Quantity(title, "barrier error (eV)", _barrier(probe), column)
    for probe in probes_of_kind(study, "forgetting"):
        column = Column("index", "Forgetting index", digits=2, signed=True)
        yield Quantity(f"{probe.name}: index", "forgetting index", _metric(probe, "index"), column)
    for probe in probes_of_kind(study, "accuracy"):
        metric = "test_force_rmse"
        column = Column(metric, "Test RMSE F (meV/Å)", 1e3, 1)
        yield Quantity("test frames: forces", "force RMSE (eV/Å)", _metric(probe, metric), column)


def _metric(probe: ProbeInfo, metric: str) -> Value:
    return lambda run: run.metric(probe.name, metric)


def _barrier(probe: ProbeInfo) -> Value:
    """Magnitude of the error; nothing for runs trained on the path, which predict nothing there."""

    def value(run: RunRecords) -> float | None:
        error = run.metric(probe.name, "barrier_error")
        learned = probe.config.get("path") in run.info.learned_paths
        return None if error is None or learned else abs(error)

    return value


def _by_size(runs: Iterable[RunRecords]) -> dict[int, list[RunRecords]]:
    sizes: dict[int, list[RunRecords]] = {}
    for run in runs:
        sizes.setdefault(run.info.frames.get("train", 0), []).append(run)
    return sizes


def _sizes(runs: Sequence[RunRecords]) -> int:
    return len(_by_size(run for run in runs if run.info.fraction is not None))


def _entry(runs: Sequence[RunRecords], quantity: Quantity) -> Cell:
    mean, spread, _ = mean_and_std(quantity.value(run) for run in runs)
    return number(mean, quantity.column, spread=spread)


def _traces(
    groups: Mapping[str, Sequence[RunRecords]], value: Value, looks: Mapping[str, Look]
) -> Iterator[Trace]:
    trained = [n for runs in groups.values() for n, r in _by_size(runs).items() if _trained(r)]
    ends = (float(min(trained, default=1)), float(max(trained, default=1)))
    for family, runs in groups.items():
        sizes = sorted(_by_size(runs).items())
        known = [
            (float(frames), members, mean_and_std(value(run) for run in members))
            for frames, members in sizes
        ]
        known = [entry for entry in known if entry[2][0] is not None]
        if not known:
            continue
        if not _trained(runs):
            level = known[0][2][0]
            yield Trace(family, "line", looks[family], ends, (level, level))
            continue
        yield from _curve(family, looks[family], known, value)


def _curve(
    family: str,
    look: Look,
    known: Sequence[tuple[float, Sequence[RunRecords], tuple[float | None, float | None, int]]],
    value: Value,
) -> Iterator[Trace]:
    x = tuple(frames for frames, _, _ in known)
    means = tuple(mean for _, _, (mean, _, _) in known)
    if len(x) > 1 and all(spread is not None for _, _, (_, spread, _) in known):
        low = tuple((mean or 0.0) - (spread or 0.0) for _, _, (mean, spread, _) in known)
        high = tuple((mean or 0.0) + (spread or 0.0) for _, _, (mean, spread, _) in known)
        yield Trace(family, "band", look, x, (), "", low, high)
    if len(x) > 1:
        yield Trace(family, "line", look, x, means)
    for frames, members, _ in known:
        for run in members:
            if (found := value(run)) is not None:
                yield Trace(family, "marks", look, (frames,), (found,), f"seed {run.info.seed}")


def _trained(runs: Iterable[RunRecords]) -> bool:
    return any(run.info.steps for run in runs)
