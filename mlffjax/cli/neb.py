"""``mlffjax neb``: barriers of paths with any number of models."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mlffjax.cli._console import open_console

if TYPE_CHECKING:
    from mlffjax.study.neb_batch import Row
    from mlffjax.study.neb_inputs import NebPlan

app = typer.Typer()
KINDS = ("reference", "fixed", "matched", "relaxed")


@app.command("neb")
def neb(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a packaged one: neb.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=VALUE", help="Change an entry; may be repeated."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where to write.")] = Path(
        "results/neb"
    ),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check paths and models, and do nothing.")
    ] = False,
) -> None:
    """Relax elastic bands, many paths with many models; pairs that are finished are not repeated.

    Writes neb.json, neb.csv, and for every pair its numbers, arrays and images. Barriers on fixed
    images, in the model's lattice and of the relaxed band are told apart.
    """
    import jax

    # A program may choose its precision; barriers are small differences.
    jax.config.update("jax_enable_x64", True)
    from mlffjax import health
    from mlffjax.config import locate, read
    from mlffjax.study.neb_batch import run
    from mlffjax.study.neb_inputs import NebConfig, planned

    path = locate(config)
    wanted = read(path, NebConfig, overrides or ())
    console = open_console()
    if dry_run:
        _tell_plan(console, planned(wanted, path.parent))
        return
    health.require_sound_jax()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("bands", total=None)

        def observe(row: "Row", done: int, every: int) -> None:
            bar.update(
                task,
                completed=done,
                total=every,
                description=f"{row['path']}, {row['model']}: {row['status']}",
            )

        report = run(wanted, path.parent, out, observe=observe)
    _tell(console, report, out)
    if report["failures"]:
        raise typer.Exit(1)


def _tell_plan(console: Console, plan: "NebPlan") -> None:
    lines = [f"{len(plan.tasks)} path(s) x {len(plan.models)} model(s) = {plan.pairs} pair(s)"]
    for name, task in plan.tasks.items():
        images, atoms = task.start.positions.shape[:2]
        labels = "no reference energies" if task.energy is None else "with reference energies"
        lines.append(f"path {name}: {images} images of {atoms} atoms, {labels}")
    lines += [f"model {name}" for name in plan.models]
    for text in lines:
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def _tell(console: Console, report: dict[str, Any], out: Path) -> None:
    table = Table("path", "model", *(f"{kind} (eV)" for kind in KINDS), "status")
    for row in report["rows"]:
        values = (row.get(f"barrier_{kind}") for kind in KINDS)
        numbers = ("–" if value is None else f"{value:.3f}" for value in values)
        table.add_row(row["path"], row["model"], *numbers, row["status"])
    console.print(table, markup=False)
    for kind, color in (("failures", "red"), ("warnings", "yellow")):
        for text in report[kind]:
            label = "failed" if kind == "failures" else "note"
            console.print(f"{label}: {text}", markup=False, style=color, soft_wrap=True)
    console.print(f"written: {out}", markup=False, highlight=False, soft_wrap=True)
