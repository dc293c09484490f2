"""Scores of uncertainties: closed forms, brute force, and what is refused."""

import numpy as np
import pytest
from scipy import integrate, stats

from mlffjax.analysis.calibration import calibration, coverage, miscalibration
from mlffjax.errors import InputError

COUNT = 4000


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(2)
    deviations = rng.uniform(0.5, 3.0, COUNT)
    return rng.normal(scale=deviations), deviations


def test_calibrated_errors_are_found_calibrated(drawn):
    found = calibration(*drawn)
    # An empirical distribution of n draws is off by about 0.5/sqrt(n); three times that.
    assert found.miscalibration < 1.5 / np.sqrt(COUNT)
    # The rms of n standard normal numbers is 1 within 1/sqrt(2n); four times that.
    assert found.factor == pytest.approx(1.0, abs=4 / np.sqrt(2 * COUNT))
    # That of a median of n is 1/(2 f sqrt(n)), 1.17/sqrt(n) of its value; four times that.
    assert found.typical == pytest.approx(1.0, abs=4 * 1.17 / np.sqrt(COUNT))
    assert found.sharpness == pytest.approx(np.sqrt((drawn[1] ** 2).mean()), rel=1e-12)
    assert found.rmse == pytest.approx(np.sqrt((drawn[0] ** 2).mean()), rel=1e-12)
    assert found.rank == pytest.approx(stats.spearmanr(drawn[1], abs(drawn[0]))[0], abs=1e-12)
    assert 0.3 < found.rank < 0.7


def test_likelihood_is_that_of_scipy(drawn):
    expected = -stats.norm.logpdf(drawn[0], scale=drawn[1]).mean()
    assert calibration(*drawn).nll == pytest.approx(expected, rel=1e-12)


def test_the_recalibrating_factor_has_the_highest_likelihood(drawn):
    errors, deviations = drawn[0] * 2.3, drawn[1]
    factor = calibration(errors, deviations).factor
    best, *others = (calibration(errors, f * factor * deviations).nll for f in (1, 0.98, 1.02))
    assert best < min(others)


def test_one_value_held_for_certain_does_not_rule_what_is_typical(drawn):
    errors, deviations = drawn[0], np.concatenate([drawn[1][:-1], [1e-6]])
    found, before = calibration(errors, deviations), calibration(*drawn)
    assert found.factor > 100 * before.factor
    assert found.typical == pytest.approx(before.typical, rel=1e-2)


@pytest.mark.parametrize("factor", [0.1, 0.7, 1.0, 4.0])
def test_area_is_that_of_a_fine_grid(drawn, factor):
    errors, deviations = drawn[0][:40], factor * drawn[1][:40]
    grid = np.linspace(0, 1, 200001)
    half = stats.norm.ppf((1 + grid) / 2)
    observed = (abs(errors / deviations)[:, None] <= half[None, ::100]).mean(axis=0)
    np.testing.assert_array_equal(coverage(errors, deviations, grid[::100]), observed)
    brute = integrate.trapezoid(abs(coverage(errors, deviations, grid) - grid), grid)
    # 40 steps of the staircase, each met by the grid within half a cell of height 1/40.
    assert miscalibration(errors, deviations) == pytest.approx(brute, abs=1e-5)


def test_wrong_without_bound_is_half():
    errors = np.full(10, 1.0)
    assert miscalibration(errors, np.full(10, 1e-9)) == pytest.approx(0.5, abs=1e-12)
    assert miscalibration(1e-9 * errors, errors) == pytest.approx(0.5, abs=1e-8)
    assert np.isnan(calibration(errors, errors).rank)


@pytest.mark.parametrize(
    ("errors", "deviations", "said"),
    [
        ([1.0], [1.0], "2 errors or more"),
        ([1.0, 2.0], [1.0], "one standard deviation each"),
        ([1.0, np.nan], [1.0, 1.0], "finite"),
        ([1.0, 2.0], [1.0, 0.0], "positive"),
    ],
)
def test_bad_input(errors, deviations, said):
    with pytest.raises(InputError, match=said):
        calibration(np.array(errors), np.array(deviations))
