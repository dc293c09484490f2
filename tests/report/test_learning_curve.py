"""Learning curves from invented records."""

import numpy as np
import pytest

from mlffjax.report import learning_curve, style
from mlffjax.report.document import write_report
from mlffjax.report.interactive import describe
from mlffjax.report.sections import sections
from mlffjax.study.records import (
    ProbeInfo,
    ProbeRecord,
    RunInfo,
    StudyInfo,
    load_study,
    write_json,
)

SIZES = {0.1: 5, 1.0: 52}
PROBES = (
    {"kind": "accuracy", "name": "accuracy"},
    {"kind": "fixed_path", "name": "hop", "path": "hop"},
    {"kind": "forgetting", "name": "old"},
)


def write_run(out, name, seed, error, **info):
    folder = out / "runs" / f"{name}-s{seed}-0"
    defaults = {"strategy": "finetune", "steps": 10, "status": "ok", "fingerprint": "0"}
    run = RunInfo(**(defaults | {"id": folder.name, "name": name, "seed": seed} | info))
    metrics = {
        "accuracy": {"test_force_rmse": 0.1},
        "hop": {"barrier_error": error},
        "old": {"index": 0.2 + 0.1 * seed},
    }
    for probe in PROBES if run.status == "ok" else ():
        record = ProbeRecord(
            run=folder.name,
            probe=ProbeInfo(kind=probe["kind"], name=probe["name"], config=probe),
            fingerprint="0",
            status="ok",
            metrics=metrics[probe["name"]],
        )
        write_json(folder / "records" / f"{probe['name']}.json", record)
    write_json(folder / "run.json", run)
    return folder.name


@pytest.fixture
def out(tmp_path):
    names = [write_run(tmp_path, "zero", 0, 0.1, steps=0, frames={"train": 52})]
    for family, sign, learned in (("tuned", -1.0, ()), ("cheat", 1.0, ("hop",))):
        for fraction, frames in SIZES.items():
            for seed in (0, 1):
                name = f"{family}-{100 * fraction:g}pct"
                shared = {"family": family, "fraction": fraction, "frames": {"train": frames}}
                shared |= {"learned_paths": learned}
                # Errors of opposite sign, which must not cancel.
                error = (1 / frames + 0.1 * seed) * sign * (-1) ** seed
                names.append(write_run(tmp_path, name, seed, error, **shared))
    shared = {"family": "tuned", "fraction": 1.0, "frames": {"train": 52}, "status": "diverged"}
    names.append(write_run(tmp_path, "tuned-100pct", 7, None, **shared))
    info = StudyInfo(
        name="curve", config={"probes": list(PROBES)}, fingerprint="0", data={}, runs=tuple(names),
        versions={}, device="", started="",
    )  # fmt: skip
    write_json(tmp_path / "study.json", info)
    return tmp_path


@pytest.fixture
def panels(out):
    return {panel.title: panel for panel in learning_curve.curve_figure(load_study(out)).panels}


def test_only_studies_with_several_sizes_have_the_section(out, make_study):
    single = make_study({"scratch": (0,), "tuned": (0, 1)})
    for folder, expected in ((out, True), (single, False)):
        records = load_study(folder)
        looks = style.looks(list(records.by_name()))
        keys = [section.key for section in sections(records, looks)]
        assert ("learning" in keys) == expected


def test_lines_are_means_of_magnitudes_and_marks_single_seeds(panels):
    traces = [t for t in panels["hop: barrier"].traces if t.series == "tuned"]
    (line,) = [t for t in traces if t.form == "line"]
    assert line.x == (5.0, 52.0)
    assert line.y == pytest.approx((1 / 5 + 0.05, 1 / 52 + 0.05))
    (band,) = [t for t in traces if t.form == "band"]
    half = 0.1 / np.sqrt(2)  # sample deviation of two numbers 0.1 apart
    assert np.subtract(band.high, band.low) == pytest.approx([2 * half] * 2)
    assert len([t for t in traces if t.form == "marks"]) == 4  # the diverged seed has none


def test_what_was_not_trained_is_a_level_line(panels):
    (level,) = [t for t in panels["hop: barrier"].traces if t.series == "zero"]
    assert (level.form, level.x, level.y) == ("line", (5.0, 52.0), (0.1, 0.1))


def test_barriers_of_paths_learned_from_are_left_out(panels):
    assert "cheat" not in {t.series for t in panels["hop: barrier"].traces}
    assert "cheat" in {t.series for t in panels["old: index"].traces}


def test_the_table_has_a_row_a_size(out):
    table = learning_curve.curve_table(load_study(out))
    rows = {(row[0].text, row[2].text): [cell.text for cell in row[1:]] for row in table.rows}
    assert len(rows) == 5
    assert rows["tuned", "52"][:3] == ["100", "52", "2"]
    assert rows["tuned", "52"][3] == "0.069 ± 0.071"
    assert rows["cheat", "5"][3] == "–"
    assert table.columns[-2:] == ("Forgetting index", "Test RMSE F (meV/Å)")


def test_sizes_are_drawn_on_a_logarithmic_axis_both_times(out, panels):
    axis = describe(panels["hop: barrier"])["layout"]["xaxis"]
    assert axis["type"] == "log"
    # plotly's own labels would be 2 and 5 for 20 and 50
    assert axis["ticktext"] == [f"{value:g}" for value in axis["tickvals"]]
    assert any(value > 10 for value in axis["tickvals"])
    write_report(out, figures=True)
    assert (out / "figures" / "learning-curves.pdf").stat().st_size > 1000
