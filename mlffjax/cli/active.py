"""``mlffjax active``: choose what to label, label it, train, until the barrier settles."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from mlffjax import startup
from mlffjax.cli import _output, _studies
from mlffjax.cli._output import Output

if TYPE_CHECKING:
    from mlffjax.study.active_config import CampaignConfig
    from mlffjax.study.active_inputs import Inputs
    from mlffjax.study.active_records import CampaignInfo

WAITING = 3
"""Exit code: labels are computed elsewhere; the same command continues when they are there."""

app = typer.Typer()
CONFIG = "mlffjax.study.active_config:CampaignConfig"


@app.command("active")
def active(
    config: Annotated[
        str, typer.Argument(help="A YAML file, or the name of a packaged one: active.")
    ],
    overrides: _studies.Overrides = None,
    out: _studies.Out = None,
    restart: _studies.Restart = False,
    figures: _studies.Figures = False,
    dry_run: _studies.DryRun = False,
    quiet: _output.Quiet = False,
    log: _output.LogForm = _output.Log.TEXT,
) -> None:
    """Rounds of probing, choosing, labelling and training, until the barrier settles.

    What is finished in the output directory is not done again: the same command continues an
    interrupted campaign. Where labels are computed elsewhere it writes the inputs and leaves with
    exit code 3; the same command goes on when the results are there.
    """
    startup.set_up()
    from mlffjax import health
    from mlffjax.config import locate, read
    from mlffjax.report.document import write_report
    from mlffjax.study.active import campaign
    from mlffjax.study.active_config import CampaignConfig
    from mlffjax.study.active_inputs import read_inputs

    path = locate(config)
    wanted = read(path, CampaignConfig, overrides or ())
    output = Output(quiet=quiet, log=log)
    if dry_run:
        _tell_plan(output, wanted, read_inputs(wanted, path.parent))
        return
    health.require_sound_jax()
    directory = out or Path("results") / wanted.name
    with output.progress() as display:
        info = campaign(wanted, path.parent, directory, observe=display, restart=restart)
    _conclude(output, info, write_report(directory, figures=figures))


def _tell_plan(output: Output, wanted: "CampaignConfig", inputs: "Inputs") -> None:
    train, validation, test = (len(part) for part in inputs.parts)
    first = len(inputs.beginning(wanted, wanted.seeds[0]))
    rounds, lanes = wanted.budget.rounds, len(wanted.arms) * len(wanted.seeds)
    most = rounds * wanted.batch
    if wanted.budget.labels is not None:
        most = min(most, wanted.budget.labels)
    trainings = wanted.committee * (len(wanted.seeds) + lanes * rounds)
    lines = (
        f"{train} training frames, {first} of them labelled in the beginning; {validation} "
        f"validation and {test} test frames",
        f"{len(wanted.arms)} arm(s) x {len(wanted.seeds)} seed(s), at most {rounds} rounds of "
        f"{wanted.batch} structures: at most {most} calculations each and {trainings} trainings",
        f"paths that candidates may be taken from: {', '.join(inputs.free) or 'none'}",
        f"held out: {', '.join(wanted.held_out) or 'none'}",
    )
    for line in lines:
        output.say(line)
    for note in inputs.notes:
        output.warn(note, label="note")


def _conclude(output: Output, info: "CampaignInfo", report: Path) -> None:
    show(output.console, info)
    for note in info.notes():
        output.warn(note, label="note")
    for failure in info.failures():
        output.fail(failure)
    output.say(f"report: {report}")
    if waiting := info.waiting():
        for line in waiting:
            output.warn(line, label="waiting for labels")
        raise typer.Exit(WAITING)
    if info.failures():
        raise typer.Exit(1)


def show(console: Console, info: "CampaignInfo") -> None:
    """Print how every arm ended, and the barriers of its last round."""
    ends = {(end.arm, end.seed): end for end in info.ends}
    last = {(one.arm, one.seed): one for one in info.rounds}
    probes = list(
        dict.fromkeys(p for r in last.values() for p, v in r.values.items() if "barrier" in v)
    )
    heads = (f"{probe} barrier (eV)" for probe in probes)
    table = Table("arm", "seed", "rounds", "labels", *heads, "end", box=None, pad_edge=False)
    for key, one in last.items():
        barriers = (
            _number(one.values.get(probe, {}).get("barrier"), one.values.get(probe, {}))
            for probe in probes
        )
        end = ends[key].status if key in ends else "-"
        table.add_row(one.arm, str(one.seed), str(one.number), str(one.labels), *barriers, end)
    console.print(table, markup=False)


def _number(value: float | None, others: dict[str, float]) -> str:
    if value is None:
        return "-"
    error = others.get("barrier_error")
    return f"{value:.3f}" + ("" if error is None else f" (error {error:+.3f})")
