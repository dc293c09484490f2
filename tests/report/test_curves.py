"""Means over seeds: where they may be taken, and of what."""

import numpy as np

from mlffjax.report import curves, style
from mlffjax.study.records import load_study

LOOK = style.looks(["a"])["a"]
X = np.array([0.0, 1.0, 2.0])


def test_one_run_is_its_own_line():
    (only,) = curves.with_spread("a", LOOK, [curves.Curve("seed 0", X, X**2)])
    assert (only.form, only.y) == ("line", (0.0, 1.0, 4.0))


def test_seeds_give_band_thin_lines_and_mean():
    runs = [curves.Curve(f"seed {s}", X, X + s) for s in (-1.0, 0.0, 1.0)]
    band, *seeds, mean = curves.with_spread("a", LOOK, runs)
    assert [trace.form for trace in seeds] == ["seed"] * 3
    assert mean.y == (0.0, 1.0, 2.0)
    assert band.low == (-1.0, 0.0, 1.0)  # sample standard deviation of -1, 0, 1 is 1
    assert band.high == (1.0, 2.0, 3.0)


def test_a_gap_of_one_seed_is_filled_by_the_others():
    holed = np.array([0.0, np.nan, 2.0])
    *_, mean = curves.with_spread(
        "a", LOOK, [curves.Curve("seed 0", X, holed), curves.Curve("seed 1", X, X)]
    )
    assert mean.y == (0.0, 1.0, 2.0)


def test_runs_on_different_images_are_never_averaged():
    runs = [curves.Curve("seed 0", X, X), curves.Curve("seed 1", X[:2], X[:2])]
    assert {trace.form for trace in curves.with_spread("a", LOOK, runs)} == {"seed"}
    assert list(curves.mean_trace("a", LOOK, runs, "marks")) == []


def test_nothing_gives_nothing():
    assert list(curves.with_spread("a", LOOK, [])) == []
    assert list(curves.reference_traces("PBE", [], ("x", ""))) == []


def test_curves_come_from_arrays_and_skip_runs_without_them(study):
    records = load_study(study)
    probe = records.probes()["in-gap"]
    known = curves.measured(records, probe, "arclength", "energy_model")
    assert len(known) == sum(run.info.status == "ok" for run in records.runs)
    assert len(curves.grouped(known)["FT-600K"]) == 3
    errors = curves.extracted(known, "arclength", "energy_model", minus="energy_reference")
    run, arrays = known[0]
    expected = arrays["energy_model"] - arrays["energy_reference"]
    np.testing.assert_array_equal(errors[0].y, expected)
    assert errors[0].run == f"seed {run.info.seed}"
    assert curves.extracted(known, "arclength", "no such array") == []
