"""Figures as plain plotly descriptions, ready for JSON.

Names come from users: plotly reads a little HTML in texts, so every text is escaped here, and names
never enter a hover template, where ``%{...}`` has a meaning.
"""

import html
import math
from typing import Any

from mlffjax.report import style
from mlffjax.report.panels import DIGITS, Numbers, Panel, Trace, finite, rounded, rows_of, shortened

HEIGHT_PX = 340
CONFIG = {
    "displaylogo": False,
    "responsive": True,
    "scrollZoom": False,
    "modeBarButtons": [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
    # Nobody's data leaves the page: no button that uploads the figure, and no address for it.
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "toImageButtonOptions": {"format": "svg"},
}


def describe(panel: Panel) -> dict[str, Any]:
    """Data and layout of one panel, as ``Plotly.newPlot`` takes them; None stands for a gap."""
    layout = style.plotly_layout()
    layout["height"] = HEIGHT_PX
    layout["title"] = {
        "text": _text(panel.title),
        "font": {"size": 14},
        "x": 0.02,
        "xanchor": "left",
    }
    layout["xaxis"] = style.plotly_axis(_text(panel.x_label))
    layout["yaxis"] = style.plotly_axis(_text(panel.y_label))
    if panel.ticks:
        places = {
            "tickvals": list(range(len(panel.ticks))),
            "ticktext": [_text(shortened(tick)) for tick in panel.ticks],
        }
        layout["xaxis"] |= (
            places
            | {"ticks": "", "range": [-0.6, len(panel.ticks) - 0.4], "showgrid": False}
            # Long names lean; plotly hides those that leave the frame unless told not to.
            | {"tickangle": -25, "ticklabeloverflow": "allow"}
        )
        layout["yaxis"] |= {"zeroline": True, "zerolinecolor": style.GREY}
        layout["bargap"] = 0.35
        layout["barmode"] = "group"
        if any(trace.form == "cells" for trace in panel.traces):
            layout["yaxis"] |= places | {"zeroline": False, "showgrid": False}
            layout["yaxis"] |= {"range": [len(panel.ticks) - 0.5, -0.5]}  # first row on top
            layout["xaxis"] |= {"tickangle": -60}  # cells are narrower than bars
    if panel.log_y:
        layout["yaxis"] |= {"type": "log", "dtick": "D2"}
    if panel.log_x:
        layout["xaxis"] |= {"type": "log"} | _places(panel)
    if panel.square:
        layout["yaxis"] |= {"scaleanchor": "x", "constrain": "domain"}
        layout["xaxis"] |= {"constrain": "domain"}
    if panel.window is not None:
        layout["yaxis"] |= {"range": list(panel.window)}
    data = [_trace(trace) for trace in panel.traces]
    for trace, drawn in zip(panel.traces, data, strict=True):
        if trace.form in ("map", "cells"):
            drawn["colorbar"] = {"title": {"text": _text(panel.z_label), "side": "right"}}
            if panel.z_window is not None:
                drawn["zmin"], drawn["zmax"] = panel.z_window
    return {"data": data, "layout": layout}


def _places(panel: Panel) -> dict[str, Any]:
    """Ticks at 1, 2, 5, 10, 20 ... written out: plotly would write 2 and 5 for 20 and 50."""
    values = [x for trace in panel.traces for x in finite(trace.x) if x > 0]
    if not values:
        return {}
    powers = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    places = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    return {"tickvals": places, "ticktext": [f"{place:g}" for place in places]}


def _trace(trace: Trace) -> dict[str, Any]:
    label = _text(f"{trace.series}, {trace.run}" if trace.run else trace.series)
    drawn: dict[str, Any] = {
        "type": "scatter",
        "name": label,
        # What the legend's buttons look for; plotly hands `meta` through untouched.
        "meta": trace.series,
        "x": _rounded(trace.x),
        "y": _rounded(trace.y),
        "hovertemplate": "%{fullData.name}<br>%{x:.4~g}, %{y:.4~g}<extra></extra>",
    }
    return drawn | _FORMS[trace.form](trace)


def _line(trace: Trace) -> dict[str, Any]:
    return {"mode": "lines", "line": _stroke(trace, 2.4)}


def _seed(trace: Trace) -> dict[str, Any]:
    return {"mode": "lines", "line": _stroke(trace, 1.2) | {"dash": "solid"}, "opacity": 0.6}


def _guide(trace: Trace) -> dict[str, Any]:
    return {"mode": "lines", "line": _stroke(trace, 1), "hoverinfo": "skip", "hovertemplate": None}


def _band(trace: Trace) -> dict[str, Any]:
    known = [
        (x, low, high)
        for x, low, high in zip(*map(_rounded, (trace.x, trace.low, trace.high)), strict=True)
        if x is not None and low is not None and high is not None
    ]
    return {
        "x": [x for x, _, _ in known] + [x for x, _, _ in reversed(known)],
        "y": [low for _, low, _ in known] + [high for _, _, high in reversed(known)],
        "mode": "lines",
        "fill": "toself",
        "fillcolor": _transparent(trace.look.color, 0.16),
        "line": {"width": 0},
        "hoverinfo": "skip",
        "hovertemplate": None,
    }


def _marks(trace: Trace) -> dict[str, Any]:
    marker = {"color": trace.look.color, "symbol": trace.look.marker, "size": 7}
    return {"mode": "markers", "marker": marker, **_ends(trace)}


def _cloud(trace: Trace) -> dict[str, Any]:
    marker = {"color": trace.look.color, "symbol": trace.look.marker, "size": 4, "opacity": 0.5}
    return {"mode": "markers", "marker": marker}


def _bar(trace: Trace) -> dict[str, Any]:
    return {
        "type": "bar",
        "marker": {"color": trace.look.color},
        "width": 0.6,
        "texttemplate": "%{y:+.3~g}",
        "textposition": "outside",
        "cliponaxis": False,
        **_ends(trace),
    }


def _map(trace: Trace) -> dict[str, Any]:
    x, y, rows = rows_of(trace)
    return {
        "type": "contour",
        "x": _rounded(x),
        "y": _rounded(y),
        "z": [_rounded(row, digits=4) for row in rows],
        "colorscale": style.COLORS,
        "reversescale": True,  # plotly's scale of this name begins with the dark end
        "contours": {"coloring": "heatmap"},
        "line": {"width": 0.5, "color": style.GREY},
        "hovertemplate": "%{fullData.name}<br>%{x:.4~g}, %{y:.4~g}: %{z:.4~g}<extra></extra>",
    }


def _cells(trace: Trace) -> dict[str, Any]:
    x, y, rows = rows_of(trace)
    return {
        "type": "heatmap",
        "x": _rounded(x),
        "y": _rounded(y),
        "z": [_rounded(row, digits=4) for row in rows],
        "colorscale": style.COLORS,
        "reversescale": True,
        "texttemplate": "%{z:.2f}",
        "hovertemplate": "%{fullData.name}<br>%{x}, %{y}: %{z:.4~g}<extra></extra>",
    }


_FORMS = {
    "map": _map,
    "cells": _cells,
    "line": _line,
    "seed": _seed,
    "guide": _guide,
    "band": _band,
    "marks": _marks,
    "cloud": _cloud,
    "bar": _bar,
}


def _stroke(trace: Trace, width: float) -> dict[str, Any]:
    return {"color": trace.look.color, "dash": trace.look.dash, "width": width}


def _ends(trace: Trace) -> dict[str, Any]:
    """Error bars from ``low`` and ``high``, if the trace has them."""
    if not trace.high:
        return {}
    above = [_difference(high, y) for high, y in zip(trace.high, trace.y, strict=True)]
    below = [_difference(y, low) for y, low in zip(trace.y, trace.low, strict=True)]
    shape = {"type": "data", "symmetric": False, "color": style.BLACK, "thickness": 1.2, "width": 5}
    return {"error_y": shape | {"array": above, "arrayminus": below}}


def _rounded(values: Numbers, *, digits: int = DIGITS) -> list[float | None]:
    return [rounded(value, digits) for value in values]


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else rounded(a - b)


def _transparent(color: str, opacity: float) -> str:
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def _text(text: str) -> str:
    return html.escape(text, quote=False)
