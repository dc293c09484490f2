"""``mlffjax convert``: from a model file of mace-torch to a potential of this package."""

from pathlib import Path
from typing import Annotated

import typer

from mlffjax.cli._console import open_console
from mlffjax.errors import InputError

app = typer.Typer()

UNSTATED = "not stated"


@app.command("convert")
def convert(
    file: Annotated[Path, typer.Argument(help="A .model file of mace-torch.")],
    out: Annotated[Path, typer.Argument(help="Directory to write; made if need be.")],
    elements: Annotated[
        str | None,
        typer.Option(metavar="Cr,Sb,Te", help="Keep only these elements.", show_default="all"),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the potential.", show_default="that of the file")
    ] = None,
    reference: Annotated[
        str, typer.Option(help="Code, functional and pseudopotentials of its training labels.")
    ] = UNSTATED,
    functional: Annotated[
        str, typer.Option(help="Exchange-correlation functional of its training labels.")
    ] = UNSTATED,
    dispersion: Annotated[
        str, typer.Option(help="Dispersion correction in its training labels, or none.")
    ] = "none",
) -> None:
    """Import weights of mace-torch, without torch and without running any code of the file.

    OUT then serves as `foundation:` of a study. Keeping few elements makes a model smaller and
    faster and changes no number. What is not supported is refused by name.
    """
    from mlffjax.potential import store
    from mlffjax.potential.convert import importer

    if (out / store.CARD).exists():
        raise InputError(f"{out} already holds a potential; name another directory or remove it")
    potential, card = importer.convert(
        file,
        reference=reference,
        functional=functional,
        dispersion=None if dispersion.lower() == "none" else dispersion,
        name=name,
        elements=None if elements is None else [part.strip() for part in elements.split(",")],
    )
    card = store.save(out, potential, card)
    console = open_console()
    console.print(
        f"{out}: {card.name} for {', '.join(card.elements)}, sha256 {card.checksum}",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    if UNSTATED in (reference, functional):
        console.print(
            "warning: the card does not state what the labels were computed with; "
            "--reference and --functional do",
            markup=False, style="yellow", soft_wrap=True,
        )  # fmt: skip
