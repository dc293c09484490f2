"""What a study would do, for people to read: counts only, for nothing is computed to know them."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from mlffjax.study.plan import Plan, PlannedRun

COLUMNS = ("run", "seed", "strategy", "frames", "validation", "test", "epochs", "steps")


def show(console: Console, plan: "Plan") -> None:
    """Print runs with their frames and most steps, probes, and warnings."""
    table = Table(*COLUMNS, box=None, pad_edge=False)
    for run in plan.runs:
        table.add_row(*row(run))
    console.print(table, markup=False)
    count = len(plan.runs) * len(plan.probes)
    names = ", ".join(probe.name for probe in plan.probes)
    lines = [
        f"{len(plan.runs)} run(s) x {len(plan.probes)} probe(s) = {count} record(s): {names}",
        f"data: {len(plan.dataset.frames)} frames, digest {plan.dataset.digest}",
        "epochs and steps are the most there can be; a training without progress stops before",
    ]
    for text in lines:
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    for warning in plan.warnings:
        console.print(f"warning: {warning}", markup=False, style="yellow", soft_wrap=True)


def row(run: "PlannedRun") -> tuple[str, ...]:
    """One run; a strategy that mixes other structures in takes more steps than its frames need."""
    train, validation, test = (len(run.splits[name]) for name in ("train", "validation", "test"))
    epochs = run.training.epochs if run.config.strategy.trains else 0
    steps = str(epochs * -(-train // run.training.batch))
    if epochs and run.config.strategy.generic is not None:
        steps = f"{steps} and more"
    numbers = (train, validation, test, epochs)
    return (run.config.name, str(run.seed), run.kind, *map(str, numbers), steps)
