"""``mlffjax label``: have structures labelled by a calculation, an oracle or a teacher."""

from pathlib import Path
from typing import Annotated

import typer

from mlffjax import startup
from mlffjax.cli import _output, _progress
from mlffjax.cli._output import Output
from mlffjax.errors import InputError

app = typer.Typer()


@app.command("label")
def label(
    config: Annotated[
        Path,
        typer.Argument(help="A YAML file with a section `labeler:`; other entries are for others."),
    ],
    files: Annotated[
        list[str],
        typer.Argument(
            help="Structures: paths, globs or bundled:... of extended XYZ or ASE files."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="Extended XYZ file to write.")
    ] = Path("labelled.xyz"),
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=VALUE", help="Change an entry; may be repeated."),
    ] = None,
    records: Annotated[
        Path, typer.Option("--records", metavar="DIR", help="Where every outcome is kept.")
    ] = Path("labels"),
    quiet: _output.Quiet = False,
    log: _output.LogForm = _output.Log.TEXT,
) -> None:
    """Label structures, each once; the same command goes on where it was interrupted.

    Several of these commands may share the work. A labeller of kind `files` writes inputs for a
    program, to be computed with the run.sh beside them; the same command then reads the results.
    Calculations that failed or found another spin state are listed, and not tried again while
    their record is kept. Templates for several programs are in configs/labelers.
    """
    startup.set_up()
    from mlffjax.active import labelling
    from mlffjax.active.labelers._labeler import LabelPending
    from mlffjax.structures.datasets import expand
    from mlffjax.structures.files import read_frames, write_frames

    output = Output(quiet=quiet, log=log)
    labeler = labelling.read_labeler(config, overrides or ())
    paths = expand(files, Path.cwd())
    if out.resolve() in {path.resolve() for path in paths}:
        raise InputError(f"{out}: expected another file than the structures; name one with --out")
    frames = [frame for path in paths for frame in read_frames(path)]
    try:
        with output.progress() as display:
            counter = _progress.Counter(display)
            found = labelling.label(
                frames,
                labeler,
                records,
                observe=lambda done, total: counter(
                    "labels", f"labels: structure {done} of {total}", done, total
                ),
            )
    except LabelPending as waiting:
        output.say(str(waiting))
        raise typer.Exit(1) from waiting
    for frame, reason in found.failures:
        output.fail(f"{frame.source}: {reason}")
    if found.frames:
        write_frames(out, found.frames)
        output.say(f"{len(found.frames)} of {len(frames)} structures have labels: {out}")
    if found.failures:
        raise typer.Exit(1)
