"""What a study says of representations, from its own comparison of invented features."""

from typing import Any

import pytest

from mlffjax.report import publication, representation, style
from mlffjax.report.document import write_report
from mlffjax.report.sections import sections
from mlffjax.report.texts import Text
from mlffjax.study import representation_evidence
from mlffjax.study.records import load_study, read_json, write_json

PROBES = {
    "alike": ("representation", {"permutations": 5}),
    "paper": ("representation", {"mode": "paper", "permutations": 5}),
    "held-out": ("accuracy", {}),
}
KEYS = {
    "fig4-alignment", "fig4-alignment-rbf", "fig4-drift", "table-drift", "fig4-overlay",
    "fig4-kinds", "table-drift-links", "fig4-recipe", "table-silhouettes",
}  # fmt: skip


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    from report.conftest import write_study

    out = tmp_path_factory.mktemp("compared")
    write_study(out, {"scratch": (0,), "FT-600K": (0, 1), "foundation": (0,)}, probes=PROBES)
    for run in load_study(out).runs:
        start = "model" if run.info.name == "scratch" else "foundation"
        write_json(run.directory / "run.json", run.info.model_copy(update={"starts_from": start}))
    representation_evidence.update(load_study(out), out)
    return out


def loaded(out):
    records = load_study(out)
    return records, style.looks(list(records.by_name()))


def shown(out) -> dict[str, Any]:
    made = representation.blocks(*loaded(out))
    return {block.key: block for block in made if not isinstance(block, Text)}


def test_everything_is_there_only_where_it_was_asked_for(study, compared, make_study):
    assert representation.blocks(*loaded(study)) == ()
    assert set(shown(compared)) == KEYS
    assert not [key for key, block in shown(compared).items() if block.missing]
    asked = shown(make_study({}, PROBES))
    assert all(block.missing for block in asked.values())


def test_maps_are_of_runs_by_element_and_share_their_colours(compared):
    figure = shown(compared)["fig4-alignment"]
    assert [panel.title for panel in figure.panels] == [
        "layer 1, Sb", "layer 1, Te", "forces, Sb", "forces, Te",
    ]  # fmt: skip
    panel = figure.panels[0]
    assert panel.ticks == ("scratch", "FT-600K, s0", "FT-600K, s1", "foundation")
    (drawn,) = panel.traces
    cells = {(x, y): z for x, y, z in zip(drawn.x, drawn.y, drawn.z, strict=True)}
    assert cells[1.0, 3.0] == pytest.approx(1, abs=1e-5)  # turned features, kept in float32
    assert cells[0.0, 3.0] < 0.5
    assert {panel.z_window for panel in figure.panels} == {(0.0, 1.0)}


def test_drifts_are_bars_by_element(compared):
    figure = shown(compared)["fig4-drift"]
    assert [panel.title for panel in figure.panels] == ["alike: Sb", "alike: Te"]
    bars = {t.series: t.y[0] for t in figure.panels[0].traces if t.form == "bar"}
    assert bars == pytest.approx({"scratch": 0.9, "FT-600K": 0.005, "foundation": 0.0})
    # The paper's recipe measures no drift, so it has no row.
    assert {row[1].value for row in shown(compared)["table-drift"].rows} == {"alike"}


def test_the_paper_s_figure_has_single_candidates_an_overlay_and_silhouettes(compared):
    figure = shown(compared)["fig4-recipe"]
    titles = [panel.title for panel in figure.panels]
    assert titles == ["paper: FT-600K", "paper: all candidates", "paper: silhouettes"]
    assert "not what was learned" in figure.caption
    overlay = figure.panels[1]
    points = {trace.series: len(trace.x) for trace in overlay.traces}
    assert points == {"scratch": 12, "FT-600K": 24, "foundation": 12}
    null = [trace for trace in figure.panels[2].traces if trace.form == "guide"]
    assert null[0].y[0] == null[0].y[1] != 0


def test_tables_state_the_null_and_the_number_of_runs(compared):
    silhouettes = shown(compared)["table-silhouettes"]
    assert silhouettes.columns[3:6] == ("Silhouette", "Null", "p")
    assert len(silhouettes.rows) == 6  # two spaces: candidates and kinds alike, candidates on paper
    links = shown(compared)["table-drift-links"]
    # Two trained runs began with the foundation: too few to say anything.
    assert {row[3].value for row in links.rows} == {2}
    assert {row[4].text for row in links.rows} == {"–"}


def test_notes_name_what_is_left_out_and_what_is_outdated(compared):
    def notes():
        texts = [b for b in representation.blocks(*loaded(compared)) if isinstance(b, Text)]
        return " ".join(line for text in texts for line in text.lines)

    assert "compared before" not in notes()
    file = compared / representation_evidence.FILE
    before = file.read_bytes()
    write_json(file, (read_json(file, []) or {}) | {"fingerprint": "of other records"})
    assert "Runs were compared before the records" in notes()
    file.write_bytes(before)


def test_the_page_shows_maps_and_they_can_be_printed(compared, tmp_path):
    page = write_report(compared).read_text()
    assert 'id="fig4-recipe"' in page
    assert '"type":"heatmap"' in page
    for file in publication.save(shown(compared)["fig4-alignment"], tmp_path):
        assert file.stat().st_size > 5000
    assert "representation" in [section.key for section in sections(*loaded(compared))]
