"""Symmetric contraction: products of up to ``correlation`` node features, per element and channel.

Equation (10) of arXiv:2206.07697. A basis of coupled products is made by coupling irreps one after
the other in mace-torch's order, so weights mean the same. Products of one channel commute, hence
the basis is symmetrised over the order of its factors; what remains linearly independent is kept
as the polynomial, the rest becomes a constant matrix that acts on the weights (``fold``).
"""

import functools
import itertools
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from mlffjax.arrays import Array, Float
from mlffjax.errors import CompatibilityError
from mlffjax.potential.mace.irreps import Irrep, Layout, coupling_coefficients, products
from mlffjax.potential.mace.polynomial import SparsePolynomial, Term

LARGEST_BASIS = 4 * 1024**3  # bytes of all coupled products; published models need 0.1 GB
ZERO = 1e-10  # coupling coefficients are O(0.01..1) and exact to 1e-15


class CoupledBasis(NamedTuple):
    """Independent products of one degree: ``coupled[w, m, path] = independent @ mixing``."""

    monomials: np.ndarray  # [monomials, degree] component indices, sorted
    independent: np.ndarray  # [components out, monomials, rank]
    mixing: np.ndarray  # [rank, paths]


def check_size(layout: Layout, degree: int) -> None:
    """Refuse before memory is asked for: a card or a checkpoint of a few kB may declare any degree.

    Raises:
        CompatibilityError: all coupled products of ``degree`` factors would need too much.
    """
    if (size := 8 * layout.dim ** (2 * degree)) > LARGEST_BASIS:
        raise CompatibilityError(
            f"products of {degree} features of {layout.dim} components are not supported yet: all "
            f"coupled products would take {size / 1024**3:.0f} GB; lower max_ell or correlation"
        )


@functools.cache
def coupled_products(layout: Layout, degree: int) -> tuple[tuple[Irrep, np.ndarray], ...]:
    """Couplings of ``degree`` factors: what irrep they give, and [dim, components^degree].

    Raises:
        CompatibilityError: see ``check_size``.
    """
    check_size(layout, degree)
    if degree == 1:
        identity = np.eye(layout.dim)
        return tuple((ir, identity[rows]) for ir, rows in zip(layout, layout.slices, strict=True))
    coupled = []
    for left, product in coupled_products(layout, degree - 1):
        for right, columns in zip(layout, layout.slices, strict=True):
            for out in products(left, right):
                coefficients = coupling_coefficients(out.l, left.l, right.l) * out.dim**0.5
                joined = np.zeros((out.dim, product.shape[1], layout.dim))
                joined[:, :, columns] = np.einsum("iab,ax->ixb", coefficients, product)
                coupled.append((out, joined.reshape(out.dim, -1)))
    return tuple(sorted(coupled, key=lambda pair: pair[0]))


@functools.cache
def coupled_basis(layout: Layout, out: Irrep, degree: int) -> CoupledBasis:
    """Symmetrised products of ``degree`` features that transform like ``out``."""
    paths = [tensor for ir, tensor in coupled_products(layout, degree) if ir == out]
    indices = np.array(list(itertools.product(range(layout.dim), repeat=degree)))
    monomials, target = np.unique(np.sort(indices, axis=1), axis=0, return_inverse=True)
    symmetric = np.zeros((out.dim, len(monomials), len(paths)))
    for path, tensor in enumerate(paths):
        for component in range(out.dim):
            symmetric[component, :, path] = np.bincount(
                target.ravel(), weights=tensor[component], minlength=len(monomials)
            )
    independent, mixing = _independent_paths(symmetric, _degrees(layout)[monomials])
    return CoupledBasis(monomials, independent, mixing)


def _degrees(layout: Layout) -> np.ndarray:
    """Index of the irrep that each component belongs to."""
    return np.repeat(np.arange(len(layout)), [ir.dim for ir in layout])


def _independent_paths(symmetric: np.ndarray, kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rank-reduce within each set of factor irreps, choosing existing paths, the sparsest first."""
    components, monomials, paths = symmetric.shape
    independent, mixing = [], []
    kinds = np.sort(kinds, axis=1)
    for kind in np.unique(kinds, axis=0):
        rows = np.flatnonzero((kinds == kind).all(axis=1))
        block = symmetric[:, rows].reshape(components * len(rows), paths)
        if np.abs(block).max(initial=0) < ZERO:
            continue
        chosen = _spanning_columns(block)
        basis = block[:, chosen] / np.linalg.norm(block[:, chosen], axis=0)
        mixing.append(np.linalg.lstsq(basis, block, rcond=None)[0])
        full = np.zeros((components, monomials, len(chosen)))
        full[:, rows] = basis.reshape(components, len(rows), -1)
        independent.append(full)
    if not independent:
        return np.zeros((components, monomials, 0)), np.zeros((0, paths))
    return np.concatenate(independent, axis=2), np.concatenate(mixing)


def _spanning_columns(block: np.ndarray) -> list[int]:
    """Columns that span all others, sparse ones first, by Gram-Schmidt."""
    norms = np.linalg.norm(block, axis=0)
    filled = (np.abs(block) > ZERO).sum(axis=0)
    chosen, orthonormal = [], np.zeros((block.shape[0], 0))
    for column in sorted(np.flatnonzero(norms > ZERO), key=lambda c: (filled[c], c)):
        rest = block[:, column] / norms[column]
        for _ in range(2):  # twice is enough
            rest = rest - orthonormal @ (orthonormal.T @ rest)
        if (size := np.linalg.norm(rest)) > 1e-6:
            chosen.append(int(column))
            orthonormal = np.column_stack([orthonormal, rest / size])
    return chosen


@functools.cache
def contraction_polynomial(layout: Layout, out: Irrep, correlation: int) -> SparsePolynomial:
    """Polynomial of (features [., layout.dim, .], folded weights [., ranks, .]) giving ``out``."""
    terms, offset = [], 0
    for degree in range(1, correlation + 1):
        basis = coupled_basis(layout, out, degree)
        for component, monomial, rank in zip(
            *np.nonzero(np.abs(basis.independent) > ZERO), strict=True
        ):
            factors = tuple((0, int(i)) for i in basis.monomials[monomial])
            coefficient = float(basis.independent[component, monomial, rank])
            terms.append(Term(int(component), coefficient, (*factors, (1, offset + int(rank)))))
        offset += basis.mixing.shape[0]
    return SparsePolynomial(terms, out.dim, (layout.dim, offset))


class SymmetricContraction(nn.Module):
    """Weights of the contraction to one irrep; ``degree_n`` is [elements, paths, channels]."""

    layout: Layout
    out: Irrep
    correlation: int
    elements: int
    channels: int

    def setup(self) -> None:
        """Declare the weights."""
        weights = []
        for degree, basis in self.bases:
            paths = basis.mixing.shape[1]
            shape = (self.elements, paths, self.channels)
            deviation = nn.initializers.constant(1 / paths)
            weights.append(self.param(f"degree_{degree}", deviation, shape))
        self.weights = weights

    @property
    def bases(self) -> list[tuple[int, CoupledBasis]]:
        """Degrees that can give the irrep at all, with their products."""
        every = range(1, self.correlation + 1)
        bases = [(degree, coupled_basis(self.layout, self.out, degree)) for degree in every]
        return [(degree, basis) for degree, basis in bases if basis.mixing.shape[1]]

    def fold(self) -> Float[Array, "elements ranks channels"]:
        """Weights of the independent products."""
        folded = [jnp.zeros((self.elements, 0, self.channels), jnp.float32)]
        for (_, basis), weight in zip(self.bases, self.weights, strict=True):
            mixing = jnp.asarray(basis.mixing, weight.dtype)
            folded.append(jnp.einsum("tk,zkc->ztc", mixing, weight))
        return jnp.concatenate(folded, axis=1)
