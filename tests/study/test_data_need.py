"""How much data is enough, from learning curves."""

from study.invented import run, study

from mlffjax.study.judgement import VerdictConfig
from mlffjax.study.verdict import judge


def judged(root, sizes, seeds=(-0.001, 0.0, 0.001)):
    """A learning curve of force errors {frames: error}."""
    most = max(sizes)
    runs = [
        run(root, f"tuned-{frames}", seed,
            {"acc": ("accuracy", {}, {"test_force_rmse": error + shift, "test_energy_rmse": 0.01,
                                      "test_force_rmse/hot": 0.4, "test_force_rmse/cold": 0.1})},
            family="tuned", fraction=frames / most, frames={"train": frames})
        for frames, error in sizes.items()
        for seed, shift in enumerate(seeds)
    ]  # fmt: skip
    return judge(study(root, *runs), VerdictConfig())


def test_the_least_fraction_that_does_is_found_and_said_first(tmp_path):
    verdict = judged(tmp_path, {10: 0.3, 20: 0.2, 40: 0.2})
    said = "tuned does as well with 20 training frames (50 %) as with 40"
    assert said in verdict.headline
    assert said in verdict.data[0]
    assert not any("still improves" in line for line in verdict.data)


def test_a_lucky_small_set_is_not_enough_if_a_larger_one_is_worse(tmp_path):
    assert "needs all 40" in judged(tmp_path, {10: 0.2, 20: 0.3, 40: 0.2}).data[0]


def test_a_falling_curve_asks_for_more_frames_of_the_worst_kind(tmp_path):
    verdict = judged(tmp_path, {10: 0.4, 20: 0.3, 40: 0.2})
    assert "still improves at 40 frames on forces on test frames" in verdict.data[1]
    (asked,) = [line for line in verdict.next_labels if "more training frames" in line]
    assert "80 instead of 40" in asked
    assert "of kind hot" in asked


def test_errors_that_grow_with_data_are_said(tmp_path):
    verdict = judged(tmp_path, {10: 0.2, 40: 0.3})
    assert any("smaller set of frames gave a better forces" in line for line in verdict.data)


def test_without_scatter_nothing_is_claimed(tmp_path):
    verdict = judged(tmp_path, {10: 0.3, 40: 0.2}, seeds=(0.0,))
    assert "one seed" in verdict.data[0]
    assert "does as well" not in verdict.headline
