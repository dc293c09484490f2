"""``mlffjax convert``: from a model file of mace-torch, or a published one, to our potentials."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from mlffjax.cli._console import open_console
from mlffjax.errors import InputError
from mlffjax.potential import releases

if TYPE_CHECKING:
    from mlffjax.potential.base import Potential
    from mlffjax.potential.card import Card

app = typer.Typer()

UNSTATED = "not stated"
ALL = "all"


@app.command("convert", epilog=f"Published models: {', '.join(releases.RELEASES)}.")
def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|NAME",
            help="A .model file of mace-torch, a bundle of mace-jax, or the name of a published "
            "model, which is downloaded once.",
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Directory to write; made if need be.")],
    head: Annotated[
        str | None,
        typer.Option(
            help="Which head of a model with several to keep; `all` writes each into a directory "
            "OUT/HEAD.",
            show_default="the only one, or the one called Default",
        ),
    ] = None,
    elements: Annotated[
        str | None,
        typer.Option(metavar="Cr,Sb,Te", help="Keep only these elements.", show_default="all"),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the potential.", show_default="that of the source")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Code, functional and pseudopotentials of its training labels.",
            show_default="known for published models",
        ),
    ] = None,
    functional: Annotated[
        str | None,
        typer.Option(
            help="Exchange-correlation functional of its training labels.",
            show_default="known for published models",
        ),
    ] = None,
    dispersion: Annotated[
        str | None,
        typer.Option(
            help="Dispersion correction in its training labels, or none.",
            show_default="known for published models, else none",
        ),
    ] = None,
    accept_licence: Annotated[
        bool,
        typer.Option(
            "--accept-licence", help="Accept the terms of a model that may not be used freely."
        ),
    ] = False,
) -> None:
    """Import weights of mace-torch or mace-jax, without running any code of the file.

    OUT then serves as `foundation:` of a study. Torch is not needed. Keeping few elements makes a
    model smaller and faster and changes no number. What is not supported is refused by name.
    """
    from mlffjax.potential import store

    console = open_console()
    _refuse_to_overwrite(out)
    path, release = _locate(source, accept_licence, console)
    choices = _labels(release, reference, functional, dispersion) | {
        "name": name or (source if release else None),
        "elements": None if elements is None else [part.strip() for part in elements.split(",")],
    }
    for directory, potential, card in _read(path, out, head, choices):
        if release:
            origin = {"name": source, "address": release.address, "licence": release.licence}
            provenance = {**card.provenance, "release": origin}
            card = card.model_copy(update={"provenance": provenance})
        card = store.save(directory, potential, card)
        elements = ", ".join(card.elements)
        _say(console, f"{directory}: {card.name} for {elements}, sha256 {card.checksum}")
    if UNSTATED in (choices["reference"], choices["functional"]):
        console.print(
            "warning: the card does not state what the labels were computed with; "
            "--reference and --functional do",
            markup=False, style="yellow", soft_wrap=True,
        )  # fmt: skip


def _labels(
    release: releases.Release | None,
    reference: str | None,
    functional: str | None,
    dispersion: str | None,
) -> dict[str, Any]:
    """What the labels were computed with: as the user says, else as is known."""
    known = (release and release.labels) or releases.Labels(UNSTATED, UNSTATED)
    dispersion = known.dispersion if dispersion is None else dispersion
    return {
        "reference": reference or known.reference,
        "functional": functional or known.functional,
        "dispersion": None if (dispersion or "none").lower() == "none" else dispersion,
    }


def _read(
    path: Path, out: Path, head: str | None, choices: dict[str, Any]
) -> "list[tuple[Path, Potential, Card]]":
    """What to write where: one potential, or one per head."""
    from mlffjax.potential.convert import importer, mace_jax_bundle

    if mace_jax_bundle.is_bundle(path):
        if head is not None:
            raise InputError(f"{path} is a bundle of mace-jax, which has one head; omit --head")
        return [(out, *mace_jax_bundle.convert(path, **choices))]
    if head != ALL:
        return [(out, *importer.convert(path, head=head, **choices))]
    found = []
    for each in importer.heads(path):
        if not re.fullmatch(r"\w[\w.+-]*", each):  # it comes from the file and becomes a directory
            raise InputError(f"{path} has a head {each!r}; choose heads one by one with --head")
        named: dict[str, Any] = {**choices, "name": f"{choices['name'] or path.stem}-{each}"}
        _refuse_to_overwrite(out / each)
        found.append((out / each, *importer.convert(path, head=each, **named)))
    return found


def _refuse_to_overwrite(out: Path) -> None:
    from mlffjax.potential import store

    if (out / store.CARD).exists():
        raise InputError(f"{out} already holds a potential; name another directory or remove it")


def _locate(
    source: str, accept_licence: bool, console: Console
) -> tuple[Path, releases.Release | None]:
    """The file to read, and what is known of it if it is a published one."""
    from mlffjax.potential.convert import mace_jax_bundle

    path = Path(source)
    is_name = source in releases.RELEASES or not (path.suffix or path.name != source)
    if path.is_file() or mace_jax_bundle.is_bundle(path) or not is_name:
        return path, None
    release = releases.find(source)
    with _progress(console) as show:
        path = releases.fetch(source, accept_licence=accept_licence, progress=show)
    _say(console, f"{source} from {release.address}, {releases.TERMS[release.licence]}: {path}")
    return path, release


@contextmanager
def _progress(console: Console) -> Iterator[releases.Progress]:
    """A bar on a terminal, nothing elsewhere."""
    columns = (TextColumn("downloading"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("downloading", total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
