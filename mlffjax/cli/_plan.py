"""What a study would do, for people to read: counts only, for nothing is computed to know them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from mlffjax.cli._output import Output

if TYPE_CHECKING:
    from mlffjax.study.estimate import Estimate, Span
    from mlffjax.study.plan import Plan, PlannedRun

COLUMNS = ("run", "seed", "strategy", "frames", "validation", "test", "epochs", "steps")


def show(output: Output, plan: "Plan", *, estimate: bool = False) -> None:
    """Print runs with their frames and most steps, probes, warnings and, if asked, an estimate."""
    table = Table(*COLUMNS, box=None, pad_edge=False)
    for run in plan.runs:
        table.add_row(*row(run))
    output.console.print(table, markup=False)
    count = len(plan.runs) * len(plan.probes)
    names = ", ".join(probe.name for probe in plan.probes)
    lines = [
        f"{len(plan.runs)} run(s) x {len(plan.probes)} probe(s) = {count} record(s): {names}",
        f"data: {len(plan.dataset.frames)} frames, digest {plan.dataset.digest}",
        "epochs and steps are the most there can be; a training without progress stops before",
    ]
    for text in lines:
        output.say(text)
    for warning in plan.warnings:
        output.warn(warning)
    if estimate:
        from mlffjax import health
        from mlffjax.study.estimate import of_study

        health.require_sound_jax()
        for text in told(of_study(plan)):
            output.say(text)


def told(estimate: "Estimate") -> list[str]:
    """Time and memory in words."""
    lines = [
        f"measured here and now, {kind}: {spread(pace.seconds)} a step, compiled in "
        f"{pace.compilation:.0f} s"
        for kind, pace in estimate.paces.items()
    ]
    if estimate.paces:
        lines.append(
            f"training: at most {span(estimate.training)}, one run after another on this machine"
        )
    if estimate.counted:
        lines.append(
            f"probes {', '.join(estimate.counted)}: at most {span(estimate.probes)}, without "
            "compilation"
        )
    if estimate.uncounted:
        lines.append(f"not estimated: probes {', '.join(estimate.uncounted)}")
    lines.append(f"memory: {estimate.memory / 1e9:.2g} GB used by these few steps")
    return lines


def span(amount: "Span") -> str:
    """A time with the range of the measured repetitions."""
    low, likely, high = (duration(seconds) for seconds in amount)
    return f"{likely} ({low} to {high})" if low != high else likely


def spread(seconds: "Sequence[float]") -> str:
    """Median and range of short times, ms."""
    low, middle, high = (
        1e3 * one for one in (min(seconds), sorted(seconds)[len(seconds) // 2], max(seconds))
    )
    return f"{middle:.3g} ms ({low:.3g} to {high:.3g})"


def duration(seconds: float) -> str:
    """In the unit that people would use.

    >>> duration(5000.0)
    '1.4 h'
    """
    for limit, unit, name in ((100, 1, "s"), (6000, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.2g} {name}"
    return f"{seconds / 86400:.2g} days"


def row(run: "PlannedRun") -> tuple[str, ...]:
    """One run; a strategy that mixes other structures in takes more steps than its frames need."""
    train, validation, test = (len(run.splits[name]) for name in ("train", "validation", "test"))
    epochs = run.training.epochs if run.config.strategy.trains else 0
    steps = str(epochs * -(-train // run.training.batch))
    if epochs and run.config.strategy.generic is not None:
        steps = f"{steps} and more"
    numbers = (train, validation, test, epochs)
    return (run.config.name, str(run.seed), run.kind, *map(str, numbers), steps)
