"""Records of studies that never ran, with numbers to taste."""

from typing import Any

import pytest

from mlffjax.study.records import (
    ProbeInfo,
    ProbeRecord,
    RunInfo,
    StudyInfo,
    load_study,
    write_json,
)

KINDS = {
    "accuracy": "accuracy",
    "in_gap": "fixed_path",
    "slide": "sliding",
    "in_gap_relaxed": "relaxed_neb",
}
UNITS = {"test_force_rmse": "eV/Å", "test_energy_rmse": "eV/atom"}
REFERENCES = {"in_gap": {"barrier_reference": 0.8}, "slide": {"barrier_reference": 0.5}}


def probe_info(name):
    config = {"name": name} | ({} if name == "accuracy" else {"path": name})
    return ProbeInfo(
        kind=KINDS[name],
        name=name,
        config=config | ({"closure_tolerance": 1e-6} if name == "slide" else {}),
    )


def write_run(root, name, seed, strategy, metrics, status: Any = "ok"):
    identifier = f"{name}-s{seed}-000000000000"
    for probe, values in metrics.items():
        values = REFERENCES.get(probe, {}) | values
        record = ProbeRecord(
            run=identifier,
            probe=probe_info(probe),
            fingerprint="0",
            status="ok",
            metrics=values,
            reasons={metric: "said so" for metric, value in values.items() if value is None},
            units={metric: UNITS.get(metric, "eV") for metric in values},
        )
        write_json(root / "runs" / identifier / "records" / f"{probe}.json", record)
    info = RunInfo(
        id=identifier, name=name, strategy=strategy, seed=seed, fingerprint="0", status=status
    )
    write_json(root / "runs" / identifier / "run.json", info)
    return identifier


@pytest.fixture
def study_of(tmp_path):
    """Call with {name: (strategy, [metrics per seed, or a status for a run that gave nothing])}."""

    def build(entries):
        identifiers = [
            write_run(tmp_path, name, seed, strategy, {}, metrics)
            if isinstance(metrics, str)
            else write_run(tmp_path, name, seed, strategy, metrics)
            for name, (strategy, seeds) in entries.items()
            for seed, metrics in enumerate(seeds)
        ]
        config = {
            "runs": [{"name": n, "seeds": list(range(len(s)))} for n, (_, s) in entries.items()],
            "probes": [{"kind": kind, "name": name} for name, kind in KINDS.items()],
        }
        info = StudyInfo(
            name="synthetic",
            config=config,
            fingerprint="0",
            data={},
            runs=tuple(identifiers),
            versions={},
            device="none",
            started="2026-01-01T00:00:00+00:00",
        )
        write_json(tmp_path / "study.json", info)
        return load_study(tmp_path)

    return build


@pytest.fixture
def measured():
    """Metrics of one run: force RMSE, signed errors of barrier and slide."""

    def metrics(force, barrier, slide, *, energy=0.001, closure=1e-9):
        return {
            "accuracy": {"test_force_rmse": force, "test_energy_rmse": energy},
            "in_gap": {"barrier_error": barrier},
            "slide": {"barrier_error": slide, "closure_error": closure},
        }

    return metrics
