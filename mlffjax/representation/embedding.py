"""Pictures of many dimensions in two, and how separate labelled groups are in all of them.

``tsne`` and ``umap`` are pictures only: neither distances nor sizes of clusters in them mean
anything (Wattenberg et al., Distill 2016, doi:10.23915/distill.00002). ``silhouette`` measures in
the space it is given, with the mean over random permutations of the labels beside it. The null
supposes independent rows: frames of a trajectory that follow each other closely make it too narrow,
so thin them by their correlation time first.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import pairwise_distances

from mlffjax.errors import InputError, MissingExtra

FEATURES = 50  # components kept before distances are taken
AT_ONCE = 2e7  # numbers held while permuted labels are averaged

Rows = Float64[np.ndarray, "rows columns"]


def standardised(rows: Rows) -> Rows:
    """Every column to mean 0 and standard deviation 1; constant columns are left out.

    Raises:
        InputError: no rows, or values that are not finite.
    """
    rows = _checked(rows)
    deviation = rows.std(axis=0)
    # Rounding leaves columns of equal values a deviation of some 1e-16 of their size.
    kept = deviation > 1e-12 * np.abs(rows).max(axis=0, initial=0.0)
    return (rows[:, kept] - rows[:, kept].mean(axis=0)) / deviation[kept]


class Components(NamedTuple):
    """Principal components of rows."""

    scores: Rows  # [rows, components]
    explained: Float64[np.ndarray, " components"]  # part of the variance


def components(rows: Rows, count: int = FEATURES) -> Components:
    """The leading principal components, at most as many as there can be; signs are fixed.

    Raises:
        InputError: fewer than two rows, or values that are not finite.
    """
    rows = _checked(rows)
    if len(rows) < 2 or not rows.shape[1]:
        raise InputError(
            f"expected at least 2 rows and a column that varies, got shape {rows.shape}"
        )
    model = PCA(min(count, *rows.shape), svd_solver="full")
    return Components(model.fit_transform(rows), model.explained_variance_ratio_)


def tsne(
    rows: Rows, *, perplexity: float = 30.0, learning_rate: float = 200.0, seed: int = 0
) -> Float64[np.ndarray, "rows 2"]:
    """t-SNE in two dimensions, started from principal components; equal seeds, equal pictures.

    van der Maaten and Hinton, J. Mach. Learn. Res. 9, 2579 (2008). The defaults are the paper's.

    Raises:
        InputError: not more rows than the perplexity, or values that are not finite.
    """
    rows = _checked(rows)
    if len(rows) <= perplexity:
        raise InputError(
            f"t-SNE: expected more than {perplexity:g} rows (its perplexity), got {len(rows)}; "
            "take more structures or a smaller perplexity"
        )
    model = TSNE(
        perplexity=perplexity,
        learning_rate=learning_rate,  # pyright: ignore[reportArgumentType]: inferred from "auto"
        init="pca",
        random_state=seed,
    )
    return np.asarray(model.fit_transform(rows), np.float64)


def umap(rows: Rows, *, neighbors: int = 15, seed: int = 0) -> Float64[np.ndarray, "rows 2"]:
    """UMAP in two dimensions (McInnes, Healy and Melville, arXiv:1802.03426).

    Raises:
        InputError: not more rows than neighbours, or values that are not finite.
        MissingExtra: umap-learn is not installed.
    """
    rows = _checked(rows)
    if len(rows) <= neighbors:
        raise InputError(
            f"UMAP: expected more than {neighbors} rows (its neighbours), got {len(rows)}; take "
            "more structures or fewer neighbours"
        )
    try:
        from umap import UMAP  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtra(
            "UMAP needs umap-learn; install it with pip install 'mlffjax[representation]'"
        ) from error
    model: Any = UMAP(n_neighbors=neighbors, random_state=seed, n_jobs=1)
    return np.asarray(model.fit_transform(rows), np.float64)


class Silhouette(NamedTuple):
    """How much nearer rows are to their own group than to the next; from -1 to 1.

    Attributes:
        score: mean over all rows; NaN with ``reason`` if there is nothing to separate.
        groups: mean over the rows of each label.
        null: mean score of permuted labels.
        null_spread: standard deviation of those scores.
        p_value: part of permutations (and the labels themselves) that score at least as high.
        reason: why there is no score.
    """

    score: float
    groups: dict[str, float]
    null: float
    null_spread: float
    p_value: float
    reason: str = ""


def silhouette(
    rows: Rows, labels: Sequence[str] | np.ndarray, *, permutations: int = 200, seed: int = 0
) -> Silhouette:
    """Silhouette of labelled rows (Rousseeuw 1987, doi:10.1016/0377-0427(87)90125-7) and its null.

    Rows that are the only ones of their label score 0, as by convention.

    Raises:
        InputError: as many labels as rows are needed; values that are not finite.
    """
    rows = _checked(rows)
    names, place = np.unique(np.asarray(labels, str), return_inverse=True)
    if len(place) != len(rows):
        raise InputError(f"expected {len(rows)} labels, one a row, got {len(place)}")
    if not 2 <= len(names) < len(rows):
        nothing = float("nan")
        reason = f"expected from 2 to {len(rows) - 1} labels among {len(rows)} rows, got "
        reason += f"{len(names)}" + (f" ({names[0]})" if len(names) == 1 else "")
        return Silhouette(nothing, {}, nothing, nothing, nothing, reason)
    distances = pairwise_distances(rows)
    own = _scores(distances, place[None], len(names))[0]
    rng = np.random.default_rng(seed)
    shuffled = rng.permuted(np.tile(place, (permutations, 1)), axis=1)
    null = _mean_scores(distances, shuffled, len(names))
    score = float(own.mean())
    return Silhouette(
        score,
        {str(name): float(own[place == k].mean()) for k, name in enumerate(names)},
        float(null.mean()) if permutations else float("nan"),
        float(null.std(ddof=1)) if permutations > 1 else float("nan"),
        float((1 + (null >= score).sum()) / (1 + permutations)),
    )


def _mean_scores(distances: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Mean silhouette of each row of labels, as many at once as memory allows."""
    step = max(1, int(AT_ONCE / (count * len(distances))))
    parts = [
        _scores(distances, labels[first : first + step], count).mean(axis=1)
        for first in range(0, len(labels), step)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def _scores(distances: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Silhouette of every row for every labelling; labels i[labellings, rows]."""
    member = labels[..., None] == np.arange(count)  # [labellings, rows, labels]
    sums = np.einsum("ij,pjk->pik", distances, member.astype(float), optimize=True)
    sizes = member.sum(axis=1, keepdims=True)  # [labellings, 1, labels]
    own_size = np.where(member, sizes, 0).sum(axis=2)
    inside = np.where(member, sums, 0).sum(axis=2) / np.maximum(own_size - 1, 1)
    outside = np.where(member | (sizes == 0), np.inf, sums / np.maximum(sizes, 1)).min(axis=2)
    larger = np.maximum(inside, outside)
    score = np.where(larger > 0, (outside - inside) / np.where(larger > 0, larger, 1), 0.0)
    return np.where(own_size > 1, score, 0.0)


def _checked(rows: Rows) -> Rows:
    rows = np.asarray(rows, np.float64)
    if rows.ndim != 2 or not len(rows):
        raise InputError(f"expected a table [rows, columns] with rows, got shape {rows.shape}")
    if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise InputError(f"expected finite features, got NaN or infinities in row {bad}")
    return rows
