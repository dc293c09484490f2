"""How alike the features of models are at the same atoms: alignment of kernels, Procrustes.

All functions take ``[models, rows, channels]`` (``stacked`` pads narrower models by zero columns,
which change nothing here) and return ``[models, models]``: every pair at once.

*Linear CKA* (Kornblith et al. 2019, with the centred alignment of Cortes et al. 2012)

    CKA(X, Y) = HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y)),      HSIC = |Xᵀ Y|²_F, X and Y centred,

is 1 for features that differ by a rotation and a factor only. With few rows for many channels it
is far from 0 even for features that have nothing in common; ``debiased`` takes the unbiased
estimate of HSIC (Song et al. 2012, eq. 5), whose mean is 0 then. It may come out slightly negative
or, where a model has nearly constant features, undefined (NaN). Both are computed from
channels x channels products; no rows x rows matrix is made.

*RBF CKA* is the same with Gaussian kernels, of a width that is a multiple of each model's median
distance; it sees local and curved relations too, and needs rows x rows matrices: ``chosen_rows``.

*Procrustes distance*: d² = |X|² + |Y|² - 2 |Xᵀ Y|_* (nuclear norm) of centred features scaled to
|X| = |Y| = 1: how far they remain apart after the best rotation. From 0 to sqrt(2).

References:
    Kornblith, Norouzi, Lee and Hinton, ICML 2019, arXiv:1905.00414.
    Song, Smola, Gretton, Bedo and Borgwardt, J. Mach. Learn. Res. 13, 1393 (2012), unbiased HSIC.
    Cortes, Mohri and Rostamizadeh, J. Mach. Learn. Res. 13, 795 (2012), arXiv:1203.0550.
    Schönemann, Psychometrika 31, 1 (1966), doi:10.1007/BF02289451, Procrustes.
    Ding, Denain and Steinhardt, NeurIPS 2021, arXiv:2108.01661, as a distance of features.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from mlffjax.errors import InputError

FEWEST = 4  # rows of the unbiased estimate
NOTHING = 1e-12  # of the mean square of features: what is left of constant ones by rounding

Features = Float64[np.ndarray, "models rows channels"]
Matrix = Float64[np.ndarray, "models models"]


def stacked(arrays: Sequence[np.ndarray], names: Sequence[str] = ()) -> Features:
    """Features of several models at the same atoms, as one array.

    Args:
        arrays: [rows, channels] by model; row n is the same atom in each.
        names: of the models, for messages.

    Raises:
        InputError: nothing to stack, other numbers of rows, fewer than 4 of them, or values that
            are not finite; the model is named.
    """
    if not arrays:
        raise InputError("expected features of at least one model, got none")
    labels = list(names) or [f"model {place}" for place in range(len(arrays))]
    parts = [np.asarray(array, np.float64) for array in arrays]
    for label, part in zip(labels, parts, strict=True):
        if part.ndim != 2 or len(part) != len(parts[0]):
            raise InputError(
                f"{label}: expected features [{len(parts[0])} rows, channels] at the same atoms as "
                f"{labels[0]}, got shape {part.shape}"
            )
        if not np.isfinite(part).all():
            raise InputError(
                f"{label}: expected finite features, got NaN or infinities; leave the model out"
            )
    if len(parts[0]) < FEWEST:
        raise InputError(
            f"expected at least {FEWEST} rows to compare features, got {len(parts[0])}; take more "
            "structures"
        )
    width = max(part.shape[1] for part in parts)
    return np.stack([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts])


def linear_cka(features: Features, *, debiased: bool = True) -> Matrix:
    """Linear centred kernel alignment of every pair; NaN where features are constant."""
    centred = _centred(features)
    hsic = (_products(centred) ** 2).sum(axis=(2, 3))
    if debiased:
        hsic = _without_diagonals(centred, hsic)
    return _aligned(hsic)


def _without_diagonals(centred: Features, squares: Matrix) -> Matrix:
    """Song's unbiased estimate for linear kernels K = X Xᵀ; ``squares`` are tr(K L)."""
    count = centred.shape[1]
    diagonal = (centred**2).sum(axis=2)  # [models, rows]
    # Sums of rows of K with its diagonal set to zero; features are centred, so those of K vanish.
    sums = -diagonal
    trace = squares - diagonal @ diagonal.T
    total = sums.sum(axis=1)
    return (
        trace
        + np.outer(total, total) / ((count - 1) * (count - 2))
        - 2 / (count - 2) * (sums @ sums.T)
    ) / (count * (count - 3))


def rbf_cka(features: Features, *, debiased: bool = True, bandwidth: float = 1.0) -> Matrix:
    """Alignment of Gaussian kernels exp(-d²/2s²) of every pair.

    Args:
        features: as in ``linear_cka``; memory grows as models x rows².
        debiased: by the unbiased estimate of HSIC.
        bandwidth: s as a multiple of each model's median distance between different rows.
    """
    centred = _centred(features)
    squares = (centred**2).sum(axis=2)
    distances = squares[:, :, None] + squares[:, None] - 2 * centred @ centred.mT
    distances = np.maximum(distances, 0.0)
    rows = centred.shape[1]
    median = np.median(np.sqrt(distances[:, ~np.eye(rows, dtype=bool)]), axis=1)
    scale = np.where(median > 0, (bandwidth * median) ** 2, np.nan)
    return kernel_cka(np.exp(-distances / (2 * scale[:, None, None])), debiased=debiased)


def kernel_cka(
    kernels: Float64[np.ndarray, "models rows rows"], *, debiased: bool = True
) -> Matrix:
    """Alignment of any kernels of the same rows, every pair; NaN where one is constant."""
    count = kernels.shape[1]
    if debiased:
        off = ~np.eye(count, dtype=bool)
        kernels = np.where(off, kernels, 0.0)
        # U-centring (Székely and Rizzo 2014): what remains has the unbiased HSIC as its product.
        sums = kernels.sum(axis=1) / (count - 2)
        total = kernels.sum(axis=(1, 2)) / ((count - 1) * (count - 2))
        kernels = (kernels - sums[:, :, None] - sums[:, None] + total[:, None, None]) * off
    else:
        mean = kernels.mean(axis=1)
        kernels = kernels - mean[:, :, None] - mean[:, None] + mean.mean(axis=1)[:, None, None]
    flat = kernels.reshape(len(kernels), -1)
    return _aligned(flat @ flat.T)


def procrustes(features: Features) -> Matrix:
    """Distance that remains after the best rotation, of every pair; NaN for constant features."""
    centred = _centred(features)
    norms = np.sqrt((centred**2).sum(axis=(1, 2)))
    products = _products(centred)
    nuclear = np.linalg.svd(products, compute_uv=False).sum(axis=2)
    known = norms > 0
    overlap = nuclear / np.where(known, norms, np.nan)[:, None] / np.where(known, norms, np.nan)
    return np.sqrt(np.maximum(2 - 2 * overlap, 0.0))


def rotation_onto(
    features: Float64[np.ndarray, "rows channels"], target: Float64[np.ndarray, "rows others"]
) -> Float64[np.ndarray, "channels others"]:
    """The rotation (or projection) Q that brings centred features nearest to centred targets.

    Of equal widths Q is orthogonal; otherwise its smaller side is orthonormal.
    """
    product = (features - features.mean(axis=0)).T @ (target - target.mean(axis=0))
    left, _, right = np.linalg.svd(product, full_matrices=False)
    return left @ right


def chosen_rows(count: int, most: int, *, seed: int = 0) -> Int64[np.ndarray, " rows"]:
    """Rows to compare where all would be too many: ascending, drawn without replacement."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def _centred(features: Features) -> Features:
    """Without the mean over rows; constant features become exactly zero."""
    centred = features - features.mean(axis=1, keepdims=True)
    left, size = (centred**2).mean(axis=(1, 2)), (features**2).mean(axis=(1, 2))
    constant = left <= NOTHING**2 * size
    return np.where(constant[:, None, None], 0.0, centred)


def _products(centred: Features) -> Float64[np.ndarray, "models models channels channels"]:
    """Xᵀ Y of every pair, as one product of matrices."""
    models, rows, width = centred.shape
    flat = centred.transpose(1, 0, 2).reshape(rows, models * width)
    every = (flat.T @ flat).reshape(models, width, models, width)
    return every.transpose(0, 2, 1, 3)


def _aligned(hsic: Matrix) -> Matrix:
    """Normalised by the diagonal; NaN where a model shares nothing with itself."""
    own = np.diag(hsic)
    own = np.where(own > 0, own, np.nan)
    return hsic / np.sqrt(np.outer(own, own))
