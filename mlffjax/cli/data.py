"""``mlffjax data check``: read files as a study would, and say what is in them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mlffjax.cli._console import open_console
from mlffjax.errors import InputError

if TYPE_CHECKING:
    from mlffjax.structures.system import Frame

app = typer.Typer()
group = typer.Typer(no_args_is_help=True, help="Look at data before a study does.")
app.add_typer(group, name="data")

COLUMNS = ("config_type", "frames", "atoms", "elements", "energy eV/atom", "max |F| eV/Å", "stress")


@group.callback()
def _group() -> None:
    """Keep `check` a command of its own; typer would merge a single command into the group."""


@group.command("check")
def check(
    files: Annotated[
        list[str], typer.Argument(help="Paths, globs or bundled:... of extended XYZ or ASE files.")
    ],
) -> None:
    """Read files, check every frame, and print a table of what is in them."""
    from mlffjax.structures.datasets import expand
    from mlffjax.structures.files import read_frames

    console, errors = open_console(), []
    for text in files:
        try:
            for path in expand([text], Path.cwd()):
                console.print(_table(path, read_frames(path)))
        except InputError as error:  # the other files still deserve their check
            errors.append(str(error))
    if errors:
        raise InputError("\n       ".join(errors))


def _table(path: Path, frames: "list[Frame]") -> Table:
    table = Table(*COLUMNS, title=str(path), title_justify="left", box=None, pad_edge=False)
    kinds = sorted({frame.config_type for frame in frames})
    for kind in kinds:
        table.add_row(*_row(kind, [frame for frame in frames if frame.config_type == kind]))
    return table


def _row(kind: str, frames: "list[Frame]") -> tuple[str, ...]:
    from mlffjax.structures.system import to_ase

    sizes = [len(frame.system.numbers) for frame in frames]
    elements = sorted({symbol for frame in frames for symbol in to_ase(frame.system).symbols})
    energies = [f.energy / len(f.system.numbers) for f in frames if f.energy is not None]
    forces = [abs(f.forces).max() for f in frames if f.forces is not None]
    stresses = sum(frame.stress is not None for frame in frames)
    return (
        kind,
        str(len(frames)),
        _range(sizes, ""),
        " ".join(elements),
        _range(energies, ".3f") + _missing(len(energies), len(frames)),
        (f"{max(forces):.2f}" if forces else "none") + _missing(len(forces), len(frames)),
        "yes" + _missing(stresses, len(frames)) if stresses else "none",
    )


def _range(values: list[int] | list[float], style: str) -> str:
    if not values:
        return "none"
    low, high = format(min(values), style), format(max(values), style)
    return low if low == high else f"{low} to {high}"


def _missing(found: int, frames: int) -> str:
    return f" ({frames - found} without)" if 0 < found < frames else ""
