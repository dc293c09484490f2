"""``mlffjax represent``: how alike models represent structures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlffjax import startup
from mlffjax.cli import _output, _progress, _studies
from mlffjax.cli._output import Output

if TYPE_CHECKING:
    from mlffjax.study.records import StudyRecords
    from mlffjax.study.represent_inputs import Inputs

app = typer.Typer()
CONFIG = "mlffjax.study.represent_inputs:RepresentConfig"


@app.command("represent")
def represent(
    config: Annotated[
        str, typer.Argument(help="A YAML file, or the name of a packaged one: represent.")
    ],
    overrides: _studies.Overrides = None,
    out: _studies.Out = None,
    figures: _studies.Figures = False,
    structures: Annotated[
        Path | None,
        typer.Option(
            "--structures",
            metavar="FILE",
            help="Only write the structures (extended XYZ), for a program of your own that "
            "computes features at them.",
        ),
    ] = None,
    dry_run: _studies.DryRun = False,
    quiet: _output.Quiet = False,
    log: _output.LogForm = _output.Log.TEXT,
) -> None:
    """Compare what models make of the same structures, or of their own trajectories.

    Models are stored potentials, calculators, all runs of a finished study, or arrays of features
    that another program wrote. Writes records and report.html; what is measured is kept.
    """
    startup.set_up()
    from mlffjax import health
    from mlffjax.config import locate, read
    from mlffjax.report.document import write_report
    from mlffjax.study.represent import run
    from mlffjax.study.represent_inputs import RepresentConfig, read_inputs, write_structures

    path = locate(config)
    wanted = read(path, RepresentConfig, overrides or ())
    output = Output(quiet=quiet, log=log)
    if structures is not None:
        count = write_structures(wanted, read_inputs(wanted, path.parent), structures)
        output.say(f"{count} structures written: {structures}")
        return
    if dry_run:
        _tell_plan(output, read_inputs(wanted, path.parent))
        return
    health.require_sound_jax()
    directory = out or Path("results") / wanted.name
    with output.progress() as display:
        counter = _progress.Counter(display)

        def observe(what: str, done: int, every: int) -> None:
            counter("models", f"{done} of {every} measured; {what}", done, every)

        records = run(wanted, path.parent, directory, observe=observe)
    report = write_report(directory, figures=figures)
    _conclude(output, records, report)


def _tell_plan(output: Output, inputs: "Inputs") -> None:
    frames = 0 if inputs.dataset is None else len(inputs.dataset.frames)
    images = sum(len(path.frames) for path in inputs.paths.values())
    output.say(f"{frames} frames, {images} images of {len(inputs.paths)} path(s)")
    for model in inputs.models:
        if model.given is not None:
            what = f"{len(model.given.layers)} layers of given features"
        elif model.potential is not None and "features" in model.potential.model.supports:
            what = "features and forces"
        else:
            what = "forces only: it has no features"
        output.say(f"model {model.info.id}: {what}")
    if inputs.foundation is None:
        output.say("no foundation: drifts are not measured")


def _conclude(output: Output, records: "StudyRecords", report: Path) -> None:
    for warning in records.warnings:
        output.warn(warning)
    output.say(f"report: {report}")
    if failures := records.failures():
        for failure in failures:
            output.fail(failure)
        raise typer.Exit(1)
