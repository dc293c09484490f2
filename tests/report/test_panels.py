"""Plain descriptions of figures: limits, thinning, and numbers as CSV."""

import csv
import io
import math

import pytest

from mlffjax.report import panels, style
from mlffjax.report.panels import Figure, Panel, Trace


def test_no_window_while_everything_fits():
    assert panels.window([0.1, -0.2, None, math.nan], 0.1, factor=5.0) is None
    assert panels.window([], 1.0, factor=5.0) is None
    assert panels.window([1e9], 0.0, factor=5.0) is None  # no scale, no judgement


def test_a_window_cuts_what_dwarfs_the_rest_and_keeps_the_rest():
    limits = panels.window([0.3, -0.1, 1e6], 0.3, factor=10.0)
    assert limits is not None
    low, high = limits
    assert low < -0.1
    assert 3.0 < high < 4.0  # the bound and a margin, so that the cut curve visibly leaves


@pytest.mark.parametrize(("length", "limit"), [(0, 5), (4, 5), (5, 5), (6, 5), (1001, 10)])
def test_thinning_keeps_to_the_limit_and_starts_at_the_first(length, limit):
    places = panels.thinned(length, limit)
    assert len(places) <= limit
    assert list(places[:1]) == [0][:length]


def test_cleaning_turns_everything_without_a_number_into_a_gap():
    assert panels.cleaned([1, None, math.nan, math.inf]) == (1.0, None, None, None)
    assert panels.finite([1.0, None, math.nan, -math.inf]) == (1.0,)


def test_the_csv_holds_every_drawn_number():
    bar = Trace("a, b", "bar", style.REFERENCE, (0.0,), (0.5,), "", (0.25,), (0.75,))
    dot = Trace("a, b", "marks", style.REFERENCE, (0.38,), (None,), "seed 1")
    figure = Figure("k", "t", "c", (Panel("p", "x", "y", (bar, dot), ticks=("name",)),))
    rows = list(csv.DictReader(io.StringIO(panels.table_of(figure))))
    assert rows[0] == dict(
        zip(
            panels.CSV_COLUMNS,
            ["p", "a, b", "", "bar", "name", "0.5", "0.25", "0.75", ""],
            strict=True,
        )
    )
    assert rows[1]["y"] == ""
    assert rows[1]["x"] == "name"  # beside its bar, still of that name


def test_a_spreadsheet_runs_nothing():
    text = panels.csv_text(["=head"], [["=1+1"], ["@x"], ["plain"], [-1.5]])
    assert text.splitlines() == ["'=head", "'=1+1", "'@x", "plain", "-1.5"]


def test_the_legend_names_each_series_once_with_its_first_look():
    looks = style.looks(["a"])
    black = looks["a"]._replace(color=style.BLACK)
    traces = (
        Trace("equality", "guide", style.GUIDE, (0.0,), (0.0,)),
        Trace("a", "bar", looks["a"], (0.0,), (1.0,)),
        Trace("a", "marks", black, (0.0,), (1.0,)),
    )
    assert panels.series_of(Figure("k", "t", "c", (Panel("p", "", "", traces),))) == looks


def test_names_are_shortened_for_ticks_only():
    assert panels.shortened("short") == "short"
    assert len(panels.shortened("x" * 99)) == 18


def test_cells_are_named_by_row_and_column_and_guides_by_number():
    cells = Trace("m", "cells", style.REFERENCE, (0.0, 1.0, 0.0, 1.0), (0.0, 0.0, 1.0, 1.0),
                  z=(1.0, 0.5, 0.5, 1.0))  # fmt: skip
    guide = Trace("null", "guide", style.GUIDE, (-0.5, 1.5), (0.1, 0.1))
    figure = Figure("k", "t", "c", (Panel("p", "", "", (cells, guide), ticks=("a", "b")),))
    rows = list(csv.DictReader(io.StringIO(panels.table_of(figure))))
    assert [(row["x"], row["y"], row["z"]) for row in rows[:4]] == [
        ("a", "a", "1.0"), ("b", "a", "0.5"), ("a", "b", "0.5"), ("b", "b", "1.0"),
    ]  # fmt: skip
    assert [row["x"] for row in rows[4:]] == ["-0.5", "1.5"]
    assert panels.series_of(figure) == {}
