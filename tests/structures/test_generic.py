from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlffjax.structures import datasets, generic


@pytest.fixture(scope="module")
def bundled():
    return datasets.load(generic.bundled(), Path())


def check(frames, parts):
    assert sorted((*parts.learn, *parts.held)) == list(range(len(frames)))
    groups = [{frames[i].trajectory for i in part} for part in parts]
    assert not groups[0] & groups[1]


def test_bundled_structures_are_halved_within_each_family(bundled):
    parts = generic.halves(bundled.frames)
    check(bundled.frames, parts)
    assert len(bundled.frames) == 80
    assert abs(len(parts.learn) - len(parts.held)) <= 4
    counts = [Counter(bundled.frames[i].config_type for i in part) for part in parts]
    for kind in counts[0] | counts[1]:
        assert abs(counts[0][kind] - counts[1][kind]) <= 2


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), min_size=1, max_size=40))
def test_groups_stay_whole_and_halves_nearly_equal(frame, made):
    frames = [frame(config_type=kind, trajectory=f"{kind}{group}") for kind, group in made]
    parts = generic.halves(frames)
    check(frames, parts)
    assert parts == generic.halves(frames)
    largest = max(Counter(f.trajectory for f in frames).values())
    for kind in "abc":
        sizes = [sum(frames[i].config_type == kind for i in part) for part in parts]
        # A greedy choice is never off by more than the last group it placed.
        assert abs(sizes[0] - sizes[1]) <= largest


def test_reference_of_the_bundled_set_is_that_of_the_bundled_foundation():
    """Otherwise its reference energies could not be kept."""
    from mlffjax.config import resolve_path
    from mlffjax.potential import store

    _, card = store.load(resolve_path("bundled:generalist", Path()))
    assert card.reference == generic.REFERENCE
