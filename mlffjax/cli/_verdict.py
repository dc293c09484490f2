"""The outcome of a study on a terminal: who passed what, and the sentence that sums it up."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from mlffjax.study.verdict import Candidate, Criterion, Verdict

STYLES = {"pass": "green", "fail": "red", "unknown": "dim"}


def show(console: Console, verdict: "Verdict") -> None:
    """Print candidates against criteria, then the headline."""
    criteria = verdict.candidates[0].criteria if verdict.candidates else ()
    table = Table("", *(heading(c) for c in criteria), box=None, pad_edge=False)
    for candidate in verdict.candidates:
        cells = [f"[{STYLES[c.outcome]}]{cell(c)}[/]" for c in candidate.criteria]
        table.add_row(_name(candidate), *cells)
    console.print(table)
    console.print(verdict.headline, style="bold", markup=False, highlight=False, soft_wrap=True)


def heading(criterion: "Criterion") -> str:
    """What is measured, its threshold and the unit."""
    limit = (
        "no threshold" if criterion.threshold is None else _number(criterion.threshold, criterion)
    )
    unit = f"{_unit(criterion)}, " if criterion.unit else ""
    return escape(f"{criterion.label}\n{unit}at most {limit}")


def cell(criterion: "Criterion") -> str:
    """Mean error over seeds with its standard deviation, or a dash where there is no number."""
    if criterion.value is None:
        return "-"
    spread = f" ± {_number(criterion.spread, criterion)}" if criterion.spread else ""
    return _number(criterion.value, criterion) + spread


def _name(candidate: "Candidate") -> str:
    rank = "-" if candidate.rank is None else str(candidate.rank)
    lost = f" ({candidate.lost} of {candidate.seeds + candidate.lost} lost)"
    return escape(f"{rank} {candidate.name}" + (lost if candidate.lost else ""))


def _unit(criterion: "Criterion") -> str:
    """Errors of energies and forces are in eV; people read meV."""
    return f"m{criterion.unit}" if criterion.unit.startswith("eV") else criterion.unit


def _number(value: float, criterion: "Criterion") -> str:
    return f"{1e3 * value if criterion.unit.startswith('eV') else value:.3g}"
