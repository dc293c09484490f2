"""What was forgotten is told beside the criteria, and changes no rank."""

import json

import numpy as np
import pytest
from study import small

from mlffjax.config import validate
from mlffjax.errors import ConfigError
from mlffjax.study.config import StudyConfig
from mlffjax.study.evaluate import unmeasured
from mlffjax.study.execute import execute
from mlffjax.study.forgetting_evidence import forgotten
from mlffjax.study.plan import make_plan
from mlffjax.study.records import load_study
from mlffjax.study.verdict import judge

FORGETTING = [{"kind": "forgetting", "name": "old", "path": "slide"}]


def config(**changes):
    return validate(small.settings(**changes), StudyConfig, where="test")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    small.write_inputs(folder)
    return folder


@pytest.fixture(scope="module")
def done(base, tmp_path_factory):
    """A study of argon: from scratch, as it is, and fine-tuned; its output directory."""
    out = tmp_path_factory.mktemp("out")
    execute(config(probes=FORGETTING), base, out)
    return out


def test_runs_are_measured_against_the_foundation(done):
    runs = {name: runs[0] for name, runs in load_study(done).by_name().items()}
    # Its own E0 were estimated anew, which must not count.
    assert runs["zero"].metric("old", "index") == pytest.approx(0, abs=1e-9)
    assert abs(runs["tuned"].metric("old", "index") or 0.0) > 1e-6
    assert runs["scratch"].info.starts_from == "model"
    assert runs["tuned"].info.starts_from == "foundation"
    record = runs["tuned"].probes["old"]
    assert record.metrics["generic_energy"] is None
    assert "do not both know" in record.reasons["generic_energy"]


def test_what_was_forgotten_is_said_of_those_that_had_something_to_forget(done):
    records = load_study(done)
    lines = list(forgotten(records))
    assert len(lines) == 2  # nothing of the foundation itself
    (scratch,) = [line for line in lines if line.startswith("scratch")]
    assert "never saw the foundation, so it forgot nothing" in scratch
    (tuned,) = [line for line in lines if line.startswith("tuned")]
    assert tuned.startswith("tuned: forgetting index ")
    assert "±" in tuned  # two seeds
    assert judge(records, config().verdict).forgotten == tuple(lines)


def test_a_study_without_the_probe_says_nothing(study_of, measured):
    records = study_of({"a": ("finetune", [measured(0.05, 0.05, 0.02)])})
    assert list(forgotten(records)) == []


def test_another_foundation_makes_records_outdated(done, base):
    """Also of runs that did not start from it."""
    plan = make_plan(config(probes=FORGETTING), base)
    scratch = plan.runs[0]
    assert scratch.from_nothing
    assert unmeasured(scratch, plan, done) == ()
    assert plan.foundation is not None
    potential, card = plan.foundation
    other = plan._replace(foundation=(potential, card.model_copy(update={"checksum": "other"})))
    assert len(unmeasured(scratch, other, done)) == 1


def test_a_foundation_is_read_for_a_probe_alone_and_missed_by_name(base):
    runs = [entry for entry in small.settings()["runs"] if entry["name"] == "scratch"]
    plan = make_plan(config(runs=runs, probes=FORGETTING), base)
    assert plan.foundation is not None
    assert make_plan(config(runs=runs), base).foundation is None
    with pytest.raises(ConfigError, match="probe 'old' compares with the foundation"):
        make_plan(config(runs=runs, probes=FORGETTING, foundation=None), base)


def test_table_has_the_index_and_its_parts(done):
    summary = json.loads((done / "summary.json").read_text())
    records = load_study(done)
    assert [row["name"] for row in summary["forgetting"]] == list(records.by_name())
    for row in summary["forgetting"]:
        for metric in ("index", "sliding"):
            values = [run.metric("old", metric) for run in records.by_name()[row["name"]]]
            assert row["metrics"][metric]["mean"] == pytest.approx(np.mean(values), rel=1e-12)
