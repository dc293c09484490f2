import numpy as np
import pytest

from mlffjax.analysis import correlation
from mlffjax.errors import InputError


def direct(first, second, lags):
    """The definition, one lag at a time."""
    n = len(first)
    return np.array(
        [(first[: n - lag] * second[lag:]).sum(axis=0) / (n - lag) for lag in range(lags)]
    )


# FFT and direct sums agree to rounding of sums over 101 terms of order 1.
ROUNDING = 1e-12


@pytest.mark.parametrize("shape", [(101,), (100, 3), (64, 5, 3), (2, 1)])
def test_equal_to_the_definition(rng, shape):
    x, y = rng.normal(size=(2, *shape)) + 3
    lags = len(x)
    np.testing.assert_allclose(correlation.autocorrelation(x), direct(x, x, lags), atol=ROUNDING)
    np.testing.assert_allclose(
        correlation.correlation(x, y, lags=lags), direct(x, y, lags), atol=ROUNDING
    )


def test_fewer_lags_are_the_first_of_all(rng):
    x = rng.normal(size=(50, 2))
    np.testing.assert_allclose(
        correlation.autocorrelation(x, lags=7), correlation.autocorrelation(x)[:7], atol=ROUNDING
    )


def test_chunks_do_not_matter(rng, monkeypatch):
    x = rng.normal(size=(40, 7, 3))
    whole = correlation.autocorrelation(x), correlation.summed_autocorrelation(x)
    monkeypatch.setattr(correlation, "CHUNK", 1)
    np.testing.assert_allclose(correlation.autocorrelation(x), whole[0], atol=ROUNDING)
    np.testing.assert_allclose(correlation.summed_autocorrelation(x), whole[1], atol=ROUNDING)
    np.testing.assert_allclose(whole[1], whole[0].sum(axis=(1, 2)), atol=ROUNDING)


def test_sum_of_one_column_and_of_a_plain_series(rng):
    x = rng.normal(size=30)
    expected = direct(x, x, 30)
    np.testing.assert_allclose(correlation.summed_autocorrelation(x), expected, atol=ROUNDING)
    np.testing.assert_allclose(
        correlation.summed_autocorrelation(x[:, None]), expected, atol=ROUNDING
    )


def test_float32_samples_are_summed_in_float64(rng):
    x = rng.normal(size=200).astype(np.float32)
    found = correlation.autocorrelation(x)
    assert found.dtype == np.float64
    y = x.astype(float)
    np.testing.assert_allclose(found, direct(y, y, 200), atol=ROUNDING)


def test_bad_input(rng):
    x = rng.normal(size=(10, 2))
    for bad in (x[:1], np.array(3.0), np.zeros((4, 0))):
        with pytest.raises(InputError, match="at least 2 samples"):
            correlation.autocorrelation(bad)
    for lags in (0, 11):
        with pytest.raises(InputError, match="1 to 10 lags"):
            correlation.autocorrelation(x, lags=lags)
    with pytest.raises(InputError, match="equal shape"):
        correlation.correlation(x, x[:, :1])
    x[3, 1] = np.nan
    with pytest.raises(InputError, match="finite"):
        correlation.autocorrelation(x)
