"""Active learning: errors of barriers against the number of labels, and what rounds chose."""

from collections.abc import Iterator, Sequence

from mlffjax.report import style
from mlffjax.report.figures import Looks
from mlffjax.report.panels import Figure, Panel, Trace
from mlffjax.report.style import Look
from mlffjax.report.tables import Cell, Column, Table, number
from mlffjax.study.active_records import FILE, CampaignInfo, Round
from mlffjax.study.records import StudyRecords, mean_and_std, read_model

LABELS = "labels added"
BARRIER, FORCES = "barrier_error", "test_force_rmse"


def blocks(study: StudyRecords, looks: Looks) -> tuple[Figure | Table, ...]:
    """Curves, and tables of rounds and of what was chosen; nothing if no round is done."""
    del looks  # arms have looks of their own
    info = read_model(study.directory / FILE, CampaignInfo, [])
    if info is None or not info.rounds:
        return ()
    return curve_figure(info), round_table(info), choice_table(info)


def curve_figure(info: CampaignInfo) -> Figure:
    """One panel for every barrier and for the forces on test frames."""
    arms = list(dict.fromkeys(one.arm for one in info.rounds))
    looks = style.looks(arms)
    panels = tuple(
        Panel(f"{probe}: {title}", LABELS, label, traces)
        for probe, metric, title, label in _quantities(info)
        if (traces := tuple(t for a in arms for t in _curve(info, a, looks[a], probe, metric)))
    )
    figure = Figure(
        "active-curves",
        "What labels bring",
        "Against the number of labels added to the first frames: magnitude of the error of each "
        "barrier, and force error on the test frames. The prediction of a round is the mean over "
        "its committee; lines join means over seeds of the campaign, bands are ± one standard "
        "deviation over these seeds, marks single seeds. Where an arm may label images of a path, "
        f"that path is no prediction for it; {_closed(info)}.",
    )
    if not panels:
        return figure._replace(missing="No probe compares a barrier or forces with a reference.")
    return figure._replace(panels=panels)


def _closed(info: CampaignInfo) -> str:
    names = ", ".join(info.config.get("held_out") or ())
    return f"held out from all arms: {names}" if names else "no path is held out from all arms"


def _quantities(info: CampaignInfo) -> Iterator[tuple[str, str, str, str]]:
    """Probe, metric, title and label of everything that is drawn."""
    known = dict.fromkeys(
        (probe, metric)
        for one in info.rounds
        for probe, metrics in one.values.items()
        for metric in metrics
    )
    for probe, metric in known:
        if metric == BARRIER:
            yield probe, metric, "barrier", "|barrier error| (eV)"
    for probe, metric in known:
        if metric == FORCES:
            yield probe, metric, "test forces", "force RMSE (eV/Å)"


def _value(one: Round, probe: str, metric: str) -> float | None:
    found = one.values.get(probe, {}).get(metric)
    return None if found is None else abs(found)


def _by_labels(info: CampaignInfo, arm: str) -> dict[int, list[Round]]:
    groups: dict[int, list[Round]] = {}
    for one in info.rounds:
        if one.arm == arm:
            groups.setdefault(one.labels, []).append(one)
    return dict(sorted(groups.items()))


def _curve(info: CampaignInfo, arm: str, look: Look, probe: str, metric: str) -> Iterator[Trace]:
    found = [
        (float(labels), mean, spread)
        for labels, rounds in _by_labels(info, arm).items()
        for mean, spread, _ in [mean_and_std(_value(one, probe, metric) for one in rounds)]
        if mean is not None
    ]
    if not found:
        return
    x, means, spreads = zip(*found, strict=True)
    if len(x) > 1:
        if None not in spreads:
            low = tuple(m - s for m, s in zip(means, spreads, strict=True))
            high = tuple(m + s for m, s in zip(means, spreads, strict=True))
            yield Trace(arm, "band", look, x, (), "", low, high)
        yield Trace(arm, "line", look, x, means)
    for one in info.rounds:
        value = _value(one, probe, metric)
        if one.arm == arm and value is not None:
            yield Trace(arm, "marks", look, (float(one.labels),), (value,), f"seed {one.seed}")


def round_table(info: CampaignInfo) -> Table:
    """The numbers of the figure, mean ± standard deviation over seeds."""
    arms = list(dict.fromkeys(one.arm for one in info.rounds))
    quantities = list(_quantities(info))
    columns = [_column(probe, metric) for probe, metric, _, _ in quantities]
    rows = []
    for arm in arms:
        for labels, rounds in _by_labels(info, arm).items():
            statistics = [
                mean_and_std(_value(one, probe, metric) for one in rounds)
                for probe, metric, _, _ in quantities
            ]
            rows.append(
                (
                    Cell(arm, arm),
                    number(float(labels), Column("labels", "", digits=0)),
                    number(float(len(rounds)), Column("seeds", "", digits=0)),
                    *(
                        number(mean, column, spread=spread)
                        for (mean, spread, _), column in zip(statistics, columns, strict=True)
                    ),
                )
            )
    return Table(
        "table-active-rounds",
        "Rounds",
        "Magnitudes of the errors of committee means: mean ± standard deviation over seeds.",
        ("Arm", "Labels", "Seeds", *(column.heading for column in columns)),
        tuple(rows),
        looks=style.looks(arms),
    )


def _column(probe: str, metric: str) -> Column:
    if metric == BARRIER:
        return Column(metric, f"|Error| {probe} (eV)", digits=3)
    return Column(metric, f"{probe} RMSE F (meV/Å)", 1e3, 1)


def choice_table(info: CampaignInfo) -> Table:
    """What every round chose, and how arms ended."""
    ends = {(end.arm, end.seed): f"{end.status}: {end.reason}" for end in info.ends}
    last = {(one.arm, one.seed): one.number for one in info.rounds}
    rows = tuple(_chosen(one, ends, last) for one in info.rounds)
    return Table(
        "table-active-choices",
        "What was chosen",
        "Structures by name, with the score of their choice where the kind of selection has one; "
        "candidates are counted before labelled, held-out and unsound ones are left out.",
        ("Arm", "Seed", "Round", "Candidates", "Chosen", "No label", "End"),
        rows,
        looks=style.looks(list(dict.fromkeys(one.arm for one in info.rounds))),
    )


def _chosen(
    one: Round, ends: dict[tuple[str, int], str], last: dict[tuple[str, int], int]
) -> tuple[Cell, ...]:
    key = (one.arm, one.seed)
    names = [
        pick.name if pick.score is None else f"{pick.name} ({pick.score:.3g})"
        for choice in one.choices
        for pick in choice.picks
    ]
    failed = [f"{failure.name}: {failure.reason}" for failure in one.failures]
    counts: Sequence[int] = [choice.candidates for choice in one.choices]
    whole = Column("", "", digits=0)
    return (
        Cell(one.arm, one.arm),
        number(float(one.seed), whole),
        number(float(one.number), whole),
        number(float(counts[0]) if counts else None, whole),
        Cell(", ".join(names), ", ".join(names)),
        Cell("; ".join(failed), "; ".join(failed)),
        Cell(ends.get(key, "") if last[key] == one.number else ""),
    )
