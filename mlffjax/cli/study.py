"""``mlffjax study``: train and probe all candidates, then write the report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from mlffjax.cli import _plan, _progress, _studies, _verdict
from mlffjax.cli._console import open_console

if TYPE_CHECKING:
    from mlffjax.study.records import StudyRecords

app = typer.Typer()


@app.command("study")
def study(
    config: Annotated[
        str,
        typer.Argument(
            help="A YAML file, or the name of a packaged one: quickstart, paper, strategies, "
            "learning_curve."
        ),
    ],
    overrides: _studies.Overrides = None,
    out: _studies.Out = None,
    executor: _studies.Executor = None,
    workers: _studies.Workers = None,
    restart: _studies.Restart = False,
    figures: _studies.Figures = False,
    dry_run: _studies.DryRun = False,
) -> None:
    """Train and probe the candidates of a study, judge them, and write report.html.

    What is finished in the output directory is not done again: the same command continues an
    interrupted study, in the middle of a training too, and repeats a failed run. Changed settings
    make new runs beside the finished ones.
    """
    _studies.work_in_float64()
    from mlffjax.config import locate, read
    from mlffjax.report.document import write_report
    from mlffjax.study.config import StudyConfig
    from mlffjax.study.execute import execute

    path = locate(config)
    entries = _studies.executor_entries(executor, workers)
    changes = [*(overrides or ()), *(f"{name}={value}" for name, value in entries.items())]
    wanted = read(path, StudyConfig, changes)
    if dry_run:
        from mlffjax.study.plan import make_plan

        _plan.show(open_console(), make_plan(wanted, path.parent))
        return
    directory = out or Path("results") / wanted.name
    with _studies.leading(wanted, path.parent) as first:
        if not first:
            return
        console = open_console()
        with _progress.Display(console) as display:
            records = execute(wanted, path.parent, directory, observe=display, restart=restart)
            report = write_report(directory, figures=figures)
        _conclude(console, records, report)


def _conclude(console: Console, records: "StudyRecords", report: Path) -> None:
    from mlffjax.study.verdict import Verdict

    if records.summary is not None:
        _verdict.show(console, Verdict.model_validate(records.summary["verdict"]))
    for warning in (*records.info.warnings, *records.warnings):
        console.print(f"warning: {warning}", markup=False, style="yellow")
    console.print(f"report: {report}", markup=False, highlight=False, soft_wrap=True)
    if failures := records.failures():
        for failure in failures:
            console.print(f"failed: {failure}", markup=False, style="red", soft_wrap=True)
        raise typer.Exit(1)
