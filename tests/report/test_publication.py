"""Figures for print: every form is drawn, names are literal, equal figures give equal bytes."""

import pytest

from mlffjax.report import publication, style
from mlffjax.report.panels import Figure, Panel, Trace

LOOK = style.looks(["a"])["a"]


@pytest.fixture
def figure(hostile):
    x, y = (0.0, 1.0, 2.0), (1.0, None, 4.0)
    forms = ("line", "seed", "band", "marks", "cloud", "guide")
    traces = tuple(Trace("$a_", f, LOOK, x, y, "", (0.5, 1.0, 2.0), (1.5, 2.0, 5.0)) for f in forms)
    bars = Trace(hostile, "bar", LOOK, (0.0,), (-0.2,), "", (-0.3,), (-0.1,))
    panels = (
        Panel("$x^ {", "x", "y", traces, window=(0.0, 2.0)),
        Panel("log", "x", "y", traces[:1], log_y=True),
        Panel(hostile, "", "y", (bars,), ticks=(hostile,)),
    )
    return Figure("key", "title", "caption", panels)


def test_files_are_written_and_repeatable(figure, tmp_path):
    paths = publication.save(figure, tmp_path)
    assert [path.name for path in paths] == ["key.pdf", "key.png"]
    first = [path.read_bytes() for path in paths]
    assert first[0].startswith(b"%PDF")
    assert first[1].startswith(b"\x89PNG")
    assert [path.read_bytes() for path in publication.save(figure, tmp_path)] == first
