from dataclasses import replace

import numpy as np
import pytest
from study import small

from mlffjax.config import validate
from mlffjax.probes import sliding
from mlffjax.study import evaluate
from mlffjax.study.config import StudyConfig
from mlffjax.study.execute import execute
from mlffjax.study.records import load_study


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    small.write_inputs(folder)
    return folder


@pytest.fixture
def run_zero(base, tmp_path):
    """Execute a study of the foundation alone and return its records."""

    def run(**changes):
        runs = [entry for entry in small.settings()["runs"] if entry["name"] == "zero"]
        config = validate(small.settings(runs=runs, **changes), StudyConfig, where="test")
        return execute(config, base, tmp_path).runs[0]

    return run


SLIDE = [{"kind": "sliding", "name": "slide", "path": "slide"}]


def changed_probe(monkeypatch, **changes):
    original = sliding.build
    monkeypatch.setattr(sliding, "build", lambda *a: replace(original(*a), **changes))


def test_probe_that_needs_more_than_the_potential_offers_is_skipped_by_name(run_zero, monkeypatch):
    changed_probe(monkeypatch, requires=frozenset({"features", "hessian"}))
    record = run_zero(probes=SLIDE).probes["slide"]
    assert (record.status, record.metrics) == ("skipped", {})
    assert record.message == "the potential does not support features"


def test_probe_that_cannot_be_compiled_is_called_as_it_is(run_zero, monkeypatch):
    def measure(potential):
        assert float(potential.params["weights"]["epsilon"]) > 0  # not traced
        return {"barrier": np.float64(1.5)}

    changed_probe(monkeypatch, measure=measure, compiled=False, inspect=lambda metrics: [])
    assert run_zero(probes=SLIDE).metric("slide", "barrier") == 1.5


def test_numbers_that_are_none_become_null_with_a_reason(run_zero, monkeypatch):
    def measure(_):
        return {"barrier": np.float64("nan"), "asymmetry": np.float64(0.5)}

    changed_probe(
        monkeypatch, measure=measure, compiled=False, reasons={}, inspect=lambda metrics: ["odd"]
    )
    record = run_zero(probes=SLIDE).probes["slide"]
    assert record.metrics == {"barrier": None, "asymmetry": 0.5}
    assert record.reasons == {"barrier": "the potential gave nan"}
    assert record.warnings == ("odd",)


def test_probe_that_cannot_be_built_is_a_failed_record(run_zero, base, tmp_path):
    """Without periodic directions there is nothing to slide along."""
    probes = [*SLIDE, {"kind": "sliding", "name": "rigid", "path": "rigid"}]
    text = (base / "hop.xyz").read_text().replace('pbc="T T T"', 'pbc="F F F"')
    (base / "rigid.xyz").write_text(text)
    paths = small.settings()["paths"] | {"rigid": {"file": "rigid.xyz"}}
    run = run_zero(probes=probes, paths=paths)
    assert run.probes["slide"].status == "ok"
    assert run.probes["rigid"].status == "failed"
    assert "expected a slide along the periodic directions" in run.probes["rigid"].message
    assert len(load_study(tmp_path).failures()) == 1


def test_record_says_where_it_was_made(run_zero):
    record = run_zero(probes=SLIDE).probes["slide"]
    assert record.device.startswith("cpu")
    assert record.seconds > 0
    assert {"jax", "mlffjax", "python"} <= set(record.versions)
    assert record.probe.kind == "sliding"
    assert record.probe.config["closure_tolerance"] == 1e-6
    assert record.schema_version == evaluate.SCHEMA
