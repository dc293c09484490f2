"""Plotly descriptions are plain JSON and take names as text."""

import json

import pytest

from mlffjax.report import interactive, style
from mlffjax.report.panels import Panel, Trace

LOOK = style.looks(["a"])["a"]
FORMS = ("line", "seed", "band", "marks", "cloud", "bar", "guide")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_becomes_plain_json(form):
    trace = Trace("a", form, LOOK, (0.0, 1.0), (1.0, None), "seed 0", (0.5, None), (1.5, None))
    drawn = interactive.describe(Panel("t", "x", "y", (trace,)))
    text = json.dumps(drawn, allow_nan=False)
    assert json.loads(text)["data"][0]["meta"] == "a"  # what the legend's buttons look for


def test_names_are_text_wherever_plotly_reads_html(hostile):
    trace = Trace(hostile, "bar", LOOK, (0.0,), (1.0,), "%{x}")
    panel = Panel(hostile, hostile, hostile, (trace,), ticks=(hostile,))
    drawn = interactive.describe(panel)
    del drawn["data"][0]["meta"]  # data of our own, never shown
    assert "<img" not in json.dumps(drawn)
    assert "%{x}" not in drawn["data"][0]["hovertemplate"].replace("%{x:.4~g}", "")


def test_whiskers_are_distances_from_the_bar():
    trace = Trace("a", "bar", LOOK, (0.0,), (1.0,), "", (0.75,), (1.5,))
    (bar,) = interactive.describe(Panel("t", "", "y", (trace,), ticks=("a",)))["data"]
    assert bar["error_y"]["array"] == [0.5]
    assert bar["error_y"]["arrayminus"] == [0.25]


def test_a_band_closes_around_its_known_ends():
    trace = Trace("a", "band", LOOK, (0.0, 1.0, 2.0), (), "", (0.0, None, 2.0), (1.0, 5.0, 3.0))
    (band,) = interactive.describe(Panel("t", "x", "y", (trace,)))["data"]
    assert band["x"] == [0.0, 2.0, 2.0, 0.0]
    assert band["y"] == [0.0, 2.0, 3.0, 1.0]


def test_no_button_sends_data_away():
    assert interactive.CONFIG["showSendToCloud"] is False
    assert not interactive.CONFIG["plotlyServerURL"]
