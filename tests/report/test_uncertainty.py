"""Figures and tables of uncertainties, where a study has them."""

from typing import Any

import numpy as np
import pytest

from mlffjax.report import style, uncertainty
from mlffjax.report.document import write_report
from mlffjax.report.sections import sections
from mlffjax.study.records import ProbeInfo, ProbeRecord, load_study, write_arrays, write_json

PROBES = {"in-gap": ("fixed_path", {"path": "in_gap"})}
RUNS = {"scratch": (0,), "FT-600K": (0, 1, 2)}
EXPECTED = np.linspace(0, 1, 5)


@pytest.fixture
def probed(make_study):
    """A study whose runs have records of the probe: barrier 1 + seed / 10, spread 0.1."""
    out = make_study(RUNS, PROBES)
    records = load_study(out)
    sections = [*records.info.config["probes"], {"name": "sure", "kind": "uncertainty"}]
    config = records.info.config | {"probes": sections}
    write_json(out / "study.json", records.info.model_copy(update={"config": config}))
    for run in records.runs:
        if run.info.status == "ok":
            write_record(run)
            add_forces(run)
    return out


def write_record(run):
    x, height = np.linspace(0, 4, 5), 1 + 0.1 * run.info.seed
    arrays = {
        "expected": EXPECTED,
        "paths": np.array(["in_gap"]),
        "image_path": np.zeros(5, int),
        "arclength": x,
        "image_energy": height * np.sin(np.pi * x / 4) ** 2,
        "image_spread": 0.1 * np.sin(np.pi * x / 4),
        "image_reference": np.sin(np.pi * x / 4) ** 2,
    } | {f"{kind}_coverage": EXPECTED**2 for kind in uncertainty.SETS}
    metrics: dict[str, float | None] = {f"{kind}_{name}": 0.5 for kind in uncertainty.SETS
               for name in ("typical", "miscalibration", "rank")}  # fmt: skip
    metrics |= {"barrier/in_gap": height, "barrier_spread/in_gap": 0.1}
    metrics |= {"barrier_error/in_gap": height - 1}
    write_arrays(run.directory / "records" / "sure.npz", arrays)
    info = ProbeInfo(kind="uncertainty", name="sure", config={})
    record = ProbeRecord(
        run=run.info.id, probe=info, fingerprint="00000000feed", status="ok", metrics=metrics,
        reasons={}, arrays="sure.npz", seconds=0.1, device="cpu",
    )  # fmt: skip
    write_json(run.directory / "records" / "sure.json", record)


def add_forces(run):
    """Forces of members along x: 0, 3, 6; reference 5."""
    forces = np.zeros((9, 2, 3))
    forces[..., 0] = 3.0 * run.info.seed
    known = {"forces_model": forces, "forces_reference": np.tile([5.0, 0, 0], (9, 2, 1))}
    write_arrays(run.directory / "records" / "in-gap.npz", run.arrays("in-gap") | known)


def shown(out) -> dict[str, Any]:
    records = load_study(out)
    found = uncertainty.blocks(records, style.looks(list(records.by_name())))
    return {block.key: block for block in found}


def test_a_study_without_the_probe_has_no_such_section(study, probed):
    assert shown(study) == {}
    records = load_study(probed)
    made = sections(records, style.looks(list(records.by_name())))
    assert "uncertainty" in [section.key for section in made]


def test_curves_are_what_was_recorded_against_the_diagonal(probed):
    panels = shown(probed)["calibration"].panels
    assert len(panels) == 4
    lines = {t.series: t for t in panels[0].traces if t.form == "line"}
    assert lines["FT-600K"].y == pytest.approx(tuple(EXPECTED**2))
    assert [t.series for t in panels[0].traces if t.form == "guide"] == ["calibrated"]


def test_bands_are_what_the_potential_says_not_the_spread_over_seeds(probed):
    (panel,) = shown(probed)["profile-uncertainty"].panels
    band = next(t for t in panel.traces if t.form == "band" and t.series == "FT-600K")
    assert band.high[2] == pytest.approx(1.1 + 0.1)
    assert band.low[2] == pytest.approx(1.1 - 0.1)
    reference = next(t for t in panel.traces if t.form == "marks")
    assert reference.y[2] == pytest.approx(1.0)


def test_barriers_stand_beside_their_error_bars(probed):
    rows = {row[0].text: row for row in shown(probed)["table-barrier-uncertainty"].rows}
    barrier, spread, error, ratio = rows["FT-600K"][2:]
    assert (barrier.value, barrier.spread) == pytest.approx((1.1, 0.1))
    assert spread.value == pytest.approx(0.1)
    assert error.value == pytest.approx(0.1)
    assert ratio.value == pytest.approx(1.0)


def test_seeds_are_a_committee(probed):
    (row,) = shown(probed)["table-committees"].rows  # one seed is none
    assert row[0].text == "FT-600K"
    assert row[2].value == 3
    assert row[5].value == pytest.approx(np.std([0, 3, 6]))
    assert row[6].value == pytest.approx(2.0)


def test_the_report_holds_the_section(probed):
    assert "Calibration of last-layer uncertainties" in write_report(probed).read_text()
