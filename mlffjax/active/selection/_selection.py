"""What kinds of selection are given and give back, and what several of them do."""

from typing import ClassVar, NamedTuple

import numpy as np
import pydantic
from jaxtyping import Float64, Int

from mlffjax import config
from mlffjax.errors import InputError


class Section(config.Config):
    """Base of the ``Config`` of every kind."""

    needs: ClassVar[frozenset[str]] = frozenset()
    """Of {"features", "forces", "rigidity"}: parts of the pool that must be there."""


class Scored(Section):
    """Base of kinds that give every candidate a score; a batch of the best must not be copies."""

    quantile: float = pydantic.Field(default=0.8, ge=0.0, lt=1.0)
    """The batch is spread, by farthest points, over candidates whose score is at least this
    quantile of all scores; more of them where the batch needs more."""


class Pool(NamedTuple):
    """Candidates, as arrays; ``None`` where no kind in use needs it.

    Attributes:
        trajectory: number of the trajectory or path each candidate belongs to.
        order: time or place in it.
        features: of each candidate.
        known: of the structures that have labels.
        forces: of each member of a committee on the atoms of all candidates, eV/Å.
        atom_candidate: candidate that each atom belongs to.
        rigidity: largest spread of the force on an atom that the last layer of one model, trained
            on what has labels, leaves open (``potential.rigidity``); up to a common factor.
    """

    trajectory: Int[np.ndarray, " candidates"]
    order: Float64[np.ndarray, " candidates"]
    features: Float64[np.ndarray, "candidates columns"] | None = None
    known: Float64[np.ndarray, "labelled columns"] | None = None
    forces: Float64[np.ndarray, "members atoms 3"] | None = None
    atom_candidate: Int[np.ndarray, " atoms"] | None = None
    rigidity: Float64[np.ndarray, " candidates"] | None = None


class Chosen(NamedTuple):
    """Candidates in the order of choice, and the score of every candidate if the kind has one."""

    indices: tuple[int, ...]
    scores: Float64[np.ndarray, " candidates"] | None = None


def features_of(pool: Pool) -> tuple[np.ndarray, np.ndarray]:
    """Features of candidates and of labelled structures, each column scaled to unit deviation.

    Raises:
        InputError: there are none, or one is not finite; the message names the candidate.
    """
    if pool.features is None:
        raise InputError("expected features of the candidates, got none; compute them first")
    columns = pool.features.shape[1]
    known = np.zeros((0, columns)) if pool.known is None else pool.known
    for name, rows in (("candidate", pool.features), ("labelled structure", known)):
        wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(wrong):
            raise InputError(
                f"expected finite features, got NaN or infinity for {name} {wrong[0]} "
                f"({len(wrong)} in all); leave these structures out"
            )
    spread = np.concatenate([pool.features, known]).std(axis=0)
    # A column that only rounding varies says nothing and must not be blown up.
    large = spread > 1e-12 * max(1.0, float(spread.max(initial=0.0)))
    scale = np.where(large, 1 / np.where(large, spread, 1.0), 0.0)
    return pool.features * scale, known * scale


def farthest(
    points: Float64[np.ndarray, "points columns"],
    known: Float64[np.ndarray, "known columns"],
    count: int,
    *,
    first: int | None = None,
) -> tuple[int, ...]:
    """Repeatedly the point farthest from those taken and those known; ties to the lowest index.

    Args:
        points: to choose from.
        known: taken before; without any, the first point is the one nearest to the mean.
        count: at most as many as there are points are taken.
        first: point to begin with in any case.

    References:
        Gonzalez, Theor. Comput. Sci. 38, 293 (1985), doi:10.1016/0304-3975(85)90224-5.
    """
    nearest = np.full(len(points), np.inf)
    for row in known:
        nearest = np.minimum(nearest, np.linalg.norm(points - row, axis=1))
    taken: list[int] = []
    while len(taken) < min(count, len(points)):
        if not taken and first is not None:
            new = first
        elif not taken and not len(known):
            new = int(np.argmin(np.linalg.norm(points - points.mean(axis=0), axis=1)))
        else:
            new = int(np.argmax(nearest))
        taken.append(new)
        nearest = np.minimum(nearest, np.linalg.norm(points - points[new], axis=1))
        nearest[taken] = -1.0  # copies of a taken point have distance 0 and may still be needed
    return tuple(taken)


def diverse(
    scores: Float64[np.ndarray, " candidates"], pool: Pool, count: int, quantile: float
) -> tuple[int, ...]:
    """The candidate with the highest score, then farthest points among those with high scores."""
    features, _ = features_of(pool)
    ranked = np.argsort(-scores, kind="stable")
    good = int((scores >= np.quantile(scores, quantile)).sum())
    top = ranked[: max(good, min(count, len(scores)))]
    chosen = farthest(features[top], np.zeros((0, features.shape[1])), count, first=0)
    return tuple(int(top[index]) for index in chosen)
