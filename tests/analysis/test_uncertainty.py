import numpy as np
import pytest
import scipy.signal

from mlffjax.analysis import uncertainty
from mlffjax.errors import InputError


def ar1(rng, decay, n, columns):
    """x(t) = decay x(t-1) + noise, unit variance, stationary from the start."""
    noise = rng.normal(size=(n, columns)) * np.sqrt(1 - decay**2)
    noise[0] /= np.sqrt(1 - decay**2)
    return np.asarray(scipy.signal.lfilter([1], [1, -decay], noise, axis=0))


def true_error(decay, n):
    """Exact standard deviation of the mean of n samples of the process above."""
    lag = np.arange(1, n)
    return np.sqrt((1 + 2 * ((1 - lag / n) * decay**lag).sum()) / n)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.97])
def test_error_of_an_autoregressive_process(rng, decay):
    n, columns = 8192, 400
    found = uncertainty.mean_with_error(ar1(rng, decay, n, columns))
    exact = true_error(decay, n)
    assert found.reliable.all()
    # Blocking reads low by the correlation left between blocks, a few per cent.
    assert 0.88 < np.sqrt((found.error**2).mean()) / exact < 1.03
    # 68 % expected within one error; binomial noise of 400 columns is 2.3 %, and few blocks (about
    # 20 for the slowest) have tails wider than a normal distribution's.
    inside = (np.abs(found.mean) < found.error).mean()
    assert 0.58 < inside < 0.76
    np.testing.assert_allclose(
        found.correlation_time.mean(), 0.5 * (1 + decay) / (1 - decay), rtol=0.2
    )


def test_a_short_series_says_that_its_error_is_not_reliable(rng):
    walk = np.cumsum(rng.normal(size=(256, 50)), axis=0)
    found = uncertainty.mean_with_error(walk)
    assert found.reliable.mean() <= 0.1  # a walk may come back and look like noise
    # At least it does not claim the precision of independent samples.
    naive = walk.std(axis=0, ddof=1) / 16
    assert (found.error > 2.5 * naive).all()


def test_offset_scale_and_single_columns(rng):
    x = ar1(rng, 0.8, 1000, 3)
    found = uncertainty.mean_with_error(x)
    moved = uncertainty.mean_with_error(1e7 + 1e-3 * x)
    # 1e7 carries 2e-9 of rounding, 2e-6 of the spread of 1e-3.
    np.testing.assert_allclose(moved.error, 1e-3 * found.error, rtol=1e-5)
    np.testing.assert_allclose(moved.mean, 1e7 + 1e-3 * x.mean(axis=0), atol=1e-8)
    alone = uncertainty.mean_with_error(x[:, 1])
    assert alone.mean.shape == ()
    for one, many in zip(alone, found, strict=True):
        np.testing.assert_allclose(one, many[1], rtol=1e-12)


def test_constant_series_has_no_error():
    found = uncertainty.mean_with_error(np.full(100, 0.1))
    assert (found.mean, found.error, found.correlation_time) == (0.1, 0.0, 0.5)
    assert found.reliable


def test_two_samples_are_possible_but_not_reliable():
    found = uncertainty.mean_with_error(np.array([1.0, 2.0]))
    assert found.mean == 1.5
    assert not found.reliable


def test_block_means():
    np.testing.assert_array_equal(uncertainty.block_means(np.arange(7.0), 3), [1.5, 3.5, 5.5])
    for blocks in (0, 8):
        with pytest.raises(InputError, match="blocks"):
            uncertainty.block_means(np.arange(7.0), blocks)


def test_independent_runs():
    mean, error = uncertainty.independent_mean(np.array([1.0, 3.0]))
    assert mean == 2.0
    assert error == 1.0  # std sqrt(2) over sqrt(2)
    with pytest.raises(InputError, match="at least 2"):
        uncertainty.independent_mean(np.array([1.0]))


def test_bad_input():
    with pytest.raises(InputError, match="at least 2 samples"):
        uncertainty.mean_with_error(np.array([1.0]))
    with pytest.raises(InputError, match="finite"):
        uncertainty.mean_with_error(np.array([1.0, np.inf]))
