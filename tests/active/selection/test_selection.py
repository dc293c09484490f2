"""Kinds of selection against brute force."""

import itertools

import numpy as np
import pytest

from mlffjax.active.selection import (
    at_random,
    d_optimal,
    farthest_point,
    force_disagreement,
    uniform_in_time,
)
from mlffjax.active.selection._selection import Pool, diverse, features_of
from mlffjax.errors import InputError
from mlffjax.registry import kinds, resolve

SIZE, COLUMNS = 12, 4


@pytest.fixture
def pool(rng):
    forces = rng.normal(size=(3, 2 * SIZE, 3))
    return Pool(
        trajectory=np.arange(SIZE) % 2,
        order=np.arange(SIZE, 0, -1).astype(float),
        features=rng.normal(size=(SIZE, COLUMNS)),
        known=rng.normal(size=(3, COLUMNS)),
        forces=forces,
        atom_candidate=np.repeat(np.arange(SIZE), 2),
        rigidity=rng.uniform(size=SIZE),
    )


@pytest.mark.parametrize("kind", kinds("active.selection"))
@pytest.mark.parametrize("count", [1, 5, SIZE, SIZE + 3])
def test_every_kind_gives_as_many_as_asked_each_once(kind, count, pool):
    module = resolve("active.selection", kind)
    chosen = module.select(module.example(), pool, count, 0)
    assert len(chosen.indices) == len(set(chosen.indices)) == min(count, SIZE)
    assert set(chosen.indices) <= set(range(SIZE))
    assert chosen.indices == module.select(module.example(), pool, count, 0).indices


def test_farthest_points_are_those_of_brute_force(pool):
    features, known = features_of(pool)
    taken: list[int] = []
    for _ in range(6):
        against = [*known, *(features[i] for i in taken)]
        gaps = {
            i: min(np.linalg.norm(features[i] - other) for other in against)
            for i in range(SIZE)
            if i not in taken
        }
        taken.append(max(gaps, key=gaps.__getitem__))
    assert farthest_point.select(farthest_point.example(), pool, 6, 0).indices == tuple(taken)


def test_without_labels_the_first_point_is_nearest_to_the_mean(pool):
    features, _ = features_of(pool._replace(known=None))
    first = np.linalg.norm(features - features.mean(axis=0), axis=1).argmin()
    chosen = farthest_point.select(farthest_point.example(), pool._replace(known=None), 3, 0)
    assert chosen.indices[0] == first


def test_d_optimal_takes_the_largest_gain_of_the_determinant_every_time(pool):
    config = d_optimal.Config(ridge=0.3)
    chosen = d_optimal.select(config, pool, 5, 0)
    features, known = features_of(pool)
    start = 0.3 * np.eye(COLUMNS) + known.T @ known

    def determinant(rows):
        return np.linalg.slogdet(start + features[list(rows)].T @ features[list(rows)])[1]

    taken: list[int] = []
    for index in chosen.indices:
        rest = [i for i in range(SIZE) if i not in taken]
        assert index == max(rest, key=lambda i: determinant([*taken, i]))
        taken.append(index)
    gains = [determinant([i]) - np.linalg.slogdet(start)[1] for i in range(SIZE)]
    # Two ways to the same number in double precision.
    assert chosen.scores is not None
    np.testing.assert_allclose(chosen.scores, gains, rtol=1e-10)
    best = max(determinant(rows) for rows in itertools.combinations(range(SIZE), 3))
    empty = np.linalg.slogdet(start)[1]
    assert determinant(chosen.indices[:3]) - empty >= (1 - 1 / np.e) * (best - empty)


def test_random_is_nested_and_reproducible(pool):
    draw = at_random.example()
    few, many = (at_random.select(draw, pool, n, 7).indices for n in (3, 9))
    assert many[:3] == few
    assert at_random.select(draw, pool, 9, 8).indices != many


def test_uniform_in_time_spaces_evenly_within_each_trajectory(pool):
    chosen = uniform_in_time.select(uniform_in_time.example(), pool, 4, 0).indices
    # Trajectory 0 holds even candidates, latest first: in time 10 8 6 4 2 0, then 11 9 7 5 3 1.
    assert chosen == (8, 2, 9, 3)


def test_disagreement_is_the_largest_spread_on_an_atom(pool):
    chosen = force_disagreement.select(force_disagreement.example(), pool, 3, 0)
    expected = []
    for candidate in range(SIZE):
        own = pool.forces[:, 2 * candidate : 2 * candidate + 2]
        spreads = [
            np.sqrt(np.mean([np.sum((f - own[:, a].mean(axis=0)) ** 2) for f in own[:, a]]))
            for a in range(2)
        ]
        expected.append(max(spreads))
    assert chosen.scores is not None
    np.testing.assert_allclose(chosen.scores, expected, rtol=1e-12)
    assert chosen.indices[0] == np.argmax(expected)
    # Three of the upper fifth of twelve, which are three.
    assert set(chosen.indices) == set(np.argsort(expected)[-3:])


def test_a_batch_avoids_copies_of_the_best(pool):
    features = pool.features.copy()
    features[1] = features[0]
    scores = np.zeros(SIZE)
    scores[[0, 1, 2]] = 3.0, 2.9, 2.5
    chosen = diverse(scores, pool._replace(features=features), 2, 0.76)
    assert chosen == (0, 2)


@pytest.mark.parametrize("members", [None, 1])
def test_a_committee_of_one_is_refused(members, pool):
    pool = pool._replace(forces=None if members is None else pool.forces[:1])
    with pytest.raises(InputError, match="at least 2 potentials"):
        force_disagreement.select(force_disagreement.example(), pool, 2, 0)


def test_features_must_be_finite(pool):
    pool.features[4, 1] = np.nan
    with pytest.raises(InputError, match="candidate 4"):
        farthest_point.select(farthest_point.example(), pool, 2, 0)
    with pytest.raises(InputError, match="got none"):
        d_optimal.select(d_optimal.example(), pool._replace(features=None), 2, 0)
