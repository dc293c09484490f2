"""``mlffjax study``: train and probe all candidates, then write the report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from mlffjax.cli import _progress, _verdict
from mlffjax.cli._console import open_console

if TYPE_CHECKING:
    from mlffjax.study.records import StudyRecords

app = typer.Typer()


@app.command("study")
def study(
    config: Annotated[
        str, typer.Argument(help="A YAML file, or the name of a packaged one: quickstart, paper.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=VALUE", help="Change an entry; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where to write.", show_default="results/<name>"),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            "--executor",
            metavar="KIND",
            help="Where runs are computed: local, ray or submitit (Slurm); as executor.kind.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", help="Runs at a time; as executor.workers."),
    ] = None,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart", help="Begin interrupted trainings again; what is finished stays."
        ),
    ] = False,
    figures: Annotated[
        bool, typer.Option("--figures", help="Also write every figure as PDF and PNG.")
    ] = False,
) -> None:
    """Train and probe the candidates of a study, judge them, and write report.html.

    What is finished in the output directory is not done again: the same command continues an
    interrupted study, in the middle of a training too, and repeats a failed run. Changed settings
    make new runs beside the finished ones.
    """
    _work_in_float64()
    from mlffjax import health
    from mlffjax.config import locate, read
    from mlffjax.report.document import write_report
    from mlffjax.study import distributed
    from mlffjax.study.config import StudyConfig
    from mlffjax.study.execute import execute

    path = locate(config)
    wanted = read(path, StudyConfig, [*(overrides or ()), *_executor(executor, workers)])
    if not wanted.executor.in_process:
        _leave_accelerators_to_workers()  # before anything starts jax on them
    elif not distributed.join():
        health.require_sound_jax()
        distributed.assist(wanted, path.parent)
        return
    health.require_sound_jax()
    directory = out or Path("results") / wanted.name
    console = open_console()
    with _progress.Display(console) as display:
        records = execute(wanted, path.parent, directory, observe=display, restart=restart)
        report = write_report(directory, figures=figures)
    _conclude(console, records, report)


def _executor(kind: str | None, workers: int | None) -> list[str]:
    """Two options as overrides."""
    given = {"kind": kind, "workers": workers}
    return [f"executor.{name}={value}" for name, value in given.items() if value is not None]


def _leave_accelerators_to_workers() -> None:
    """Plan and judge on the CPU: a process that starts jax on a GPU takes most of its memory."""
    import jax

    jax.config.update("jax_platforms", "cpu")


def _work_in_float64() -> None:
    """Set jax to float64, in which probes resolve energies of 1e-6 eV in thousands.

    A program may do so; a library must not.
    """
    import jax

    jax.config.update("jax_enable_x64", True)


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
