import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mlffjax.errors import InputError
from mlffjax.structures.splits import SplitConfig, split

FRACTIONS = st.sampled_from(
    [(0.1, 0.2), (0.0, 0.2), (0.1, 0.0), (0.0, 0.0), (0.3, 0.3), (0.05, 0.9)]
)
LENGTHS = st.lists(st.integers(1, 17), min_size=1, max_size=8)


@pytest.fixture(scope="session")
def trajectories(frame):
    def make(lengths):
        return [
            frame(trajectory=f"t{number}", order=float(step), identifier=f"{number}-{step}")
            for number, length in enumerate(lengths)
            for step in range(length)
        ]

    return make


def enough(frames, config):
    return len(frames) >= 1 + (config.validation > 0) + (config.test > 0)


@given(LENGTHS, FRACTIONS, st.sampled_from(["blocks", "random"]), st.integers(0, 5))
def test_parts_are_disjoint_complete_and_not_empty(trajectories, lengths, fractions, kind, seed):
    frames = trajectories(lengths)
    config = SplitConfig(kind=kind, validation=fractions[0], test=fractions[1], seed=seed)
    if not enough(frames, config):
        with pytest.raises(InputError, match="expected at least"):
            split(frames, config)
        return
    parts = split(frames, config)
    assert sorted(index for part in parts for index in part) == list(range(len(frames)))
    assert all(list(part) == sorted(part) for part in parts)
    assert len(parts.train) > 0
    assert (len(parts.validation) > 0) == (config.validation > 0)
    assert (len(parts.test) > 0) == (config.test > 0)
    assert split(frames, config) == parts


@given(LENGTHS, st.sampled_from([(0.1, 0.2), (0.3, 0.3)]))
def test_blocks_follow_each_other_in_every_trajectory(trajectories, lengths, fractions):
    frames = trajectories(lengths)
    config = SplitConfig(validation=fractions[0], test=fractions[1])
    if not enough(frames, config):
        return
    part_of = {index: k for k, part in enumerate(split(frames, config)) for index in part}
    for number, length in enumerate(lengths):
        parts = [part_of[i] for i in range(len(frames)) if frames[i].trajectory == f"t{number}"]
        assert parts == sorted(parts)  # train, then validation, then test
        if length >= 3:
            assert set(parts) == {0, 1, 2}
        elif len(lengths) >= 3:
            assert len(set(parts)) == 1  # too short to be cut


@given(LENGTHS, st.randoms(use_true_random=False))
def test_blocks_do_not_depend_on_the_order_of_frames_in_a_trajectory(trajectories, lengths, random):
    frames = trajectories(lengths)
    config = SplitConfig()
    if not enough(frames, config):
        return
    names = [[frames[i].identifier for i in part] for part in split(frames, config)]
    # Shuffle in time; trajectories keep their sequence, which decides where short ones go.
    shuffled = sorted(frames, key=lambda frame: (frame.trajectory, random.random()))
    again = [{shuffled[i].identifier for i in part} for part in split(shuffled, config)]
    assert again == [set(part) for part in names]


@pytest.mark.parametrize(
    ("length", "counts"),
    [(3, (1, 1, 1)), (4, (2, 1, 1)), (8, (5, 1, 2)), (16, (11, 2, 3)), (100, (70, 10, 20))],
)
def test_sizes(trajectories, length, counts):
    assert tuple(len(part) for part in split(trajectories([length]), SplitConfig())) == counts


def test_random_depends_on_the_seed(trajectories):
    frames = trajectories([50])
    first, second = (split(frames, SplitConfig(kind="random", seed=seed)) for seed in (0, 1))
    assert first.test != second.test


@pytest.mark.parametrize(
    "bad", [{"validation": 0.5, "test": 0.5}, {"test": -0.1}, {"kind": "both"}]
)
def test_impossible_configurations(bad):
    with pytest.raises(ValidationError):
        SplitConfig(**bad)


def test_given_parts_are_taken_as_they_are(frame):
    parts = ("test", "train", "validation", "train")
    frames = [frame(order=float(i), info={"split": part}) for i, part in enumerate(parts)]
    found = split(frames, SplitConfig(kind="given", validation=0.5))
    assert found == ((1, 3), (2,), (0,))
    with pytest.raises(InputError, match=r"entry split.*got 'exam'"):
        split([*frames, frame(info={"split": "exam"})], SplitConfig(kind="given"))
    with pytest.raises(InputError, match="split=train"):
        split(frames[:1], SplitConfig(kind="given"))
