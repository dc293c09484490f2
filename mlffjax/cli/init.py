"""``mlffjax init``: a commented configuration for one's own frames."""

from pathlib import Path
from typing import Annotated

import typer

from mlffjax import startup
from mlffjax.cli._console import open_console
from mlffjax.errors import InputError

app = typer.Typer()
SIZES = ("tiny", "small", "medium")


@app.command("init")
def init(
    files: Annotated[
        list[str],
        typer.Argument(help="Labelled frames: paths, globs or bundled:... of extended XYZ."),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="Configuration to write.")
    ] = Path("study.yaml"),
    paths: Annotated[
        list[str] | None,
        typer.Option("--path", metavar="FILE", help="Images of a path, in order; repeatable."),
    ] = None,
    ends: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--ends", metavar="START END", help="Two structures to interpolate a path between."
        ),
    ] = None,
    images: Annotated[
        int, typer.Option("--images", min=3, help="Of the path between the ends, ends included.")
    ] = 7,
    foundation: Annotated[
        str | None,
        typer.Option(
            "--foundation",
            metavar="DIR|none",
            help="Stored potential to fine-tune.",
            show_default="the bundled generalist, if it knows the elements",
        ),
    ] = None,
    size: Annotated[
        str,
        typer.Option(
            "--size", metavar="|".join(SIZES), help="Of the model, where no foundation sets it."
        ),
    ] = "small",
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference", metavar="TEXT", help="Code, functional, pseudopotentials of the labels."
        ),
    ] = None,
    functional: Annotated[
        str | None, typer.Option("--functional", metavar="TEXT", help="Such as PBE.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Write a commented configuration of a study for your own frames.

    Elements, kinds of frames, temperatures and labels are read from the files; cutoff, splits,
    reference energies, runs and probes are chosen, with the reason beside each. The result is
    checked: `mlffjax study FILE` takes it as it is.
    """
    if size not in SIZES:
        raise InputError(f"--size: expected one of {', '.join(SIZES)}, got {size!r}")
    startup.set_up()
    from mlffjax.study import starter

    wishes = starter.Wishes(
        files=tuple(files),
        out=out,
        paths=tuple(paths or ()),
        ends=ends,
        images=images,
        foundation="" if foundation == "none" else foundation,
        size=size,
        reference=reference,
        functional=functional,
    )
    starter.require_new(out, force=force)
    drafted = starter.draft(wishes)
    warnings = starter.write(drafted, out, force=force)
    console = open_console()
    for line in (*starter.told(drafted), *(f"note: {text}" for text in drafted.notes)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for text in warnings:
        console.print(f"warning: {text}", markup=False, style="yellow", soft_wrap=True)
    for path in (*drafted.images, out):
        console.print(f"written: {path}", markup=False, highlight=False, soft_wrap=True)
    line = f"next: mlffjax study {out} --dry-run"
    console.print(line, markup=False, highlight=False, soft_wrap=True)
