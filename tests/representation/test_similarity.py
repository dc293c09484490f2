"""Similarity of features against identities, brute force and what independence must give."""

import numpy as np
import pytest

from mlffjax.errors import InputError
from mlffjax.representation.similarity import (
    chosen_rows,
    kernel_cka,
    linear_cka,
    procrustes,
    rbf_cka,
    rotation_onto,
    stacked,
)

ROUNDING = 1e-10  # sums of some thousand products of order one, in float64


@pytest.fixture
def features(rng):
    """Correlated features with a mean, as those of atoms are."""
    return rng.normal(size=(60, 7)) @ rng.normal(size=(7, 7)) + rng.normal(size=7)


@pytest.fixture
def rotation(rng):
    return np.linalg.qr(rng.normal(size=(7, 7)))[0]


def brute_force_hsic(k, m):
    """Song et al. 2012, eq. 5, with matrices written out."""
    n, one = len(k), np.ones(len(k))
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    first = np.trace(k @ m)
    second = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    third = 2 / (n - 2) * (one @ k @ m @ one)
    return (first + second - third) / (n * (n - 3))


def centred_hsic(k, m):
    """Biased: tr(K H L H), the alignment of Cortes et al. 2012."""
    h = np.eye(len(k)) - 1 / len(k)
    return np.trace(k @ h @ m @ h)


def alignment(hsic, k, m):
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def gaussian(x):
    d = np.linalg.norm(x[:, None] - x[None], axis=-1)
    width = np.median(d[~np.eye(len(d), dtype=bool)])
    return np.exp(-(d**2) / (2 * width**2))


@pytest.mark.parametrize("similarity", [linear_cka, rbf_cka])
@pytest.mark.parametrize("debiased", [True, False])
def test_rotation_factor_and_shift_change_nothing(similarity, debiased, features, rotation):
    others = [features, features @ rotation, -3.5 * features, features + 11.0]
    found = similarity(stacked(others), debiased=debiased)
    np.testing.assert_allclose(found, 1.0, atol=ROUNDING)


@pytest.mark.parametrize("debiased", [True, False])
def test_linear_alignment_equals_the_published_formula(debiased, rng, features):
    other = np.tanh(features[:, :4]) + 0.3 * rng.normal(size=(60, 4))
    found = linear_cka(stacked([features, other]), debiased=debiased)
    k, m = features @ features.T, other @ other.T
    expected = alignment(brute_force_hsic if debiased else centred_hsic, k, m)
    assert found[0, 1] == pytest.approx(expected, abs=ROUNDING)
    np.testing.assert_allclose(found, found.T, atol=ROUNDING)


@pytest.mark.parametrize("debiased", [True, False])
def test_gaussian_alignment_equals_the_published_formula(debiased, rng, features):
    other = np.tanh(features[:, :4]) + 0.3 * rng.normal(size=(60, 4))
    found = rbf_cka(stacked([features, other]), debiased=debiased)
    expected = alignment(
        brute_force_hsic if debiased else centred_hsic, gaussian(features), gaussian(other)
    )
    assert found[0, 1] == pytest.approx(expected, abs=ROUNDING)


def test_linear_alignment_is_that_of_linear_kernels(rng, features):
    other = rng.normal(size=(60, 3))
    kernels = np.stack([features @ features.T, other @ other.T])
    for debiased in (True, False):
        np.testing.assert_allclose(
            linear_cka(stacked([features, other]), debiased=debiased),
            kernel_cka(kernels, debiased=debiased),
            atol=ROUNDING,
        )


def test_independent_features_have_nothing_in_common(rng):
    """The unbiased estimate scatters about 0, the biased one is far above it."""
    found, biased = [], []
    for _ in range(40):
        pair = stacked([rng.normal(size=(80, 40)), rng.normal(size=(80, 40))])
        found.append(linear_cka(pair)[0, 1])
        biased.append(linear_cka(pair, debiased=False)[0, 1])
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found)) < 4 * error  # four standard errors of the mean
    assert error < 0.005
    assert np.mean(biased) > 0.2


def test_distance_after_rotation_vanishes(features, rotation):
    found = procrustes(stacked([features, 2 * features @ rotation + 1.0]))
    # The square root turns rounding of 1e-16 into 1e-8.
    np.testing.assert_allclose(found, 0.0, atol=1e-6)


def test_procrustes_equals_its_definition(rng, features):
    other = rng.normal(size=(60, 7))

    def unit(x):
        x = x - x.mean(axis=0)
        return x / np.linalg.norm(x)

    x, y = unit(features), unit(other)
    q = rotation_onto(x, y)
    np.testing.assert_allclose(q @ q.T, np.eye(7), atol=ROUNDING)
    expected = np.linalg.norm(x @ q - y)
    assert procrustes(stacked([features, other]))[0, 1] == pytest.approx(expected, abs=ROUNDING)


def test_no_rotation_comes_nearer(rng, features, rotation):
    target = features @ rotation + 0.1 * rng.normal(size=features.shape)
    x, y = features - features.mean(axis=0), target - target.mean(axis=0)
    best = np.linalg.norm(x @ rotation_onto(features, target) - y)
    for _ in range(20):
        other = np.linalg.qr(rng.normal(size=(7, 7)))[0]
        assert np.linalg.norm(x @ other - y) >= best


def test_narrower_models_are_compared_as_they_are(features):
    padded = np.pad(features[:, :3], ((0, 0), (0, 4)))
    found = linear_cka(stacked([features, features[:, :3]]))
    np.testing.assert_allclose(found, linear_cka(stacked([features, padded])), atol=ROUNDING)


def test_order_of_rows_does_not_matter(rng, features):
    other = rng.normal(size=(60, 5))
    order = rng.permutation(60)
    for similarity in (linear_cka, rbf_cka, procrustes):
        np.testing.assert_allclose(
            similarity(stacked([features, other])),
            similarity(stacked([features[order], other[order]])),
            atol=ROUNDING,
        )


def test_constant_features_are_undefined(features):
    pair = stacked([features, np.full((60, 2), 0.1)])
    for similarity in (linear_cka, rbf_cka, procrustes):
        found = similarity(pair)
        assert np.isnan(found[0, 1])
        assert np.isnan(found[1, 1])
        assert np.isfinite(found[0, 0])


def test_refusals(features):
    with pytest.raises(InputError, match="model 1: expected finite features"):
        stacked([features, np.where(features > 1, np.nan, features)])
    with pytest.raises(InputError, match=r"b: expected features .60 rows"):
        stacked([features, features[1:]], names=["a", "b"])
    with pytest.raises(InputError, match="at least 4 rows"):
        stacked([features[:3]])
    with pytest.raises(InputError, match="at least one model"):
        stacked([])


def test_rows_are_drawn_by_seed():
    assert chosen_rows(5, 9).tolist() == [0, 1, 2, 3, 4]
    first = chosen_rows(100, 9, seed=1)
    assert len(set(first.tolist())) == 9
    assert first.tolist() == sorted(first.tolist()) == chosen_rows(100, 9, seed=1).tolist()
