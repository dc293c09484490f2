"""Relaxed bands are told beside the criteria, and change no rank."""

from mlffjax.study.judgement import VerdictConfig
from mlffjax.study.relaxed_evidence import changes, remarks
from mlffjax.study.verdict import judge

LIMITS = VerdictConfig(barrier_error_ev=0.1)


def band(fixed, relaxed, converged=1.0):
    return {
        "barrier_fixed_error": fixed, "barrier_error": relaxed, "converged": converged,
    }  # fmt: skip


def relaxed(*seeds):
    return [{"in_gap_relaxed": band(*seed)} for seed in seeds]


def test_a_study_without_relaxed_bands_says_nothing(study_of, measured):
    records = study_of({"a": ("finetune", [measured(0.05, 0.05, 0.02)])})
    assert list(remarks(records, LIMITS)) == []
    assert judge(records, LIMITS).relaxed == ()


def test_failing_the_fixed_path_and_passing_the_relaxed_one_is_said_and_the_reverse(study_of):
    records = study_of(
        {
            "zero": ("zero_shot", relaxed((0.3, 0.05))),
            # Opposite errors of seeds do not cancel.
            "tuned": ("finetune", relaxed((0.02, 0.2), (0.02, -0.2))),
            "same": ("scratch", relaxed((0.3, 0.4))),
        }
    )
    first, second = changes(records, LIMITS)
    (third,) = remarks(records, LIMITS)
    assert first == (
        "path in_gap_relaxed: zero fails on fixed images (error 0.3 eV) and passes on the relaxed "
        "band (50 meV; limit 0.1 eV)"
    )
    assert "tuned passes on fixed images (error 20 meV) and fails on the relaxed" in second
    assert "changes nothing about whether the barrier of same is within 0.1 eV" in third


def test_bands_without_a_barrier_are_counted(study_of):
    records = study_of({"a": ("scratch", relaxed((0.3, None, 0.0), (0.3, 0.3, 1.0)))})
    first, *rest = remarks(records, LIMITS)
    assert "a has no relaxed barrier in 1 of 2 seeds" in first
    assert rest == []


def test_the_uncertainty_of_the_reference_is_respected(study_of):
    records = study_of({"a": ("scratch", relaxed((0.3, 0.05)))})
    unsure = LIMITS.model_copy(update={"reference_uncertainty_ev": 0.4})
    (line,) = remarks(records, unsure)
    assert "within 0.4 eV" in line


def test_the_ranking_does_not_count_them(study_of, measured):
    entries = {
        "a": ("finetune", [measured(0.04, 0.05, 0.02) | {"in_gap_relaxed": band(0.05, 2.0)}]),
        "b": ("scratch", [measured(0.09, 0.09, 0.02) | {"in_gap_relaxed": band(0.09, 0.3)}]),
    }
    verdict = judge(study_of(entries), LIMITS)
    assert verdict.recommended == "a"
    assert len(verdict.candidates[0].criteria) == 4
    assert verdict.relaxed == ()
    assert sum("relaxed band" in line for line in verdict.disagreements) == 2
