import numpy as np

from mlffjax.analysis import linear_diffusion

LAGS = np.array([1, 2, 5, 12, 30])


def msd(path, lags):
    return np.array([((path[k:] - path[:-k]) ** 2).mean(axis=0) for k in lags])


def covariance(make, repeats):
    return np.cov(msd(make(repeats), LAGS))


def test_covariance_of_a_walk_and_of_a_walk_with_noise(rng):
    """Against the spread over 20000 trajectories."""
    frames, repeats = 120, 20000
    for noise, memory in ((0.0, 1), (1.5, 1), (1.5, 3)):
        # Moving sums make noise that is correlated over three frames.
        kernel = np.ones(memory) / np.sqrt(memory)

        def make(count, noise=noise, kernel=kernel, memory=memory):
            white = rng.normal(size=(frames + memory - 1, count))
            extra = sum(w * white[i : i + frames] for i, w in enumerate(kernel))
            return np.cumsum(rng.normal(size=(frames, count)), axis=0) + noise * extra

        lag = np.arange(40)
        rises = 1 - np.maximum(0, 1 - lag / memory)
        model = lag + 2 * noise**2 * rises
        found = linear_diffusion.covariance_of(LAGS, model, frames)
        exact = covariance(make, repeats)
        scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
        # A covariance from 20000 samples is uncertain by 1 to 2 % of its diagonal.
        assert (abs(found - exact) / scale).max() < 0.05


def test_weights_reproduce_lines_exactly(rng):
    lags = np.array([1, 3, 7, 20, 50])
    line = 0.4 + 0.02 * np.arange(200)
    line[0] = 0
    fit = linear_diffusion.fit_window(lags, line, 10)
    np.testing.assert_allclose([fit.slope, fit.intercept], [0.02, 0.4], rtol=1e-6)
    assert fit.linear
    np.testing.assert_allclose(fit.weights @ lags, 1, rtol=1e-6)
    np.testing.assert_allclose(fit.weights.sum(), 0, atol=1e-8)


def test_curves_are_not_lines():
    lags = np.array([1, 2, 5, 10, 20, 50, 100])
    for power in (0.5, 1.7):
        assert not linear_diffusion.fit_window(lags, np.arange(401) ** power, 1000).linear


def test_window_begins_where_the_line_does():
    """Ballistic for ten frames, then linear."""
    time = np.arange(1000.0)
    curve = 10 * (time - 10 * (1 - np.exp(-time / 10)))
    lags = np.unique(np.geomspace(1, 250, 18).round().astype(int))
    fit = linear_diffusion.choose_window(lags, curve, 1000)
    assert fit.linear
    assert 10 < fit.lags[0] < 60
    # A tenth of curvature over the window is allowed.
    np.testing.assert_allclose(fit.slope, 10, rtol=0.04)
    np.testing.assert_allclose(linear_diffusion.exponent(lags[-3:], time**1.3), 1.3)
