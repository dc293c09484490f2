from dataclasses import replace

import pytest

from mlffjax.study.judgement import VerdictConfig
from mlffjax.study.verdict import judge

LIMITS = VerdictConfig(
    force_rmse_ev_a=0.1, energy_rmse_ev=0.005, barrier_error_ev=0.1, sliding_error_fraction=0.2
)


def criterion(verdict, name, label):
    (candidate,) = [c for c in verdict.candidates if c.name == name]
    (found,) = [c for c in candidate.criteria if label in c.label]
    return found


def test_a_clear_winner_is_recommended_with_evidence(study_of, measured):
    verdict = judge(
        study_of(
            {
                "scratch": ("scratch", [measured(0.3, 2.0, -0.4)]),
                "tuned": ("finetune", [measured(0.04, 0.05, 0.02), measured(0.05, 0.04, 0.03)]),
            }
        ),
        LIMITS,
    )
    assert (verdict.decision, verdict.recommended) == ("recommended", "tuned")
    assert "fine-tune the generalist" in verdict.headline
    assert len(verdict.evidence_for) == 4
    assert not verdict.evidence_against
    assert [c.rank for c in verdict.candidates] == [1, 2]
    assert criterion(verdict, "scratch", "path").outcome == "fail"
    assert criterion(verdict, "tuned", "path").value == pytest.approx(0.045)


def test_opposite_errors_of_seeds_do_not_cancel(study_of, measured):
    verdict = judge(
        study_of({"tuned": ("finetune", [measured(0.05, 0.4, 0.0), measured(0.05, -0.4, 0.0)])}),
        LIMITS,
    )
    found = criterion(verdict, "tuned", "path")
    assert (found.value, found.signed, found.outcome) == (pytest.approx(0.4), 0.0, "fail")


def test_nobody_passing_gives_the_least_bad_and_says_so(study_of, measured):
    verdict = judge(
        study_of(
            {
                "scratch": ("scratch", [measured(0.3, 4.0, 0.3)]),
                "zero": ("zero_shot", [measured(0.2, 0.7, 0.01)]),
            }
        ),
        LIMITS,
    )
    assert (verdict.decision, verdict.recommended) == ("least_bad", "zero")
    assert "No candidate meets every criterion" in verdict.headline
    assert any("barrier of path in_gap" in line for line in verdict.evidence_against)


def test_differences_within_the_scatter_of_seeds_are_a_tie(study_of, measured):
    def seeds(shift):
        return [measured(0.05 + shift + d, 0.05 + shift + d, 0.02) for d in (-0.02, 0.0, 0.02)]

    entries = {"a": ("finetune", seeds(0.0)), "b": ("finetune", seeds(0.002))}
    verdict = judge(study_of(entries), LIMITS)
    assert verdict.decision == "tie"
    assert any("cannot be told apart" in line for line in verdict.undecided)


def test_reference_uncertainty_that_could_exchange_two_candidates_forbids_a_decision(
    study_of, measured
):
    """Errors +0.02 and -0.05: a reference 0.03 lower would make the second the better one."""
    entries = {
        "a": ("finetune", [measured(0.05, 0.02, 0.02)]),
        "b": ("scratch", [measured(0.05, -0.05, 0.02)]),
    }
    records = study_of(entries)
    assert judge(records, LIMITS).decision == "recommended"
    unsure = LIMITS.model_copy(update={"reference_uncertainty_ev": 0.03})
    assert judge(records, unsure).decision == "tie"


def test_threshold_is_never_below_the_uncertainty_of_the_reference(study_of, measured):
    records = study_of({"a": ("finetune", [measured(0.05, 0.15, 0.02)])})
    assert criterion(judge(records, LIMITS), "a", "path").outcome == "fail"
    unsure = LIMITS.model_copy(update={"reference_uncertainty_ev": 0.2})
    assert criterion(judge(records, unsure), "a", "path").outcome == "pass"


def test_probes_that_favour_another_candidate_are_named(study_of, measured):
    verdict = judge(
        study_of(
            {
                "tuned": ("finetune", [measured(0.04, 0.05, 0.3)]),
                "zero": ("zero_shot", [measured(0.2, 0.3, 0.02)]),
            }
        ),
        LIMITS,
    )
    assert verdict.recommended == "tuned"
    assert verdict.disagreements == (
        "barrier of slide slide: zero is better than tuned (20 meV against 0.3 eV)",
    )


def test_failed_closure_makes_the_slide_unknown_not_bad(study_of, measured):
    records = study_of({"a": ("finetune", [measured(0.05, 0.05, 0.02, closure=1e-3)])})
    found = criterion(judge(records, LIMITS), "a", "slide")
    assert found.outcome == "unknown"
    assert "closure test failed" in found.reason


def test_path_that_was_trained_on_is_unknown_not_good(study_of, measured):
    records = study_of({"a": ("path_aware", [measured(0.05, 0.0, 0.02)])})
    runs = tuple(
        replace(run, info=run.info.model_copy(update={"learned_paths": ("in_gap",)}))
        for run in records.runs
    )
    verdict = judge(replace(records, runs=runs), LIMITS)
    found = criterion(verdict, "a", "in_gap")
    assert (found.outcome, found.ratio) == ("unknown", None)
    assert "trained on this path" in found.reason
    assert criterion(verdict, "a", "slide").outcome == "pass"


def test_lost_seeds_count_against_and_candidates_without_any_come_last(study_of, measured):
    verdict = judge(
        study_of(
            {
                "broken": ("scratch", ["diverged", "failed"]),
                "half": ("finetune", [measured(0.05, 0.05, 0.02), "diverged"]),
            }
        ),
        LIMITS,
    )
    assert [c.name for c in verdict.candidates] == ["half", "broken"]
    assert verdict.candidates[1].rank is None
    assert "1 of 2 seeds gave no potential" in verdict.evidence_against


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ({}, "no run gave a potential"),
        ({"a": ("scratch", ["failed"])}, "no run gave a potential"),
        ({"a": ("scratch", [{}])}, "nothing was measured"),
    ],
)
def test_without_numbers_there_is_no_verdict(study_of, entries, text):
    verdict = judge(study_of(entries), LIMITS)
    assert verdict.decision == "none"
    assert text in verdict.headline


def test_missing_labels_are_no_criterion_and_null_metrics_are_unknown(study_of, measured):
    metrics = measured(None, 0.05, 0.02)
    metrics["in_gap"] = {"barrier_error": None, "barrier_reference": None}
    verdict = judge(study_of({"a": ("finetune", [metrics])}), LIMITS)
    (candidate,) = verdict.candidates
    assert [c.label for c in candidate.criteria] == [
        "forces on test frames", "energies on test frames", "barrier of slide slide",
    ]  # fmt: skip
    assert criterion(verdict, "a", "forces").reason == "said so"


def test_what_was_not_known_is_said(study_of, measured):
    records = study_of({"a": ("finetune", [measured(0.05, 0.05, 0.02)])})
    said = " ".join(judge(records, LIMITS).undecided)
    assert "one seed" in said
    assert "uncertainty of the reference" in said


def test_is_plain_data(study_of, measured):
    import json

    verdict = judge(study_of({"a": ("finetune", [measured(0.05, 0.05, 0.02)])}), LIMITS)
    assert json.loads(json.dumps(verdict.model_dump(mode="json")))["recommended"] == "a"
