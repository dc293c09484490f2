"""What to compute next is concrete: images by number, seeds, frames."""

import numpy as np
from study.invented import run, study

from mlffjax.study.judgement import VerdictConfig
from mlffjax.study.verdict import judge

PROFILE = np.array([0.0, 0.3, 0.8, 0.4, 0.1])


def asked(root, runs, **limits):
    verdict = judge(study(root, *runs), VerdictConfig.model_validate(limits))
    return verdict, verdict.next_labels


def test_an_unlabelled_path_names_the_images_that_matter(tmp_path):
    def slide(profile):
        return {"slide": ("sliding", {"path": "doped"}, {"barrier": 1.0},
                          {"energy_model": np.array(profile)})}  # fmt: skip

    runs = [run(tmp_path, "a", 0, slide(PROFILE)),
            run(tmp_path, "b", 0, slide([0.0, 1.9, 0.9, 0.4, 0.1]))]  # fmt: skip
    _, lines = asked(tmp_path, runs)
    assert lines[0].startswith("label images 0, 1 and 4 of doped")
    assert "between 0.80 and 1.90 eV" in lines[0]


def test_a_contradiction_of_fixed_and_relaxed_asks_for_single_points(tmp_path):
    band = {"converged": 1.0, "barrier_fixed_error": 0.7, "barrier_error": 0.05}
    probes = {"band": ("relaxed_neb", {"path": "hop"}, band, {"energy_model": PROFILE})}
    verdict, lines = asked(tmp_path, [run(tmp_path, "zero", 0, probes, strategy="zero_shot")])
    assert "label images 0 and 2 of the band that zero relaxed along hop" in lines[0]
    assert "fails on fixed images" in verdict.disagreements[0]


def path(error, image=2):
    model = PROFILE + error * np.eye(5)[image]
    metrics = {"barrier_error": float(error), "barrier_reference": 0.8}
    arrays = {"energy_model": model, "energy_reference": PROFILE}
    return {"hop": ("fixed_path", {"path": "hop"}, metrics, arrays)}


def test_a_failed_path_names_its_worst_image_and_the_reference_to_state(tmp_path):
    _, lines = asked(tmp_path, [run(tmp_path, "a", seed, path(0.5)) for seed in (0, 1)])
    assert any("frames near image 2 of hop for training" in line for line in lines)
    assert any("images 0 and 2 of hop once more with tighter settings" in line for line in lines)


def test_an_uncertain_reference_is_to_be_converged(tmp_path):
    runs = [run(tmp_path, "a", seed, path(0.12)) for seed in (0, 1)]
    _, lines = asked(tmp_path, runs, reference_uncertainty_ev=0.1)
    assert any("images 0 and 2 of hop with a converged reference" in line for line in lines)


def test_seeds_are_asked_for_by_number(tmp_path):
    _, lines = asked(tmp_path, [run(tmp_path, "a", 0, path(0.5))])
    assert any(line.startswith("two more seeds of a") for line in lines)
    # Errors 0.30 and 0.361 with standard deviation 0.0424: two standard errors are 0.085.
    runs = [run(tmp_path, name, seed, path(mean + shift))
            for name, mean in (("a", 0.30), ("b", 0.361))
            for seed, shift in enumerate((-0.03, 0.03))]  # fmt: skip
    _, lines = asked(tmp_path, runs)
    # 2 s sqrt(2 / n) < 0.061 needs n > 3.9; one more for safety makes five in all.
    assert any(line.startswith("three more seeds of a and b") for line in lines)


def test_lists_stay_short_with_many_candidates(tmp_path):
    runs = [run(tmp_path, f"c{place:02}", seed, path(0.3 + 0.01 * place + 0.001 * seed))
            for place in range(20) for seed in (0, 1)]  # fmt: skip
    verdict, lines = asked(tmp_path, runs)
    for said in (lines, verdict.disagreements, verdict.undecided, verdict.relaxed, verdict.data):
        assert len(said) <= 9
    assert len(verdict.candidates) == 20
