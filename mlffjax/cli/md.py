"""``mlffjax md``: molecular dynamics of a structure."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlffjax import startup
from mlffjax.cli import _output, _plan, _progress, _studies
from mlffjax.cli._output import Output

if TYPE_CHECKING:
    from mlffjax.study.dynamics import DynamicsConfig

app = typer.Typer()
CONFIG = "mlffjax.study.dynamics:DynamicsConfig"


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
    estimate: _studies.Estimate = False,
    quiet: _output.Quiet = False,
    log: _output.LogForm = _output.Log.TEXT,
) -> None:
    """Run molecular dynamics; the same command continues an interrupted run, bit by bit.

    Writes production.h5md, a checkpoint, and summary.json with averages and errors.
    """
    startup.set_up()
    from mlffjax import health
    from mlffjax.config import locate, read
    from mlffjax.study.dynamics import DynamicsConfig, planned, run

    path = locate(config)
    wanted = read(path, DynamicsConfig, overrides or ())
    output = Output(quiet=quiet, log=log)
    plan = planned(wanted, path.parent)
    output.say(
        f"{plan.atoms} atoms, {plan.lanes} replica(s), {plan.steps} steps = "
        f"{plan.picoseconds:g} ps, trajectory {plan.megabytes:.3g} MB"
    )
    if dry_run and not estimate:
        return
    health.require_sound_jax()
    if estimate:
        _estimate(output, wanted, path.parent)
        return
    with output.progress() as display:
        summary = run(wanted, path.parent, out, observe=_meter(display))
    _tell(output, summary, out)
    if summary["failures"]:
        raise typer.Exit(1)


def _estimate(output: Output, wanted: "DynamicsConfig", base: Path) -> None:
    from mlffjax.study.dynamics import planned, subject
    from mlffjax.study.estimate import memory_peak, pace_of_dynamics, times

    potential, system = subject(wanted, base)
    pace = pace_of_dynamics(potential, system, wanted.md)
    steps = planned(wanted, base).steps
    output.say(f"measured here and now: {_plan.spread(pace.seconds)} a step of all replicas")
    output.say(f"time: {_plan.span(times(pace, steps))}, and {pace.compilation:.0f} s to compile")
    output.say(f"memory: {memory_peak() / 1e9:.2g} GB used by these few steps")


def _meter(display: "_progress.Display") -> Callable[[str, int, int], None]:
    """Takes over what a run reports: the stage, the step, the steps of the stage."""
    counter = _progress.Counter(display)

    def observe(stage: str, step: int, steps: int) -> None:
        rate = counter.rate(stage, step)
        speed = "" if rate is None else f", {rate:.3g} steps/s"
        counter(stage, f"{stage}: step {step} of {steps}{speed}", step, steps)

    return observe


def _tell(output: Output, summary: dict[str, Any], out: Path) -> None:
    for number, replica in enumerate(summary["replicas"]):
        averages = replica.get("averages", {})
        parts = [
            f"{name} {value['mean']:.4g} ± {value['error']:.2g} {unit}"
            for name, unit in (("temperature", "K"), ("pressure_gpa", "GPa"), ("volume", "Å³"))
            if (value := averages.get(name)) and None not in value.values()
        ]
        text = f"replica {number}: {replica['status']}; {', '.join(parts)}".rstrip("; ")
        output.say(text)
    for failure in summary["failures"]:
        output.fail(failure)
    speed = summary["steps_per_second"]
    if speed:
        output.say(f"{speed:.3g} steps/s, compilation included")
    output.say(f"written: {out}")
