"""Drift from a foundation: what changes nothing, and what each number reads."""

import numpy as np
import pytest

from mlffjax.errors import InputError
from mlffjax.representation.drift import drift
from mlffjax.representation.features import NodeFeatures
from mlffjax.representation.similarity import linear_cka, stacked

NUMBERS = np.repeat([51, 52], [30, 50]).astype(np.int32)
FRAME = np.zeros(80, np.int32)


@pytest.fixture
def foundation(rng):
    return NodeFeatures((rng.normal(size=(80, 5)), rng.normal(size=(80, 6))), NUMBERS, FRAME)


def changed(features, *layers):
    return features._replace(layers=layers)


def test_nothing_moved(foundation):
    found = drift(foundation, foundation, (51, 52))
    assert found.cosine.shape == (2, 3)
    np.testing.assert_allclose(found.dissimilarity, 0.0, atol=1e-12)
    np.testing.assert_allclose(found.cosine, 1.0, atol=1e-12)
    assert not found.displacement.any()


def test_a_change_of_basis_moves_features_but_not_what_they_say(foundation, rng):
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    first, second = foundation.layers
    found = drift(changed(foundation, first, second @ rotation), foundation, (51,))
    np.testing.assert_allclose(found.dissimilarity, 0.0, atol=1e-10)
    assert found.cosine[1, 0] < 0.9
    assert found.displacement[1, 0] > 0.3
    assert found.displacement[0, 0] == 0


def test_each_number_is_what_it_says(foundation, rng):
    first, second = foundation.layers
    new = second + 0.3 * rng.normal(size=second.shape)
    found = drift(changed(foundation, first, new), foundation, (51, 52))
    atoms = NUMBERS == 52
    one, other = new[atoms], second[atoms]
    cosines = [
        a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(one, other, strict=True)
    ]
    assert found.cosine[1, 2] == pytest.approx(np.mean(cosines))
    assert found.dissimilarity[1, 2] == pytest.approx(1 - linear_cka(stacked([one, other]))[0, 1])
    spread = np.sqrt(((other - other.mean(axis=0)) ** 2).mean())
    assert found.displacement[1, 2] == pytest.approx(np.sqrt(((one - other) ** 2).mean()) / spread)


def test_other_architectures_have_an_alignment_only(foundation, rng):
    wide = changed(foundation, rng.normal(size=(80, 9)))
    found = drift(wide, foundation, (51,))
    assert found.cosine.shape == (1, 2)  # as many layers as both have
    assert np.isfinite(found.dissimilarity).all()
    assert np.isnan(found.cosine).all()
    assert np.isnan(found.displacement).all()


def test_too_few_atoms_of_an_element_are_undefined(foundation):
    found = drift(foundation, foundation, (24,))
    assert np.isnan(found.dissimilarity[:, 1]).all()


def test_other_atoms_are_refused(foundation):
    with pytest.raises(InputError, match="same atoms"):
        drift(foundation._replace(numbers=NUMBERS[::-1]), foundation, (51,))
