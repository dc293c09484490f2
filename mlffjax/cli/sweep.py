"""``mlffjax sweep``: many variants of one run of a study, trained together and ranked."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from mlffjax import startup
from mlffjax.cli import _output, _plan, _studies
from mlffjax.cli._output import Output

if TYPE_CHECKING:
    from mlffjax.study.config import StudyConfig
    from mlffjax.study.sweep import Outcome, SweepInfo
    from mlffjax.study.sweep_config import SweepConfig

SHOWN = 20
"""Variants in the table; all are in sweep.json."""

app = typer.Typer()
CONFIG = "mlffjax.study.sweep_config:SweepConfig"


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
    dry_run: _studies.DryRun = False,
    estimate: _studies.Estimate = False,
    quiet: _output.Quiet = False,
    log: _output.LogForm = _output.Log.TEXT,
) -> None:
    """Vary one run of a study over a grid, or let optuna search; train and probe, rank, report.

    Variants of one architecture are trained in one compiled program; workers take as many variants
    at a time as executor.together says. What is finished in the output directory is not done again:
    the same command continues an interrupted sweep.
    """
    startup.set_up()
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
    output = Output(quiet=quiet, log=log)
    if dry_run or estimate:
        _show_plan(output, wanted, study, base, estimate=estimate)
        return
    with _studies.leading(study, base, known=wanted.search is None) as first:
        if not first:
            return
        with output.progress() as display:
            outcome = sweeps.sweep(wanted, path.parent, directory, observe=display, restart=restart)
            report = write_report(directory, figures=figures)
        _conclude(output, outcome, report)


def _show_plan(
    output: Output, wanted: "SweepConfig", study: "StudyConfig", base: Path, *, estimate: bool
) -> None:
    from mlffjax.study.plan import make_plan

    if wanted.search is not None:
        search = wanted.search
        output.say(
            f"a search of {search.trials} variants, {search.batch} at a time, chosen by what came "
            f"of others; this is the study whose run {wanted.run!r} is varied:"
        )
    _plan.show(output, make_plan(study, base), estimate=estimate)


def _conclude(output: Output, outcome: "Outcome", report: Path) -> None:
    show(output.console, outcome.info)
    records = outcome.records
    for caution in (*outcome.info.cautions, *records.info.warnings, *records.warnings):
        output.warn(caution, label="note")
    output.say(f"report: {report}")
    if failures := records.failures():
        for failure in failures:
            output.fail(failure)
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
