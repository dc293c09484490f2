"""Confidence intervals and how sure a verdict is."""

import pytest
from study.invented import run, study

from mlffjax.study.confidence import interval, is_sure
from mlffjax.study.judgement import VerdictConfig
from mlffjax.study.verdict import judge


def test_interval_is_that_of_student():
    """t(2, 0.975) = 4.3027, from any table of the distribution."""
    low, high = interval(1.0, 0.1, 3)
    assert high - 1.0 == pytest.approx(4.3027 * 0.1 / 3**0.5, rel=1e-4)
    assert 1.0 - low == pytest.approx(high - 1.0)
    assert interval(0.01, 0.1, 2)[0] == 0.0  # magnitudes
    assert interval(1.0, None, 1) is None
    assert interval(1.0, 0.0, 1) == (1.0, 1.0)
    assert interval(None, None, 0) is None


@pytest.mark.parametrize(
    ("between", "uncertainty", "sure"),
    [((0.1, 0.2), 0.0, True), ((0.1, 0.2), 0.2, False), ((0.2, 0.4), 0.0, False),
     ((0.5, 0.6), 0.1, True), (None, 0.0, False)],
)  # fmt: skip
def test_an_outcome_is_sure_on_one_side_of_the_limit_only(between, uncertainty, sure):
    assert is_sure(between, 0.3, uncertainty) is sure


def judged(root, forces):
    """A study of entries with force errors by seed."""
    runs = [
        run(root, name, seed, {"acc": ("accuracy", {}, {"test_force_rmse": value,
                                                        "test_energy_rmse": 0.001})},
            strategy="zero_shot" if name == "zero" else "finetune")
        for name, values in forces.items()
        for seed, value in enumerate(values)
    ]  # fmt: skip
    return judge(study(root, *runs), VerdictConfig())


@pytest.mark.parametrize(
    ("forces", "expected"),
    [
        ({"a": (0.05, 0.051, 0.052), "b": (0.5, 0.5, 0.5)}, "high"),
        ({"a": (0.05,), "b": (0.5,)}, "low"),  # scatter unknown
        ({"a": (0.05, 0.09), "b": (0.5, 0.5)}, "moderate"),  # energies sure, forces not
        ({"a": (0.05, 0.06), "b": (0.05, 0.061)}, "low"),  # a tie
        ({"zero": (0.05,), "b": (0.5, 0.5)}, "high"),  # nothing random was done
        ({}, "none"),
    ],
)
def test_the_confidence_follows_its_rule(tmp_path, forces, expected):
    verdict = judged(tmp_path, forces)
    assert verdict.confidence == expected
    assert verdict.confidence_why
