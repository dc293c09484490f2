"""``mlffjax md``: molecular dynamics of a structure."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mlffjax.cli._console import open_console

app = typer.Typer()


@app.command("md")
def md(
    config: Annotated[
        str, typer.Argument(help="A YAML file, or the name of a packaged one: md, md_paper.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=VALUE", help="Change an entry; may be repeated."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where to write.")] = Path(
        "results/md"
    ),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how large the run is, and do nothing.")
    ] = False,
) -> None:
    """Run molecular dynamics; the same command continues an interrupted run, bit by bit.

    Writes production.h5 (H5MD), a checkpoint, and summary.json with averages and errors.
    """
    import jax

    # A program may choose its precision; positions and sums of long runs need double.
    jax.config.update("jax_enable_x64", True)
    from mlffjax import health
    from mlffjax.config import locate, read
    from mlffjax.study.dynamics import DynamicsConfig, planned, run

    path = locate(config)
    wanted = read(path, DynamicsConfig, overrides or ())
    console = open_console()
    plan = planned(wanted, path.parent)
    console.print(
        f"{plan.atoms} atoms, {plan.lanes} replica(s), {plan.steps} steps = "
        f"{plan.picoseconds:g} ps, trajectory {plan.megabytes:.3g} MB",
        highlight=False,
    )
    if dry_run:
        return
    health.require_sound_jax()
    with _Meter(console) as meter:
        summary = run(wanted, path.parent, out, observe=meter.show)
    _tell(console, summary, out)
    if summary["failures"]:
        raise typer.Exit(1)


class _Meter(Progress):
    """A bar per stage with steps per second and the time left."""

    def __init__(self, console: Console) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:g}/{task.total:g} steps {task.fields[speed]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._stages: dict[str, Any] = {}
        self._since: tuple[float, int] = (0.0, 0)

    def show(self, stage: str, step: int, steps: int) -> None:
        """Take over what a run reports."""
        if stage not in self._stages:
            self._stages[stage] = self.add_task(stage, total=steps, speed="")
            self._since = (time.monotonic(), step)
        start, first = self._since
        passed = time.monotonic() - start
        rate = (step - first) / passed if passed > 0 else 0.0
        speed = f"{rate:.3g}/s, {(steps - step) / rate:.0f} s left" if rate > 0 else ""
        self.update(self._stages[stage], completed=step, speed=speed)


def _tell(console: Console, summary: dict[str, Any], out: Path) -> None:
    for number, replica in enumerate(summary["replicas"]):
        averages = replica.get("averages", {})
        parts = [
            f"{name} {value['mean']:.4g} ± {value['error']:.2g} {unit}"
            for name, unit in (("temperature", "K"), ("pressure_gpa", "GPa"), ("volume", "Å³"))
            if (value := averages.get(name)) and None not in value.values()
        ]
        text = f"replica {number}: {replica['status']}; {', '.join(parts)}".rstrip("; ")
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    for failure in summary["failures"]:
        console.print(f"failed: {failure}", markup=False, style="red", soft_wrap=True)
    speed = summary["steps_per_second"]
    if speed:
        console.print(f"{speed:.3g} steps/s, compilation included", highlight=False)
    console.print(f"written: {out}", markup=False, highlight=False, soft_wrap=True)
