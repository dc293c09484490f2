"""``mlffjax report``: write the report of a study anew, finished or not."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command("report")
def report(
    directory: Annotated[Path, typer.Argument(help="Output directory of a study.")],
    figures: Annotated[
        bool, typer.Option("--figures", help="Also write every figure as PDF and PNG.")
    ] = False,
) -> None:
    """Write report.html from the records of a study; a running study may be looked at so."""
    from mlffjax.report.document import write_report

    typer.echo(f"report: {write_report(directory, figures=figures)}")
