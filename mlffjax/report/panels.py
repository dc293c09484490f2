"""What a figure shows, in plain numbers and free of any drawing library.

``figures`` builds these from records; ``interactive`` draws them with plotly, ``publication`` with
matplotlib, and ``table_of`` writes the drawn numbers, so all three show the same.
"""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from mlffjax.report.style import Look

Form = Literal["line", "seed", "band", "marks", "cloud", "bar", "guide", "map", "cells"]
Numbers = tuple[float | None, ...]

DIGITS = 7  # more than a screen or a printed page shows
CSV_COLUMNS = ("panel", "series", "run", "form", "x", "y", "low", "high", "z")


class Trace(NamedTuple):
    """One drawn thing.

    Attributes:
        series: candidate, or the name of the reference; what the legend switches on and off.
        form: ``line`` main curve, ``seed`` thin curve of one run, ``band`` between ``low`` and
            ``high``, ``marks`` single points, ``cloud`` many faint points, ``bar`` bars from zero
            with ``low`` and ``high`` as ends of error bars, ``guide`` an auxiliary line, ``map``
            colours ``z`` of a rectangular grid, point by point with x running fastest, ``cells``
            the same as squares with their numbers, of rows and columns that have names.
        x: abscissae; for bars, places 0, 1, 2 ... named by the ticks of the panel.
        y: ordinates; None where the run gave no finite number.
        run: which run, shown on hovering; empty for a mean over runs.
        low: lower ends, as long as ``x``, or empty.
        high: upper ends, as long as ``x``, or empty.
        z: of a map, as long as ``x``; empty otherwise.
    """

    series: str
    form: Form
    look: Look
    x: Numbers
    y: Numbers
    run: str = ""
    low: Numbers = ()
    high: Numbers = ()
    z: Numbers = ()


class Panel(NamedTuple):
    """One pair of axes; ``ticks`` names the places 0, 1, 2 ... of bars, and of ``cells`` both ways.

    ``window`` limits the ordinate where one series would dwarf all others; ``note`` then says so.
    ``z_label`` and ``z_window`` are title and ends of the colours of a map.
    """

    title: str
    x_label: str
    y_label: str
    traces: tuple[Trace, ...]
    ticks: tuple[str, ...] = ()
    log_y: bool = False
    log_x: bool = False
    square: bool = False
    window: tuple[float, float] | None = None
    note: str = ""
    z_label: str = ""
    z_window: tuple[float, float] | None = None


class Figure(NamedTuple):
    """Panels with one caption; ``missing`` says why there are none.

    Attributes:
        key: name of files and anchors, letters and hyphens.
        caption: what is shown, with units and the meaning of lines and bands.
        columns: panels side by side on a wide page.
    """

    key: str
    title: str
    caption: str
    panels: tuple[Panel, ...] = ()
    columns: int = 2
    missing: str = ""


def finite(values: Iterable[float | None]) -> tuple[float, ...]:
    """The finite numbers among ``values``."""
    return tuple(v for v in values if v is not None and math.isfinite(v))


def cleaned(values: Iterable[float | None]) -> Numbers:
    """The values with everything that is not finite replaced by None."""
    return tuple(float(v) if v is not None and math.isfinite(v) else None for v in values)


def series_of(figure: Figure) -> dict[str, Look]:
    """Names and looks for the legend, in the order drawn, guides and maps left out."""
    found: dict[str, Look] = {}
    for trace in (trace for panel in figure.panels for trace in panel.traces):
        if trace.form not in ("guide", "map", "cells"):
            found.setdefault(trace.series, trace.look)
    return found


def window(values: Iterable[float | None], scale: float, *, factor: float) -> tuple | None:
    """Limits that keep a figure readable when some value exceeds ``factor * scale``.

    Returns:
        None if everything fits, otherwise (low, high) around the values that do fit and zero.
    """
    known = finite(values)
    bound = factor * scale
    if scale <= 0 or not known or max(abs(v) for v in known) <= bound:
        return None
    inside = [0.0, *(v for v in known if abs(v) <= bound)]
    low, high = min(inside), max(inside)
    # A cut series must visibly leave the frame, not stop at the last value inside.
    high = bound if any(v > bound for v in known) else high
    low = -bound if any(v < -bound for v in known) else low
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def shortened(text: str, limit: int = 18) -> str:
    """A name short enough for a tick; the legend and the numbers keep the whole of it."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def thinned(length: int, limit: int) -> range:
    """Evenly spaced places, at most ``limit`` of them."""
    return range(0, length, max(1, math.ceil(length / limit)))


def rows_of(trace: Trace) -> tuple[Numbers, Numbers, list[Numbers]]:
    """Abscissae, ordinates and rows of colours of a map."""
    width = len(set(trace.x))
    rows = [trace.z[first : first + width] for first in range(0, len(trace.z), width)]
    return trace.x[:width], trace.y[::width], rows


def table_of(figure: Figure) -> str:
    """All drawn numbers as CSV with the columns ``CSV_COLUMNS``, to ``DIGITS`` digits."""
    return csv_text(CSV_COLUMNS, _rows(figure))


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """CSV text; cells that a spreadsheet would run as a formula are quoted by an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_cell(name) for name in columns])
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value


def rounded(value: float | None, digits: int = DIGITS) -> float | None:
    """A number to so many significant digits; the document holds every drawn number twice."""
    return None if value is None else float(f"{value:.{digits}g}")


def _rows(figure: Figure) -> Iterator[tuple[object, ...]]:
    for panel in figure.panels:
        for trace in panel.traces:
            columns = panel.ticks if trace.form != "guide" else ()
            rows = panel.ticks if trace.form == "cells" else ()
            empty = (None,) * len(trace.x)
            ends = (trace.low or empty, trace.high or empty, trace.z or empty)
            for x, y, *others in zip(trace.x, trace.y or empty, *ends, strict=True):
                place, row = _named(x, columns), _named(y, rows)
                numbers = map(rounded, others)
                yield panel.title, trace.series, trace.run, trace.form, place, row, *numbers


def _named(value: float | None, ticks: Sequence[str]) -> str | float | None:
    """A place by the name of its tick, any other number rounded."""
    return ticks[round(value)] if ticks and value is not None else rounded(value)
