"""Weights that multiply another basis of the same products give the same function in ours."""

import numpy as np
import pytest

from mlffjax.errors import CompatibilityError
from mlffjax.potential.convert.architecture import architecture
from mlffjax.potential.convert.bases import in_our_basis

CONTRACTION = "products.0.symmetric_contractions.contractions.1"
BASIS, WEIGHTS = f"{CONTRACTION}.U_matrix_3", f"{CONTRACTION}.weights_max"


@pytest.fixture
def checkpoint(root):
    return root.named_tensors(), architecture(root).model


def coefficients(basis, weights):
    """What a monomial of three features counts for: summed over the order of its factors."""
    products = np.einsum("wabck,zkx->wabczx", basis, weights)
    orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    return sum(products.transpose(0, *(1 + k for k in order), 4, 5) for order in orders)


def test_our_basis_leaves_weights_alone(checkpoint):
    tensors, model = checkpoint
    found = in_our_basis(tensors, model)
    assert set(tensors) - set(found) == {name for name in tensors if ".U_matrix_" in name}
    assert all(found[name] is tensors[name] for name in found)


def test_another_basis_becomes_ours(checkpoint, rng):
    """Mixed and reduced products, as cuequivariance has them, with drawn weights."""
    tensors, model = checkpoint
    ours = tensors[BASIS]
    rank = np.linalg.matrix_rank(coefficients(ours, np.eye(ours.shape[-1])[None])[..., 0, :]
                                 .reshape(-1, ours.shape[-1]))  # fmt: skip
    assert rank < ours.shape[-1]
    reduced = ours @ rng.normal(size=(ours.shape[-1], rank))
    weights = rng.normal(size=(3, rank, 4))
    found = in_our_basis(tensors | {BASIS: reduced, WEIGHTS: weights}, model)
    assert found[WEIGHTS].shape == tensors[WEIGHTS].shape
    expected = coefficients(reduced, weights)
    # Solved by least squares from products of order ten.
    np.testing.assert_allclose(
        coefficients(ours, found[WEIGHTS]), expected, rtol=0, atol=1e-11 * np.abs(expected).max()
    )


def test_single_precision_stays(checkpoint):
    tensors, model = checkpoint
    small = {BASIS: -tensors[BASIS].astype("f4"), WEIGHTS: tensors[WEIGHTS].astype("f4")}
    found = in_our_basis(tensors | small, model)[WEIGHTS]
    assert found.dtype == np.float32
    expected = -coefficients(tensors[BASIS], tensors[WEIGHTS])
    # Basis and weights are rounded to 6e-8 each.
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        coefficients(tensors[BASIS], found), expected, rtol=0, atol=1e-6 * scale
    )


def test_the_order_of_factors_is_free(checkpoint):
    tensors, model = checkpoint
    turned = tensors | {BASIS: tensors[BASIS].transpose(0, 3, 1, 2, 4)}
    assert in_our_basis(turned, model)[WEIGHTS] is tensors[WEIGHTS]


def test_products_that_do_not_transform_are_refused(checkpoint, rng):
    tensors, model = checkpoint
    wrong = tensors[BASIS] + 0.1 * rng.normal(size=tensors[BASIS].shape)
    with pytest.raises(CompatibilityError, match=r"U_matrix_3 has products that are no symmetric"):
        in_our_basis(tensors | {BASIS: wrong}, model)


def test_a_missing_basis_is_refused(checkpoint):
    tensors, model = checkpoint
    del tensors[BASIS]
    with pytest.raises(CompatibilityError, match=r"has no products\.0.*U_matrix_3"):
        in_our_basis(tensors, model)


def test_weights_without_their_products_are_refused(checkpoint):
    tensors, model = checkpoint
    with pytest.raises(CompatibilityError, match="expected one row for each of 2 products"):
        in_our_basis(tensors | {BASIS: tensors[BASIS][..., :2]}, model)
