"""Figures and tables of relaxed bands and gamma surfaces, where a study has them."""

import numpy as np
import pytest

from mlffjax.report import pathways, style
from mlffjax.report.document import write_report
from mlffjax.report.sections import sections
from mlffjax.study.records import load_study

PROBES = {
    "band": ("relaxed_neb", {"path": "in_gap", "relaxation": {"fmax": 0.05}}),
    "surface": ("gamma_surface", {"path": "slide"}),
    "top": ("saddle", {"path": "in_gap"}),
}


@pytest.fixture
def relaxed(make_study):
    return make_study({"scratch": (0,), "FT-600K": (0, 1, 2), "foundation": (0,)}, PROBES)


def loaded(out):
    records = load_study(out)
    return records, style.looks(list(records.by_name()))


def shown(out):
    return {block.key: block for block in pathways.blocks(*loaded(out))}


def test_a_study_without_such_probes_has_no_such_section(study, relaxed):
    assert shown(study) == {}
    assert "pathways" not in [section.key for section in sections(*loaded(study))]
    assert "pathways" in [section.key for section in sections(*loaded(relaxed))]


def test_what_was_asked_but_not_measured_says_so(make_study):
    blocks = shown(make_study({}, PROBES))
    assert len(blocks) == 8
    assert all("left no records" in block.missing for block in blocks.values())


def test_bands_stand_beside_the_reference_on_lengths_of_their_own(relaxed):
    (panel,) = shown(relaxed)["fig7-bands"].panels
    black = [t for t in panel.traces if t.look == style.REFERENCE]
    assert {(t.series, t.form) for t in black} == {("PBE", "line"), ("PBE", "marks")}
    tuned = [t for t in panel.traces if t.series == "FT-600K"]
    assert sorted(t.x[-1] for t in tuned if t.form == "marks") == pytest.approx([3.0, 3.1, 3.2])
    assert not [t for t in tuned if t.form == "band"]  # no mean of curves of different lengths


def test_a_failed_band_has_marks_but_no_curve_and_is_named(relaxed):
    (panel,) = shown(relaxed)["fig7-bands"].panels
    assert {t.form for t in panel.traces if t.series == "scratch"} == {"marks"}
    assert "No barrier: scratch, seed 0, exploded." in panel.note
    assert panel.window is not None  # 40 times the height, which would hide all others
    assert panel.window[1] < 20


def test_traces_show_every_iteration_and_the_goal(relaxed):
    energy, force = shown(relaxed)["fig7-traces"].panels
    assert force.log_y
    goal = next(t for t in force.traces if t.form == "guide")
    assert goal.y == (0.05, 0.05)
    assert goal.x == (1.0, 30.0)
    burst = next(t for t in force.traces if t.series == "scratch")
    assert burst.x == tuple(np.arange(1.0, 31.0))
    assert burst.y[-3:] == (600.0, None, None)  # a logarithm has no infinity and no zero
    lost = next(t for t in energy.traces if t.series == "scratch")
    assert lost.y[-2] is None
    assert sum(t.series == "FT-600K" for t in energy.traces) == 3


def test_three_barriers_have_columns_of_their_own(relaxed):
    table = shown(relaxed)["table-relaxed"]
    rows = {row[0].text: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    row = rows["FT-600K"]
    assert row["Fixed images (eV)"].text.startswith("0.95")
    assert row["Own lattice (eV)"].text.startswith("0.90")
    assert row["Relaxed (eV)"].value == pytest.approx(0.85)
    assert row["Relaxed (eV)"].spread == pytest.approx(0.05)
    assert rows["scratch"]["Relaxed (eV)"].text == "–"
    assert rows["scratch"]["Converged (fraction)"].value == 0


def test_the_document_holds_them(relaxed):
    text = write_report(relaxed, figures=True).read_text()
    for key in ("fig7-bands", "fig7-traces", "table-relaxed", "fig3-gamma-map", "table-saddles"):
        assert key in text
    assert list(relaxed.rglob("fig7-traces.pdf"))
