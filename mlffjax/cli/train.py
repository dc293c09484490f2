"""``mlffjax train``: one potential from one configuration."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mlffjax import startup
from mlffjax.cli import _output, _plan, _studies
from mlffjax.cli._output import Output

if TYPE_CHECKING:
    from mlffjax.study.records import StudyRecords

app = typer.Typer()
CONFIG = "mlffjax.study.single:TrainConfig"
PARTS = ("train", "validation", "test")
MEASURES = (("force_rmse", "forces"), ("energy_rmse", "energies per atom"))


@app.command("train")
def train(
    config: Annotated[
        str, typer.Argument(help="A YAML file, or the name of a packaged one: train.")
    ],
    overrides: _studies.Overrides = None,
    out: _studies.Out = None,
    restart: _studies.Restart = False,
    dry_run: _studies.DryRun = False,
    estimate: _studies.Estimate = False,
    quiet: _output.Quiet = False,
    log: _output.LogForm = _output.Log.TEXT,
) -> None:
    """Train one potential, by any strategy; the same command continues an interrupted training.

    DIR then holds the potential (for `foundation:`, `mlffjax md`, `mlffjax.load`), its history and
    its errors on the frames it was trained, stopped and tested with.
    """
    startup.set_up()
    from mlffjax.config import locate, read
    from mlffjax.study.plan import make_plan
    from mlffjax.study.single import TrainConfig, as_study
    from mlffjax.study.single import train as make

    path = locate(config)
    wanted = read(path, TrainConfig, overrides or ())
    output = Output(quiet=quiet, log=log)
    if dry_run or estimate:
        _plan.show(output, make_plan(as_study(wanted), path.parent), estimate=estimate)
        return
    directory = out or Path("results") / wanted.name
    with _studies.leading(as_study(wanted), path.parent) as first:
        if not first:
            return
        with output.progress() as display:
            records = make(wanted, path.parent, directory, observe=display, restart=restart)
        _conclude(output, records, directory)


def _conclude(output: Output, records: "StudyRecords", directory: Path) -> None:
    (run,) = records.runs
    info = run.info
    if info.status == "ok":
        parts = [part for part in PARTS if info.frames[part]]
        table = Table("root mean square errors", *parts, box=None, pad_edge=False)
        for measure, label in MEASURES:
            values = (run.metric("accuracy", f"{part}_{measure}") for part in parts)
            cells = ("-" if value is None else f"{1e3 * value:.3g}" for value in values)
            unit = "meV/Å" if measure.startswith("force") else "meV"
            table.add_row(f"{label} ({unit})", *cells)
        table.add_row("frames", *(str(info.frames[part]) for part in parts))
        output.console.print(table)
        text = f"{info.epochs} epochs, {info.steps} steps, {info.seconds:.0f} s: {info.message}"
        output.say(text.rstrip(": "))
    for text in (*records.info.warnings, *records.warnings):
        output.warn(text)
    for text in info.notes:
        output.warn(text, label="note")
    if failures := records.failures():
        for failure in failures:
            output.fail(failure)
        raise typer.Exit(1)
    output.say(f"potential: {directory}")
