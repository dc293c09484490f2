"""Saddles, and diffusion from jumps beside that from dynamics."""

import pytest

from mlffjax.report import saddles, style
from mlffjax.study.records import load_study

CANDIDATES = {"scratch": (0,), "FT-600K": (0, 1, 2), "foundation": (0,)}
SADDLE = ("saddle", {"path": "in_gap", "transition": {"dimensions": 2}})


def shown(out):
    records = load_study(out)
    looks = style.looks(list(records.by_name()))
    return {block.key: block for block in saddles.blocks(records, looks)}


def rows(table):
    return {row[0].text: dict(zip(table.columns, row, strict=True)) for row in table.rows}


def test_rates_stand_beside_the_diffusion_of_dynamics(make_study):
    table = shown(make_study(CANDIDATES, {"top": SADDLE, "md": ("transport", {})}))["table-saddles"]
    found = rows(table)["FT-600K"]
    assert found["Barrier (eV)"].text == "0.500 ± 0.100"
    assert found["D, 600 K (cm²/s)"].text == "5.0e-7"
    assert found["Rate, 600 K (1/ns)"].value == pytest.approx(2e-3)
    assert found["D, MD md (cm²/s)"].text == "5.0e-6"
    assert rows(table)["scratch"]["Barrier (eV)"].text == "–"


def test_without_dynamics_or_in_other_dimensions_there_is_nothing_beside(make_study):
    alone = shown(make_study(CANDIDATES, {"top": SADDLE}))["table-saddles"]
    assert not any("MD" in column for column in alone.columns)


def test_jumps_in_space_are_not_compared_with_motion_in_the_plane(make_study):
    probes = {"top": ("saddle", {"path": "a", "transition": {"dimensions": 3}}),
              "md": ("transport", {})}  # fmt: skip
    table = shown(make_study(CANDIDATES, probes))["table-saddles"]
    assert rows(table)["foundation"]["D, MD md (cm²/s)"].text == "–"


def test_the_bound_of_dynamics_holds_for_every_seed(make_study):
    records = load_study(make_study(CANDIDATES, {"top": SADDLE, "md": ("transport", {})}))
    name = f"diffusion_{saddles.BESIDE}/Cr"
    bounds = iter([3e-6, 8e-6, 4e-6])
    for run in records.runs:
        if run.info.name == "FT-600K" and "md" in run.probes:
            metrics = run.probes["md"].metrics
            assert metrics.pop(name) is not None
            metrics[name.replace("diffusion", "diffusion_bound")] = next(bounds)
    looks = style.looks(list(records.by_name()))
    table = {block.key: block for block in saddles.blocks(records, looks)}["table-saddles"]
    assert rows(table)["FT-600K"]["D, MD md (cm²/s)"].text == "< 8.0e-6"


def test_lines_of_jumps_and_marks_of_dynamics(make_study):
    figure = shown(make_study(CANDIDATES, {"top": SADDLE, "md": ("transport", {})}))[
        "fig-arrhenius"
    ]
    (panel,) = figure.panels
    assert panel.log_y
    marks = [t for t in panel.traces if t.form == "marks"]
    assert {t.series for t in marks} == {"FT-600K", "foundation"}  # scratch has no saddle
    assert marks[0].x == pytest.approx((1000 / 600,) * 3)
    assert marks[0].y == (5e-6,) * 3
    assert {t.series for t in panel.traces if t.form == "line"} == {"FT-600K", "foundation"}


def test_nothing_measured_says_so(make_study):
    out = make_study({}, {"top": SADDLE})
    assert shown(out)["fig-arrhenius"].missing
    assert shown(out)["table-saddles"].missing
