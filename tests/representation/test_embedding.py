"""Pictures and silhouettes against scikit-learn, and what must be refused."""

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples, silhouette_score

from mlffjax.errors import InputError, MissingExtra
from mlffjax.representation import embedding
from mlffjax.representation.embedding import components, silhouette, standardised, tsne, umap


@pytest.fixture
def blobs(rng):
    centres = np.array([[0, 0, 0, 0], [4, 0, 0, 0], [0, 5, 0, 0]])
    labels = np.repeat(["a", "b", "c"], [20, 12, 8])
    return np.repeat(centres, [20, 12, 8], axis=0) + rng.normal(size=(40, 4)), labels


def test_columns_are_standardised_and_constant_ones_left_out(rng):
    rows = rng.normal(3.0, 5.0, size=(50, 3))
    found = standardised(np.column_stack([rows, np.full(50, 0.1)]))
    assert found.shape == (50, 3)
    np.testing.assert_allclose(found.mean(axis=0), 0.0, atol=1e-14)
    np.testing.assert_allclose(found.std(axis=0), 1.0, atol=1e-14)


def test_components_keep_distances_and_variance(blobs):
    rows, _ = blobs
    found = components(rows, 10)
    assert found.scores.shape == (40, 4)
    assert found.explained.sum() == pytest.approx(1.0)
    # All components are a rotation.
    assert np.linalg.norm(found.scores[0] - found.scores[1]) == pytest.approx(
        np.linalg.norm(rows[0] - rows[1])
    )


def test_silhouette_equals_that_of_scikit_learn(blobs):
    rows, labels = blobs
    found = silhouette(rows, labels, permutations=20)
    # Both are sums over 40 rows in float64.
    assert found.score == pytest.approx(silhouette_score(rows, labels), abs=1e-12)
    each = silhouette_samples(rows, labels)
    for name in "abc":
        assert found.groups[name] == pytest.approx(each[labels == name].mean(), abs=1e-12)


def test_a_row_alone_in_its_group_scores_zero(blobs):
    rows, labels = blobs
    labels = np.where(np.arange(40) == 0, "alone", labels)
    found = silhouette(rows, labels, permutations=0)
    assert found.groups["alone"] == 0
    assert found.score == pytest.approx(silhouette_score(rows, labels), abs=1e-12)


def test_the_null_is_that_of_permuted_labels(blobs, rng, monkeypatch):
    rows, labels = blobs
    found = silhouette(rows, labels, permutations=100, seed=3)
    assert found.score > found.null + 5 * found.null_spread
    assert found.p_value == pytest.approx(1 / 101)
    by_hand = [silhouette_score(rows, rng.permutation(labels)) for _ in range(100)]
    # Two samples of 100: means agree within five standard errors of their difference.
    error = np.hypot(np.std(by_hand), found.null_spread) / 10
    assert abs(found.null - np.mean(by_hand)) < 5 * error
    monkeypatch.setattr(embedding, "AT_ONCE", 1)  # one labelling at a time gives the same
    again = silhouette(rows, labels, permutations=100, seed=3)
    assert again.null == pytest.approx(found.null, abs=1e-14)
    assert again.p_value == found.p_value


def test_random_labels_are_not_significant(rng):
    rows = rng.normal(size=(60, 3))
    found = [silhouette(rows, rng.choice(["a", "b"], 60), permutations=50) for _ in range(20)]
    # A p-value is uniform: 20 of them below 0.1 by chance, with probability 1e-20.
    assert max(one.p_value for one in found) > 0.1


def test_nothing_to_separate_has_a_reason(blobs):
    rows, labels = blobs
    found = silhouette(rows, np.full(40, "a"))
    assert np.isnan(found.score)
    assert "got 1 (a)" in found.reason
    assert "got 40" in silhouette(rows, np.arange(40)).reason
    with pytest.raises(InputError, match="expected 40 labels"):
        silhouette(rows, labels[1:])


def test_tsne_is_determined_by_its_seed(blobs):
    rows, _ = blobs
    first, again = (tsne(rows, perplexity=8, seed=2) for _ in range(2))
    assert first.shape == (40, 2)
    np.testing.assert_array_equal(first, again)


def test_refusals(blobs):
    rows, _ = blobs
    with pytest.raises(InputError, match=r"more than 40 rows .its perplexity., got 40"):
        tsne(rows, perplexity=40)
    with pytest.raises(InputError, match="NaN or infinities in row 3"):
        silhouette(np.where(np.arange(40)[:, None] == 3, np.nan, rows), np.arange(40))
    with pytest.raises(InputError, match="at least 2 rows"):
        components(rows[:1])
    with pytest.raises(InputError, match=r"\[rows, columns\]"):
        standardised(rows[0])


def test_umap_names_its_extra(blobs, monkeypatch):
    rows, _ = blobs
    with pytest.raises(InputError, match="more than 50 rows"):
        umap(rows, neighbors=50)
    monkeypatch.setitem(__import__("sys").modules, "umap", None)
    with pytest.raises(MissingExtra, match=r"mlffjax\[representation\]"):
        umap(rows)


@pytest.mark.slow
def test_umap_is_determined_by_its_seed(blobs):
    pytest.importorskip("umap")
    rows, _ = blobs
    first, again = (umap(rows, seed=2) for _ in range(2))
    np.testing.assert_array_equal(first, again)
