"""Figures for print, drawn by matplotlib: the same numbers as in the document, as PDF and PNG."""

import io
import math
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure as Sheet
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter

from mlffjax.durable import write_bytes
from mlffjax.report import style
from mlffjax.report.panels import Figure, Numbers, Panel, Trace, rows_of, series_of, shortened

PANEL_HEIGHT_IN = 2.4


def save(figure: Figure, folder: Path) -> tuple[Path, ...]:
    """Write ``<key>.pdf`` and ``<key>.png``; the same figure gives the same bytes.

    Args:
        figure: one with panels.
        folder: made if need be; files of the same name are replaced.

    Returns:
        The files written.
    """
    paths = tuple(folder / f"{figure.key}.{kind}" for kind in ("pdf", "png"))
    with matplotlib.rc_context(style.matplotlib_settings()):
        sheet = _draw(figure)
        for path in paths:
            content = io.BytesIO()
            # A date in the file would make equal records give unequal files.
            metadata: dict[str, Any] = {"CreationDate": None} if path.suffix == ".pdf" else {}
            sheet.savefig(content, format=path.suffix[1:], metadata=metadata)
            write_bytes(path, content.getvalue())
            sheet.set_layout_engine("none")  # the second file keeps the layout of the first
    return paths


def _draw(figure: Figure) -> Sheet:
    columns = min(figure.columns, len(figure.panels))
    rows = math.ceil(len(figure.panels) / columns)
    sheet = Sheet(figsize=(style.COLUMN_WIDTH_IN * columns, PANEL_HEIGHT_IN * rows + 0.4))
    grid = sheet.subplots(rows, columns, squeeze=False)
    for place, axes in enumerate(grid.flat):
        if place < len(figure.panels):
            _fill(axes, figure.panels[place], letter="abcdefghijklmnopqrstuvwxyz"[place % 26])
        else:
            axes.set_visible(False)
    handles = [
        Line2D(
            [],
            [],
            color=look.color,
            linestyle=style.matplotlib_dash(look),
            marker=style.matplotlib_marker(look),
            label=name,
        )
        for name, look in series_of(figure).items()
    ]
    sheet.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 2 * columns))
    return sheet


def _fill(axes: Any, panel: Panel, *, letter: str) -> None:
    for trace in panel.traces:
        if trace.form == "map":
            _color(axes, trace, panel)
        elif trace.form == "cells":
            _tile(axes, trace, panel)
        else:
            _add(axes, trace)
    axes.set_title(f"({letter}) {panel.title}", loc="left")
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    if panel.ticks:
        axes.margins(y=0.12)  # room for the numbers at the bars
        names = [shortened(tick) for tick in panel.ticks]
        axes.set_xticks(range(len(names)), names, rotation=20, ha="right")
        if any(trace.form == "cells" for trace in panel.traces):
            axes.margins(y=0)
            axes.tick_params(axis="x", labelrotation=60)
            axes.set_yticks(range(len(names)), names)
    if panel.log_y:
        axes.set_yscale("log")
        # The usual formatter writes formulas, which the literal reading of names has switched off.
        axes.yaxis.set_major_formatter(LogFormatter())
        axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.0, 0.4)))
    if panel.log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(LogFormatter())
        axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2.0, 0.4)))
    if panel.square:
        axes.set_aspect("equal", adjustable="box")
    if panel.window is not None:
        axes.set_ylim(*panel.window)


def _color(axes: Any, trace: Trace, panel: Panel) -> None:
    """A map with contour lines and its own bar of colours."""
    x, y, rows = rows_of(trace)
    low, high = panel.z_window or (None, None)
    values = [_gaps(row) for row in rows]
    colors = axes.pcolormesh(
        _gaps(x), _gaps(y), values, cmap=style.COLORS, vmin=low, vmax=high, shading="gouraud",
        rasterized=True,
    )  # fmt: skip
    axes.contour(_gaps(x), _gaps(y), values, colors=style.GREY, linewidths=0.4)
    axes.figure.colorbar(colors, ax=axes, label=panel.z_label)


def _tile(axes: Any, trace: Trace, panel: Panel) -> None:
    """Squares with their numbers, dark where the number is high."""
    _, _, rows = rows_of(trace)
    low, high = panel.z_window or (None, None)
    values = [_gaps(row) for row in rows]
    colors = axes.imshow(values, cmap=style.COLORS, vmin=low, vmax=high, aspect="auto")
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            dark = colors.norm(value) > 0.6
            text = "" if math.isnan(value) else f"{value:.2f}"
            axes.text(
                x, y, text, ha="center", va="center", color="white" if dark else style.BLACK,
                fontsize=style.FONT_SIZE_PT - 2,
            )  # fmt: skip
    axes.figure.colorbar(colors, ax=axes, label=panel.z_label)


def _add(axes: Any, trace: Trace) -> None:
    color, dash = trace.look.color, style.matplotlib_dash(trace.look)
    marker = style.matplotlib_marker(trace.look)
    x, y = _gaps(trace.x), _gaps(trace.y)
    match trace.form:
        case "line":
            axes.plot(x, y, color=color, linestyle=dash)
        case "seed":
            axes.plot(x, y, color=color, linewidth=0.5, alpha=0.6)
        case "guide":
            axes.plot(x, y, color=color, linestyle=dash, linewidth=0.7, zorder=0)
        case "band":
            low, high = _gaps(trace.low), _gaps(trace.high)
            axes.fill_between(x, low, high, color=color, alpha=0.16, linewidth=0)
        case "cloud":
            axes.plot(
                x,
                y,
                marker,
                color=color,
                markersize=1.5,
                alpha=0.5,
                markeredgewidth=0,
                rasterized=True,
            )
        case "marks":
            axes.plot(x, y, marker, color=color)
            _whiskers(axes, trace)
        case "bar":
            bars = axes.bar(x, y, color=color, width=0.6)
            axes.bar_label(bars, fmt="%+.3g", padding=2, fontsize=style.FONT_SIZE_PT - 2)
            axes.axhline(0.0, color=style.GREY, linewidth=0.6)
            _whiskers(axes, trace)


def _whiskers(axes: Any, trace: Trace) -> None:
    if trace.high:
        low, high = _gaps(trace.low), _gaps(trace.high)
        axes.vlines(_gaps(trace.x), low, high, color=style.BLACK, linewidth=0.8)


def _gaps(values: Numbers) -> list[float]:
    return [math.nan if value is None else value for value in values]
