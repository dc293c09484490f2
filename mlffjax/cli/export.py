"""``mlffjax export``: from a potential of this package to a model file of other programs."""

from pathlib import Path
from typing import Annotated

import typer

from mlffjax.cli._console import open_console
from mlffjax.errors import InputError

app = typer.Typer()


@app.command("export")
def export(
    model: Annotated[
        str, typer.Argument(help="Directory of a potential, or bundled:... for one of ours.")
    ],
    out: Annotated[
        Path,
        typer.Argument(
            help="File to write: .model for mace-torch, .json for a bundle of mace-jax, whose "
            "parameters go beside it."
        ),
    ],
    dtype: Annotated[
        str | None,
        typer.Option(metavar="float64|float32", help="Precision.", show_default="that of MODEL"),
    ] = None,
) -> None:
    """Write a potential for mace-torch, hence ASE, LAMMPS and torch-sim, or for mace-jax.

    A .model file needs the extra `torch`, a bundle the extra `mace-jax`. For LAMMPS, run
    mace_create_lammps_model on the .model file.
    """
    from mlffjax.potential import store
    from mlffjax.potential.convert import exporter, mace_jax_bundle

    writers = {".model": exporter.export, ".json": mace_jax_bundle.export}
    if out.suffix not in writers:
        raise InputError(f"expected a file to write with suffix .model or .json, got {out}")
    if out.exists():
        raise InputError(f"{out} exists already; name another file or remove it")
    potential, card = store.load(model)
    writers[out.suffix](out, potential, dtype=dtype)
    open_console().print(
        f"{out}: {card.name} for {', '.join(card.elements)}",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
