"""The paper's figures: which traces they hold, and what they say where something is missing."""

import json

import numpy as np
import pytest

from mlffjax.durable import unsealed
from mlffjax.report import figures, style
from mlffjax.study.records import load_study

EVERY = (
    figures.parity_figure,
    figures.barrier_figure,
    figures.profile_figure,
    figures.sliding_figure,
    figures.history_figure,
)


def drawn(make, out):
    records = load_study(out)
    return records, make(records, style.looks(list(records.by_name())))


@pytest.mark.parametrize("make", EVERY)
def test_every_figure_is_drawn_or_says_why_not(make, study, make_study):
    _, figure = drawn(make, study)
    assert figure.panels
    assert not figure.missing
    _, empty = drawn(make, make_study({"foundation": (0,)}, probes={}))
    assert not empty.panels
    assert empty.missing.endswith(".")


def test_the_reference_is_always_black(study):
    for make in EVERY:
        _, figure = drawn(make, study)
        for trace in (trace for panel in figure.panels for trace in panel.traces):
            assert (trace.series != "PBE") or trace.look == style.REFERENCE


def test_parity_shows_the_test_frames_of_every_candidate(study):
    records, figure = drawn(figures.parity_figure, study)
    candidates = [n for n, runs in records.by_name().items() if runs[0].info.status == "ok"]
    assert len(figure.panels) == 2 * len(candidates)
    points = [t for t in figure.panels[0].traces if t.form != "guide"]
    assert sum(len(trace.x) for trace in points) == 12  # test frames of a run with one seed
    assert "75.2 meV/Å" in figure.panels[1].note


def test_parity_of_many_candidates_shows_some_and_says_so(make_study):
    out = make_study({f"c{place:02}": (0,) for place in range(figures.MANY + 3)})
    _, figure = drawn(figures.parity_figure, out)
    assert len(figure.panels) == 2 * figures.MANY
    assert f"at most {figures.MANY} candidates" in figure.caption


def test_profiles_show_hermite_curve_images_and_error(study):
    _, figure = drawn(figures.profile_figure, study)
    assert [panel.title for panel in figure.panels] == [
        "in-gap",
        "in-gap: error",
        "deep",
        "deep: error",
    ]
    forms = [(t.series, t.form, len(t.x)) for t in figure.panels[0].traces]
    assert ("PBE", "line", 201) in forms
    assert ("PBE", "marks", 9) in forms
    assert ("FT-600K", "band", 201) in forms
    assert sum(series == "FT-600K" and form == "seed" for series, form, _ in forms) == 3


def test_bars_are_means_and_whiskers_deviations(study):
    records, figure = drawn(figures.barrier_figure, study)
    bar = next(t for t in figure.panels[0].traces if t.series == "FT-600K" and t.form == "bar")
    runs = [r for r in records.by_name()["FT-600K"] if r.info.status == "ok"]
    values = np.array([r.metric("in-gap", "barrier_error") for r in runs], float)
    assert bar.y == pytest.approx((np.mean(values),))
    deviation = np.std(values, ddof=1)
    assert bar.high == pytest.approx((np.mean(values) + deviation,))


def test_a_path_without_labels_shows_the_candidates_alone(study):
    _, figure = drawn(figures.sliding_figure, study)
    labelled, bare = figure.panels
    assert "PBE" in {trace.series for trace in labelled.traces}
    assert {trace.series for trace in bare.traces} >= {"scratch", "FT-600K"}
    assert "PBE" not in {trace.series for trace in bare.traces}


def test_an_exploding_candidate_is_cut_and_named(study):
    records = load_study(study)
    run = records.by_name()["scratch"][0]
    path = run.directory / "records" / "in-gap.json"
    record = unsealed(json.loads(path.read_text()))
    record["metrics"]["barrier_error"] = 1e6
    path.write_text(json.dumps(record))
    _, figure = drawn(figures.barrier_figure, study)
    panel = figure.panels[0]
    assert panel.window is not None
    assert panel.window[1] < 100.0
    assert "scratch reaches 1e+06 eV" in panel.note


def test_histories_keep_to_their_limit_and_show_gaps(study):
    _, figure = drawn(figures.history_figure, study)
    assert [panel.title for panel in figure.panels] == ["train loss", "validation force mae"]
    for trace in figure.panels[0].traces:
        assert len(trace.x) <= figures.HISTORY_POINTS
        assert trace.y[5] is None
        assert trace.x[0] == 1.0
