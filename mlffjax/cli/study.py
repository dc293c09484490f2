"""``mlffjax study``: train and probe all candidates, then write the report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlffjax import startup
from mlffjax.cli import _output, _plan, _studies, _verdict
from mlffjax.cli._output import Output

if TYPE_CHECKING:
    from mlffjax.study.records import StudyRecords

app = typer.Typer()
CONFIG = "mlffjax.study.config:StudyConfig"


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
    estimate: _studies.Estimate = False,
    quiet: _output.Quiet = False,
    log: _output.LogForm = _output.Log.TEXT,
) -> None:
    """Train and probe the candidates of a study, judge them, and write report.html.

    What is finished in the output directory is not done again: the same command continues an
    interrupted study, in the middle of a training too, and repeats a failed run. Changed settings
    make new runs beside the finished ones.
    """
    startup.set_up()
    from mlffjax.config import locate, read
    from mlffjax.report.document import write_report
    from mlffjax.study.config import StudyConfig
    from mlffjax.study.execute import execute

    path = locate(config)
    entries = _studies.executor_entries(executor, workers)
    changes = [*(overrides or ()), *(f"{name}={value}" for name, value in entries.items())]
    wanted = read(path, StudyConfig, changes)
    output = Output(quiet=quiet, log=log)
    if dry_run or estimate:
        from mlffjax.study.plan import make_plan

        _plan.show(output, make_plan(wanted, path.parent), estimate=estimate)
        return
    directory = out or Path("results") / wanted.name
    with _studies.leading(wanted, path.parent) as first:
        if not first:
            return
        with output.progress() as display:
            records = execute(wanted, path.parent, directory, observe=display, restart=restart)
            report = write_report(directory, figures=figures)
        _conclude(output, records, report)


def _conclude(output: Output, records: "StudyRecords", report: Path) -> None:
    from mlffjax.study.verdict import Verdict

    if records.summary is not None:
        _verdict.show(output.console, Verdict.model_validate(records.summary["verdict"]))
    for warning in (*records.info.warnings, *records.warnings):
        output.warn(warning)
    output.say(f"report: {report}")
    if failures := records.failures():
        for failure in failures:
            output.fail(failure)
        raise typer.Exit(1)
