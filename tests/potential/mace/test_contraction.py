import itertools

import numpy as np
import pytest

from mlffjax.potential.mace.contraction import (
    contraction_polynomial,
    coupled_basis,
    coupled_products,
)
from mlffjax.potential.mace.irreps import Irrep, Layout

LAYOUT = Layout.harmonics(2)


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("out", [Irrep(0, 1), Irrep(1, -1), Irrep(2, 1)], ids=str)
def test_reduced_products_span_exactly_the_coupled_ones(rng, degree, out):
    basis = coupled_basis(LAYOUT, out, degree)
    features = rng.normal(size=LAYOUT.dim)
    outer = features
    for _ in range(degree - 1):
        outer = np.multiply.outer(outer, features)
    coupled = np.stack(
        [tensor @ outer.ravel() for ir, tensor in coupled_products(LAYOUT, degree) if ir == out],
        axis=1,
    )
    monomials = np.array([np.prod(features[list(m)]) for m in basis.monomials])
    reduced = np.einsum("wmt,m,tk->wk", basis.independent, monomials, basis.mixing)
    # Coefficients come from float64 tables and one least-squares solve.
    np.testing.assert_allclose(reduced, coupled, atol=1e-12)
    assert (
        np.linalg.matrix_rank(basis.independent.reshape(-1, basis.mixing.shape[0]))
        == (basis.mixing.shape[0])
    )


def test_ranks_for_the_published_architecture():
    # Numbers of independent products for l <= 3, correlation 3: 8, 12, 14 of 23, 51, 65 paths, as
    # in the reduced basis of cuEquivariance.
    layout = Layout.harmonics(3)
    shapes = [coupled_basis(layout, ir, 3).mixing.shape for ir in Layout.harmonics(2)]
    assert shapes == [(8, 23), (12, 51), (14, 65)]


def test_the_polynomial_is_the_sum_over_degrees(rng):
    out, correlation = Irrep(1, -1), 3
    polynomial = contraction_polynomial(LAYOUT, out, correlation)
    bases = [coupled_basis(LAYOUT, out, degree) for degree in range(1, correlation + 1)]
    ranks = [basis.mixing.shape[0] for basis in bases]
    features, weights = rng.normal(size=(LAYOUT.dim,)), rng.normal(size=sum(ranks))
    expected = sum(
        np.einsum(
            "wmt,m,t->w",
            basis.independent,
            [np.prod(features[list(m)]) for m in basis.monomials],
            part,
        )
        for basis, part in zip(
            bases, np.split(weights, list(itertools.accumulate(ranks))[:-1]), strict=True
        )
    )
    found = polynomial(features[None, :, None], weights[None, :, None])[0, :, 0]
    np.testing.assert_allclose(found, expected, atol=1e-12)
