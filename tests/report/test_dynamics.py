"""Figures and tables of molecular dynamics, for studies that have them and those that do not."""

import pytest

from mlffjax.report import dynamics, style
from mlffjax.report.document import write_report
from mlffjax.study.records import load_study

PROBES = {
    "hot": ("stability", {}),
    "motion": ("transport", {}),
    "heat": ("conductivity", {}),
}


@pytest.fixture
def moved(make_study):
    return make_study({"scratch": (0,), "FT-600K": (0, 1, 2)}, PROBES)


def shown(out):
    records = load_study(out)
    found = dynamics.blocks(records, style.looks(list(records.by_name())))
    return {block.key: block for block in found}


def test_a_study_without_dynamics_has_no_such_section(study):
    assert shown(study) == {}


def test_every_probe_has_a_figure_and_a_table(moved):
    blocks = shown(moved)
    assert not any(block.missing for block in blocks.values())
    titles = [panel.title for panel in blocks["fig1-motion"].panels]
    assert titles[0] == "motion: g(r)"
    assert "motion: Cr in-plane" in titles
    assert "motion: VDOS" in titles
    assert len(blocks["fig6-heat"].panels) == 4


def test_the_reference_is_drawn_in_black_where_there_is_one(moved):
    panels = {panel.title: panel for panel in shown(moved)["fig1-motion"].panels}
    references = [t for t in panels["motion: g(r)"].traces if t.look == style.REFERENCE]
    assert [trace.series for trace in references] == ["PBE"]
    assert not [t for t in panels["motion: VACF"].traces if t.look == style.REFERENCE]


def test_a_stopped_trajectory_leaves_a_gap(moved):
    panel = shown(moved)["fig1-stability"].panels[0]
    curve = next(t for t in panel.traces if t.series == "scratch")
    assert curve.y[0] is not None
    assert curve.y[-1] is None


def test_diffusion_that_was_not_seen_is_a_dash_beside_its_bound(moved):
    table = shown(moved)["table-transport"]
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["D Cr in-plane"].text.startswith("5.00")
    assert "D Cr out-of-plane" not in table.columns  # nobody has a number
    assert row["bound Cr out-of-plane"].text.startswith("1.00")


def test_the_document_holds_the_section(moved):
    page = write_report(moved, figures=True).read_text(encoding="utf-8")
    assert "Molecular dynamics" in page
    assert list(moved.rglob("fig6-heat.pdf"))
