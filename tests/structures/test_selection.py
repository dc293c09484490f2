import numpy as np
import pytest
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mlffjax.errors import InputError
from mlffjax.structures.builders import bulk
from mlffjax.structures.selection import (
    CUTOFF,
    SelectionConfig,
    _neighbours,
    descriptors,
    farthest_points,
    select,
)
from mlffjax.structures.system import System, from_ase, to_ase

TYPES = ("hot", "warm", "cold")
COUNTS = (9, 6, 4)
ALL = range(sum(COUNTS))


@pytest.fixture(scope="session")
def frames(frame):
    """Nine hot, six warm, four cold ones, in this order."""
    rng = np.random.default_rng(0)
    return [
        frame(config_type=kind, positions=np.array([[0, 0, 0], rng.uniform(1.5, 4.0, 3)]))
        for kind, count in zip(TYPES, COUNTS, strict=True)
        for _ in range(count)
    ]


@settings(deadline=None)
@given(
    st.integers(3, 11),
    st.sampled_from(["farthest_point", "random"]),
    st.sampled_from([None, "config_type"]),
)
def test_selections_are_nested_and_deterministic(frames, count, method, equal_by):
    small, large = (
        select(frames, ALL, SelectionConfig(count=n, method=method, equal_by=equal_by))
        for n in (count, count + 1)
    )
    assert large[:-1] == small
    assert len(set(large)) == count + 1


@pytest.mark.parametrize("method", ["farthest_point", "random"])
@pytest.mark.parametrize(("count", "each"), [(12, [4, 4, 4]), (7, [3, 2, 2]), (None, [4, 4, 4])])
def test_equal_parts(frames, method, count, each):
    chosen = select(
        frames, ALL, SelectionConfig(count=count, equal_by="config_type", method=method)
    )
    kinds = [frames[index].config_type for index in chosen]
    assert sorted((kinds.count(kind) for kind in TYPES), reverse=True) == each


def test_only_candidates_of_the_wanted_types(frames):
    config = SelectionConfig(config_types=("h*", "cold"))
    chosen = select(frames, range(5, 19), config)
    assert sorted(chosen) == [5, 6, 7, 8, *range(15, 19)]


@pytest.mark.parametrize(("fraction", "count"), [(0.5, 10), (0.05, 1), (0.001, 1), (1.0, 19)])
def test_fraction(frames, fraction, count):
    assert len(select(frames, ALL, SelectionConfig(fraction=fraction))) == count


def test_random_depends_on_the_seed(frames):
    first, second = (
        select(frames, ALL, SelectionConfig(count=9, method="random", seed=s)) for s in (0, 1)
    )
    assert first != second


def test_farthest_points_reach_the_ends_of_a_line_first():
    points = np.array([[0.0], [1.0], [2.0], [5.0], [10.0]])
    # Start nearest to the mean of 3.6, then the far end, then the other end.
    assert farthest_points(points, 3) == [3, 0, 4] or farthest_points(points, 3) == [3, 4, 0]
    assert sorted(farthest_points(points, 5)) == [0, 1, 2, 3, 4]


def test_copies_are_taken_last_and_once():
    points = np.array([[0.0], [0.0], [0.0], [1.0]])
    assert sorted(farthest_points(points, 4)) == [0, 1, 2, 3]


def test_descriptors_are_invariant():
    system = bulk(1)
    rng = np.random.default_rng(1)
    shaken = system._replace(positions=system.positions + rng.normal(scale=0.1, size=(5, 3)))
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    order = rng.permutation(5)
    same = [
        shaken,
        shaken._replace(positions=shaken.positions @ rotation, cell=shaken.cell @ rotation),
        shaken._replace(positions=shaken.positions[order], numbers=shaken.numbers[order]),
        shaken._replace(positions=shaken.positions + rng.integers(-2, 3, (5, 3)) @ shaken.cell),
        from_ase(to_ase(shaken) * (2, 2, 1)),
    ]
    rows = descriptors([*same, system])
    assert np.allclose(rows[:-1], rows[0], atol=1e-10)  # rounding of sums of some 1e3 terms
    assert np.linalg.norm(rows[-1] - rows[0]) > 1e-3


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, False, False)])
def test_neighbours_are_those_of_ase(pbc):
    rng = np.random.default_rng(2)
    cell = np.array([[4.0, 0, 0], [1.5, 5.0, 0], [-1.0, 2.0, 9.0]])
    places = rng.uniform(-12, 12, (7, 3))  # thinner than the cutoff, and atoms outside
    system = System(places, np.full(7, 29, np.int32), cell, np.array(pbc))
    first, second, distances = _neighbours(system)
    expected = neighbor_list("ijd", to_ase(system), CUTOFF)
    for ours, theirs in zip((first, second, distances), expected, strict=True):
        assert 2 * len(ours) == len(theirs)
    assert np.allclose(np.sort(np.tile(distances, 2)), np.sort(expected[2]), atol=1e-10)
    ours = np.bincount(np.concatenate([first, second]), minlength=7)
    assert np.array_equal(ours, np.bincount(expected[0], minlength=7))


@settings(deadline=None)
@given(st.integers(3, 12), st.sampled_from([(1.0, 1.0, 1.0), (3.0, 2.0, 1.0), (0.1, 0.2, 0.3)]))
def test_every_beginning_has_the_shares(frames, count, shares):
    chosen = select(
        frames, ALL, SelectionConfig(config_types=TYPES, shares=shares, method="random")
    )
    kinds = [frames[index].config_type for index in chosen[:count]]
    for kind, share in zip(TYPES, shares, strict=True):
        assert abs(kinds.count(kind) - share / sum(shares) * min(count, len(chosen))) <= 1


def test_shares_take_as_many_as_keep_them(frames):
    """Nine hot ones are three quarters of twelve."""
    config = SelectionConfig(config_types=("hot", "warm"), shares=(3.0, 1.0))
    kinds = [frames[index].config_type for index in select(frames, ALL, config)]
    assert (kinds.count("hot"), kinds.count("warm")) == (9, 3)
    half = select(frames, ALL, config.model_copy(update={"fraction": 0.5}))
    assert half == select(frames, ALL, config)[:6]


def test_first_pattern_takes_what_several_match(frames):
    config = SelectionConfig(config_types=("hot", "*"), shares=(1.0, 1.0), count=8)
    kinds = [frames[index].config_type for index in select(frames, ALL, config)]
    assert kinds.count("hot") == 4


def test_most_uncertain_frames_come_first(frames):
    scores = {index: float(index % 7) for index in ALL}
    config = SelectionConfig(method="uncertainty", count=5)
    assert select(frames, ALL, config, scores=scores) == (6, 13, 5, 12, 4)
    equal = SelectionConfig(method="uncertainty", equal_by="config_type", count=3)
    assert select(frames, ALL, equal, scores=scores) == (18, 6, 13)
    with pytest.raises(InputError, match="uncertainty of every candidate, got none"):
        select(frames, ALL, config)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"config_types": ("hot",), "shares": (1.0, 2.0)}, "got 2 shares and 1 config_types"),
        ({"shares": (1.0,)}, "got 1 shares and 0 config_types"),
        ({"config_types": ("hot",), "shares": (1.0,), "equal_by": "config_type"}, "exclude"),
        ({"config_types": ("hot",), "shares": (0.0,)}, "greater than 0"),
    ],
)
def test_shares_that_mean_nothing(entries, message):
    with pytest.raises(ValidationError, match=message):
        SelectionConfig(**entries)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SelectionConfig(config_types=("*", "hot"), shares=(1.0, 1.0)), "order the patterns"),
        (SelectionConfig(config_types=("600K",)), "'600K', got none among 19.*cold, hot, warm"),
        (SelectionConfig(count=20), "a count from 1 to 19, got 20"),
        (SelectionConfig(count=13, equal_by="config_type"), "from 3 to 12 in equal parts from 3"),
        (SelectionConfig(count=2, equal_by="config_type"), "from 3 to 12"),
    ],
)
def test_impossible_selections(frames, config, message):
    with pytest.raises(InputError, match=message):
        select(frames, ALL, config)


def test_nothing_to_select_from(frames):
    with pytest.raises(InputError, match="got none"):
        select(frames, (), SelectionConfig())


def test_fraction_and_count_exclude_each_other():
    with pytest.raises(ValidationError, match="exclude each other"):
        SelectionConfig(fraction=0.5, count=3)
