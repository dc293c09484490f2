"""``mlffjax neb``: barriers of paths with any number of models."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from mlffjax import startup
from mlffjax.cli import _output, _plan, _progress, _studies
from mlffjax.cli._output import Output

if TYPE_CHECKING:
    from mlffjax.study.neb_batch import Row
    from mlffjax.study.neb_inputs import NebConfig, NebPlan

app = typer.Typer()
CONFIG = "mlffjax.study.neb_inputs:NebConfig"
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
    estimate: _studies.Estimate = False,
    quiet: _output.Quiet = False,
    log: _output.LogForm = _output.Log.TEXT,
) -> None:
    """Relax elastic bands, many paths with many models; pairs that are finished are not repeated.

    Writes neb.json, neb.csv, and for every pair its numbers, arrays and images. Barriers on fixed
    images, in the model's lattice and of the relaxed band are told apart.
    """
    startup.set_up()
    from mlffjax import health
    from mlffjax.config import locate, read
    from mlffjax.study.neb_batch import run
    from mlffjax.study.neb_inputs import NebConfig, planned

    path = locate(config)
    wanted = read(path, NebConfig, overrides or ())
    output = Output(quiet=quiet, log=log)
    if dry_run or estimate:
        plan = planned(wanted, path.parent)
        _tell_plan(output, plan)
        if estimate:
            health.require_sound_jax()
            _estimate(output, wanted, plan)
        return
    health.require_sound_jax()
    with output.progress() as display:
        counter = _progress.Counter(display)

        def observe(row: "Row", done: int, every: int) -> None:
            text = f"{row['path']}, {row['model']}: {row['status']}"
            counter("bands", f"{done} of {every} pairs; {text}", done, every)

        report = run(wanted, path.parent, out, observe=observe)
    _tell(output, report, out)
    if report["failures"]:
        raise typer.Exit(1)


def _tell_plan(output: Output, plan: "NebPlan") -> None:
    lines = [f"{len(plan.tasks)} path(s) x {len(plan.models)} model(s) = {plan.pairs} pair(s)"]
    for name, task in plan.tasks.items():
        images, atoms = task.start.positions.shape[:2]
        labels = "no reference energies" if task.energy is None else "with reference energies"
        lines.append(f"path {name}: {images} images of {atoms} atoms, {labels}")
    lines += [f"model {name}" for name in plan.models]
    for text in lines:
        output.say(text)


def _estimate(output: Output, wanted: "NebConfig", plan: "NebPlan") -> None:
    from mlffjax.pathways.bands import systems as images_of
    from mlffjax.study.estimate import NOTHING, memory_peak, pace_of_atoms, times

    relaxed = "relaxed" in wanted.barriers
    tries = (2 if wanted.relaxation.retry else 1) if relaxed else 0
    rounds = 1 + tries * wanted.relaxation.max_steps
    total = NOTHING
    for name, potential in plan.models.items():
        for task in plan.tasks.values():
            images = images_of(task.start)
            pace = pace_of_atoms(potential, images)
            total += times(pace, rounds * len(images) * len(images[0].numbers))
        output.say(f"measured here and now, {name}: {_plan.spread(pace.seconds)} an atom")
    output.say(
        f"time: at most {_plan.span(total)} for {rounds} evaluations of every image, if no band "
        "converges before its last step; compilation, lattices and saddles are not estimated"
    )
    output.say(f"memory: {memory_peak() / 1e9:.2g} GB used by one image")


def _tell(output: Output, report: dict[str, Any], out: Path) -> None:
    table = Table("path", "model", *(f"{kind} (eV)" for kind in KINDS), "status")
    for row in report["rows"]:
        values = (row.get(f"barrier_{kind}") for kind in KINDS)
        numbers = ("–" if value is None else f"{value:.3f}" for value in values)
        table.add_row(row["path"], row["model"], *numbers, row["status"])
    output.console.print(table, markup=False)
    for text in report["failures"]:
        output.fail(text)
    for text in report["warnings"]:
        output.warn(text, label="note")
    output.say(f"written: {out}")
