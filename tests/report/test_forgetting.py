"""Figures and tables of forgetting and strain, where a study has them."""

import numpy as np
import pytest

from mlffjax.report import forgetting, style
from mlffjax.report.document import write_report
from mlffjax.report.sections import sections
from mlffjax.study.records import load_study, write_arrays, write_json

PROBES = {"old": ("forgetting", {"scales": {"elastic": 5.0}}), "strained": ("strain", {})}


@pytest.fixture
def probed(make_study):
    out = make_study({"scratch": (0,), "FT-600K": (0, 1, 2), "foundation": (0,)}, PROBES)
    for run in load_study(out).runs:  # what a run started from
        start = "model" if run.info.name == "scratch" else "foundation"
        info = run.info.model_copy(update={"starts_from": start})
        write_json(run.directory / "run.json", info)
    return out


def loaded(out):
    records = load_study(out)
    return records, style.looks(list(records.by_name()))


def shown(out):
    return {block.key: block for block in forgetting.blocks(*loaded(out))}


def test_a_study_without_such_probes_has_no_such_section(study, probed):
    assert shown(study) == {}
    assert "forgetting" not in [section.key for section in sections(*loaded(study))]
    assert "forgetting" in [section.key for section in sections(*loaded(probed))]


def test_what_was_asked_but_not_measured_says_so(make_study):
    blocks = shown(make_study({}, PROBES))
    assert len(blocks) == 6
    assert all("left no records" in block.missing for block in blocks.values())


def test_bars_are_means_with_single_seeds_beside(probed):
    (panel,) = shown(probed)["forgetting-index"].panels
    bars = {t.series: t for t in panel.traces if t.form == "bar"}
    assert bars["FT-600K"].y == pytest.approx((0.6,))
    assert bars["FT-600K"].high == pytest.approx((0.7,))
    marks = [t.y[0] for t in panel.traces if t.form == "marks"]
    assert marks == pytest.approx([0.5, 0.6, 0.7])


def test_the_table_marks_who_had_nothing_to_forget(probed):
    table = shown(probed)["table-forgetting"]
    assert table.columns[:4] == ("Candidate", "Started from", "Probe", "Index")
    starts = {row[0].text: row[1].text for row in table.rows}
    assert starts["scratch"] == "nothing: knows less, forgot nothing"
    assert starts["FT-600K"] == "foundation"
    tuned = next(row for row in table.rows if row[0].text == "FT-600K")
    assert tuned[3].text == "+0.60 ± 0.10"
    assert "Dimers" not in table.columns  # nobody has a number
    assert "elastic 5" in shown(probed)["table-forgetting-errors"].caption


def test_dimer_curves_stand_beside_the_foundation_and_are_cut(probed):
    first, second = shown(probed)["forgetting-dimers"].panels
    assert first.title == "old: Sb-Te"
    black = [t for t in first.traces if t.look == style.REFERENCE]
    assert [t.series for t in black] == [forgetting.FOUNDATION]
    assert first.window is not None  # scratch falls into a hole of 300 eV
    assert first.window[0] > -10
    assert second.window is None


def test_runs_that_know_other_pairs_are_drawn_over_their_own_distances(probed):
    run = next(r for r in load_study(probed).runs if r.info.name == "foundation")
    arrays = dict(run.arrays("old"))
    arrays["dimer_pairs"] = np.array(["Te-Te", "Cr-Te"])
    arrays["dimer_distance"] = arrays["dimer_distance"] + np.array([[0.5], [1.0]])
    write_arrays(run.directory / "records" / "old.npz", arrays)
    panels = {panel.title: panel for panel in shown(probed)["forgetting-dimers"].panels}
    assert set(panels) == {"old: Sb-Te", "old: Te-Te", "old: Cr-Te"}
    series = {t.series: t for t in panels["old: Te-Te"].traces if t.form == "line"}
    assert series["foundation"].x[0] == pytest.approx(2.7)
    assert series["scratch"].x[0] == pytest.approx(2.2)
    assert "foundation" not in {t.series for t in panels["old: Sb-Te"].traces}


def test_a_pair_that_the_foundation_knows_nothing_of_has_no_empty_frame(probed):
    for run in load_study(probed).runs:
        arrays = dict(run.arrays("old"))
        if "dimer_energy_foundation" in arrays:
            arrays["dimer_energy_foundation"] = np.full_like(
                arrays["dimer_energy_foundation"], np.nan
            )
            write_arrays(run.directory / "records" / "old.npz", arrays)
    for panel in shown(probed)["forgetting-dimers"].panels:
        assert panel.window is None or panel.window[1] > panel.window[0]


def test_strain_panels_are_one_a_series_in_order_of_strain(probed):
    panels = {panel.title: panel for panel in shown(probed)["strain"].panels}
    assert set(panels) == {
        "strained, gap Sb8Te12: energy", "strained, isotropic Sb8Te12: energy",
    }  # fmt: skip
    black = [t for t in panels["strained, isotropic Sb8Te12: energy"].traces if t.series == "PBE"]
    assert black[0].x == (-0.01, 0.0, 0.01)
    table = shown(probed)["table-strain"]
    assert {row[0].text: row[3].text for row in table.rows}["FT-600K"] == "8.610 ± 0.010"


def test_everything_is_drawn_twice(probed):
    write_report(probed, figures=True)
    for key in ("forgetting-index", "forgetting-dimers", "strain"):
        assert (probed / "figures" / f"{key}.pdf").stat().st_size > 1000
    assert "table-forgetting" in (probed / "report.html").read_text()
