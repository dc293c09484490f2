"""How every figure looks: one colour, dash and marker per candidate, the reference black.

Colours are those of Okabe and Ito, distinguishable with every common colour vision; dash and
marker repeat the distinction for grey prints. The first four are in the order of the candidates of
a usual study, so that they resemble the paper: scratch orange, foundation red, fine-tuned blue.

References:
    Okabe and Ito, "Color Universal Design", https://jfly.uni-koeln.de/color/.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

BLACK = "#000000"
GREY = "#767676"
GRID = "#e3e3e3"
# Okabe-Ito without yellow, which has too little contrast with white for thin lines.
PALETTE = ("#E69F00", "#D55E00", "#0072B2", "#56B4E9", "#009E73", "#CC79A7")
COLORS = "YlGnBu"  # of maps, light where the value is low
DASHES = ("dash", "dashdot", "longdash", "dot", "longdashdot")
MARKERS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "star")
FONT_SIZE_PT = 8
COLUMN_WIDTH_IN = 3.4  # one column of a two-column journal page
RASTER_DPI = 300


class Look(NamedTuple):
    """How one series is drawn, in the words of plotly: colour, dash and marker symbol."""

    color: str
    dash: str
    marker: str


REFERENCE = Look(BLACK, "solid", "circle")
GUIDE = Look(GREY, "dot", "circle")

# Dashes of the legend, as SVG writes them.
STROKES = {
    "solid": "none",
    "dash": "7 4",
    "dashdot": "8 3 2 3",
    "longdash": "12 4",
    "dot": "2 3",
    "longdashdot": "12 3 2 3",
}
_MATPLOTLIB_DASHES = {
    "solid": "-",
    "dash": (0, (4, 2)),
    "dashdot": (0, (5, 2, 1, 2)),
    "longdash": (0, (8, 2)),
    "dot": (0, (1, 1.5)),
    "longdashdot": (0, (8, 2, 1, 2)),
}
_MATPLOTLIB_MARKERS: dict[str, str] = dict(zip(MARKERS, "osD^vP*", strict=True))


def looks(candidates: Sequence[str]) -> dict[str, Look]:
    """One look per candidate, by its place in ``candidates``; distinct for up to 30 of them."""
    return {
        name: Look(
            PALETTE[place % len(PALETTE)],
            DASHES[place % len(DASHES)],
            MARKERS[place % len(MARKERS)],
        )
        for place, name in enumerate(candidates)
    }


def matplotlib_dash(look: Look) -> Any:
    """The dash of a look as a matplotlib ``linestyle``."""
    return _MATPLOTLIB_DASHES[look.dash]


def matplotlib_marker(look: Look) -> str:
    """The marker of a look as matplotlib names it."""
    return _MATPLOTLIB_MARKERS[look.marker]


def matplotlib_settings() -> dict[Any, Any]:
    """Settings of the printed figures; fonts stay text in the PDF, so that editors can change them.

    Names are drawn literally: ``$`` in a candidate's name must not start a formula.
    """
    return {
        "font.size": FONT_SIZE_PT,
        "axes.titlesize": FONT_SIZE_PT,
        "legend.fontsize": FONT_SIZE_PT - 1,
        "legend.frameon": False,
        "legend.handlelength": 3.4,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.6,
        "axes.grid": False,
        "xtick.direction": "out",
        "lines.linewidth": 1.3,
        "lines.markersize": 3.5,
        "figure.constrained_layout.use": True,
        "savefig.dpi": RASTER_DPI,
        "pdf.fonttype": 42,
        "text.parse_math": False,
        "text.usetex": False,
        "svg.hashsalt": "mlffjax",
    }


def plotly_axis(title: str) -> dict[str, Any]:
    """One axis of an interactive panel: light grid, ticks outside, plain numbers."""
    return {
        "title": {"text": title, "standoff": 8, "font": {"size": 13}},
        "showline": True,
        "linecolor": GREY,
        "linewidth": 1,
        "gridcolor": GRID,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": GREY,
        "automargin": True,
        "exponentformat": "power",
    }


def plotly_layout() -> dict[str, Any]:
    """Everything of an interactive panel except its axes."""
    return {
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#222222"},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "margin": {"l": 60, "r": 14, "t": 34, "b": 48},
        "showlegend": False,
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "namelength": -1},
        "autosize": True,
    }
