"""``mlffjax sweep``: many variants of one run of a study, trained together and ranked."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from mlffjax.cli import _progress, _studies
from mlffjax.cli._console import open_console

if TYPE_CHECKING:
    from mlffjax.study.sweep import Outcome, SweepInfo

SHOWN = 20
"""Variants in the table; all are in sweep.json."""

app = typer.Typer()


@app.command("sweep")
def sweep(
    config: Annotated[
        str, typer.Argument(help="A YAML file, or the name of a packaged one: sweep.")
    ],
    overrides: _studies.Overrides = None,
    out: _studies.Out = None,
    executor: _studies.Executor = None,
    workers: _studies.Workers = None,
    restart: _studies.Restart = False,
    figures: _studies.Figures = False,
) -> None:
    """Vary one run of a study over a grid, or let optuna search; train and probe, rank, report.

    Variants of one architecture are trained in one compiled program; workers take as many variants
    at a time as executor.together says. What is finished in the output directory is not done again:
    the same command continues an interrupted sweep.
    """
    _studies.work_in_float64()
    from mlffjax.config import locate, read
    from mlffjax.report.document import write_report
    from mlffjax.study import sweep as sweeps
    from mlffjax.study.sweep_config import SweepConfig

    path = locate(config)
    wanted = read(path, SweepConfig, overrides or ())
    change = wanted.change | _studies.executor_entries(executor, workers)
    wanted = wanted.model_copy(update={"change": change})
    directory = out or Path("results") / wanted.name
    study, base = sweeps.whole_study(wanted, path.parent)
    with _studies.leading(study, base, known=wanted.search is None) as first:
        if not first:
            return
        console = open_console()
        with _progress.Display(console) as display:
            outcome = sweeps.sweep(wanted, path.parent, directory, observe=display, restart=restart)
            report = write_report(directory, figures=figures)
        _conclude(console, outcome, report)


def _conclude(console: Console, outcome: "Outcome", report: Path) -> None:
    show(console, outcome.info)
    records = outcome.records
    for caution in (*outcome.info.cautions, *records.info.warnings, *records.warnings):
        console.print(f"note: {caution}", markup=False, style="yellow", soft_wrap=True)
    console.print(f"report: {report}", markup=False, highlight=False, soft_wrap=True)
    if failures := records.failures():
        for failure in failures:
            console.print(f"failed: {failure}", markup=False, style="red", soft_wrap=True)
        raise typer.Exit(1)


def show(console: Console, info: "SweepInfo") -> None:
    """Print the ranking, the best first."""
    paths = list(dict.fromkeys(path for row in info.ranking for path in row.values))
    table = Table("", "variant", *paths, info.objective, box=None, pad_edge=False)
    for place, row in enumerate(info.ranking[:SHOWN], start=1):
        number = "-" if row.value is None else f"{row.value:.4g}"
        number += "" if row.spread is None else f" ± {row.spread:.2g}"
        number += f" ({row.lost} of {row.seeds + row.lost} lost)" if row.lost else ""
        cells = [_text(row.values.get(path)) for path in paths]
        rank = "-" if row.value is None else str(place)
        table.add_row(rank, row.name, *cells, number)
    console.print(table, markup=False)
    if len(info.ranking) > SHOWN:
        text = f"and {len(info.ranking) - SHOWN} more in sweep.json"
        console.print(text, markup=False, highlight=False)


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
