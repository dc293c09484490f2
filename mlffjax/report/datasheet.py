"""One HTML page with the histograms of a set of frames; it needs no network."""

import html
from typing import Any

import numpy as np
from jaxtyping import Float64
from plotly.io import to_html

from mlffjax.report import style
from mlffjax.structures.overview import Overview

BINS = 60
HEIGHT_PX = 320


def page(overview: Overview, *, title: str) -> str:
    """Counts as text and a histogram of each quantity, as a whole page."""
    figures = [
        to_html(
            _figure(name, values),
            full_html=False,
            include_plotlyjs=index == 0,  # once a page
            validate=False,
            config={"displaylogo": False, "showSendToCloud": False, "plotlyServerURL": ""},
        )
        for index, (name, values) in enumerate(overview.values.items())
    ]
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in summary(overview))
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>body {{ max-width: 60rem; margin: 2rem auto; "
        "font-family: system-ui, sans-serif; }}</style></head>"
        f"<body><h1>{html.escape(title)}</h1><ul>{lines}</ul>{''.join(figures)}</body></html>\n"
    )


def summary(overview: Overview) -> tuple[str, ...]:
    """Frames, compositions, isolated atoms, missing labels and duplicates, a line each."""
    compositions = ", ".join(f"{name} ({n})" for name, n in overview.compositions.items())
    missing = ", ".join(f"{name} in {n}" for name, n in overview.missing.items() if n)
    groups = ["; ".join(sources) for sources in overview.duplicates]
    return (
        f"frames: {overview.frames}",
        f"compositions: {compositions or 'none'}",
        f"isolated atoms: {', '.join(overview.isolated) or 'none'}",
        f"missing labels: {missing or 'none'}",
        f"structures that occur more than once: {len(groups)}",
        *(f"the same structure: {group}" for group in groups),
    )


def _figure(name: str, values: Float64[np.ndarray, " values"]) -> dict[str, Any]:
    """Counted here: a page of a million forces would hold a million numbers."""
    counts, edges = np.histogram(values, bins=BINS)
    bars = {
        "type": "bar",
        "x": ((edges[1:] + edges[:-1]) / 2).tolist(),
        "y": counts.tolist(),
        "marker": {"color": style.PALETTE[2]},
    }
    layout = {
        **style.plotly_layout(),
        "height": HEIGHT_PX,
        "showlegend": False,
        "bargap": 0.02,
        "xaxis": style.plotly_axis(html.escape(name)),
        "yaxis": style.plotly_axis("count"),
    }
    return {"data": [bars], "layout": layout}
