"""What candidates are measured by, and what a threshold that is not set leaves out."""

import pytest
from study.invented import run, study

from mlffjax.study.judgement import VerdictConfig
from mlffjax.study.verdict import judge
from mlffjax.study.yardsticks import md_ms_per_step

MD = {"md": {"steps": 900, "equilibration": [{"steps": 100}], "replicas": 2}}


def hot(survived):
    return {"hot": ("stability", MD, {"survived": survived})}


def limits(**given):
    return VerdictConfig.model_validate(given)


def outcomes(verdict, name):
    (found,) = [c for c in verdict.candidates if c.name == name]
    return {c.label: (c.outcome, c.value) for c in found.criteria}


def test_a_candidate_that_explodes_comes_last_whatever_else_it_does(tmp_path):
    good = {"acc": ("accuracy", {}, {"test_force_rmse": 0.01, "test_energy_rmse": 0.001})}
    bad = {"acc": ("accuracy", {}, {"test_force_rmse": 0.9, "test_energy_rmse": 0.9})}
    records = study(
        tmp_path,
        *(run(tmp_path, "sharp", seed, good | hot(0.5)) for seed in (0, 1)),
        *(run(tmp_path, "dull", seed, bad | hot(1.0)) for seed in (0, 1)),
    )
    verdict = judge(records, limits())
    assert [(c.name, c.exploded) for c in verdict.candidates] == [("dull", False), ("sharp", True)]
    assert verdict.decision == "least_bad"
    lenient = judge(records, limits(survival=None))
    assert lenient.recommended == "sharp"
    assert "trajectories stopped early" in lenient.beside[0]


def test_only_a_reference_trajectory_makes_transport_a_criterion(tmp_path):
    metrics = {"survived": 1.0, "rdf_difference": 0.3, "vacf_difference": 0.05}
    for config, counted in (({"reference_type": "md"}, False), ({"trajectory": "aimd"}, True)):
        records = study(tmp_path, run(tmp_path, "a", 0, {"move": ("transport", config, metrics)}))
        found = outcomes(judge(records, limits()), "a")
        assert ("g(r) of move" in found) is counted
    assert found["g(r) of move"][0] == "fail"
    assert found["velocity autocorrelation of move"][0] == "pass"
    none = limits(rdf_difference=None, vacf_difference=None)
    assert len(outcomes(judge(records, none), "a")) == 1


def test_numbers_known_from_elsewhere_are_compared(tmp_path):
    records = study(tmp_path, run(tmp_path, "a", 0, {"heat": ("conductivity", {}, {"k": 0.8})}))
    known = {"probe": "heat", "metric": "k", "value": 1.0, "tolerance": 0.1, "uncertainty": 0.25}
    missing = {"probe": "nowhere", "metric": "k", "value": 1.0, "tolerance": 0.1}
    found = outcomes(judge(records, limits(survival=None, expected=[known, missing])), "a")
    assert found["k of heat (expected 1)"] == ("pass", pytest.approx(0.2))  # raised to 0.25
    assert found["k of nowhere (expected 1)"] == ("unknown", None)


def test_relaxed_bands_forgetting_and_costs_count_where_a_limit_is_set(tmp_path):
    band = {"barrier_reference": 0.8, "barrier_error": None, "barrier_fixed_error": 0.0}
    probes = {
        "band": ("relaxed_neb", {"path": "hop"}, band),
        "old": ("forgetting", {}, {"index": -0.4}),
    } | hot(1.0)
    records = study(tmp_path, run(tmp_path, "a", 0, probes, seconds=30.0))
    assert len(outcomes(judge(records, limits()), "a")) == 1
    strict = {"relaxed_barrier_error_ev": 0.1, "forgetting_index": 0.5}
    strict |= {"training_seconds": 10, "md_ms_per_step": 5}
    verdict = judge(records, limits(**strict))
    assert outcomes(verdict, "a") == {
        "relaxed barrier of path hop": ("fail", None),
        "forgetting index": ("pass", 0.0),  # an improvement is no error
        "trajectories of hot that stopped": ("pass", 0.0),
        "time to train": ("fail", 30.0),
        "a step of dynamics": ("pass", 1.0),
    }
    assert any("it exploded" in line for line in verdict.evidence_against)


def test_a_step_of_dynamics_counts_equilibration_and_replicas(tmp_path):
    assert md_ms_per_step(run(tmp_path, "a", 0, hot(1.0))) == pytest.approx(2000 / (1000 * 2))
    assert md_ms_per_step(run(tmp_path, "a", 0, hot(0.5))) is None
