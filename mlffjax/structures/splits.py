"""Cutting frames into training, validation and test parts."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pydantic

from mlffjax.config import Config
from mlffjax.errors import ConfigError, InputError
from mlffjax.structures.system import Frame

# Fewer frames than parts: such a trajectory is not cut.
PARTS = 3
ENTRY = "split"  # of a frame's info, for splits that are given


class SplitConfig(Config):
    """How to split.

    Attributes:
        kind: ``blocks`` cuts each trajectory in time; ``random`` draws single frames, which for
            molecular dynamics puts near copies of training frames into the test part; ``given``
            takes the entry ``split`` of each frame (train, validation or test) as it is, and the
            fractions mean nothing.
        validation: fraction of the frames that decides when to stop training.
        test: fraction of the frames that is only looked at in the end.
        seed: of the random kind; blocks need none.
    """

    kind: Literal["blocks", "random", "given"] = "blocks"
    validation: float = pydantic.Field(default=0.1, ge=0.0, lt=1.0)
    test: float = pydantic.Field(default=0.2, ge=0.0, lt=1.0)
    seed: int = pydantic.Field(default=0, ge=0)

    @pydantic.model_validator(mode="after")
    def _leave_some(self) -> "SplitConfig":
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation {self.validation} and test {self.test} leave nothing to train on; "
                "their sum must be below 1"
            )
        return self


class Split(NamedTuple):
    """Indices of frames, ascending; the three are disjoint and together are all frames."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


def split(frames: Sequence[Frame], config: SplitConfig) -> Split:
    """Assign every frame to one of three parts; the same input gives the same split.

    Blocks: each trajectory of at least three frames, sorted by ``order``, is cut into training,
    validation and test, in this sequence. Of n frames a part of fraction f gets f n rounded half
    up, at least one; if that leaves no frame to train on, the larger part gives. Shorter
    trajectories are not cut: in the order in which they appear they form a row that is cut like a
    trajectory, each falling whole into one part; one or two of them alone go to training, unless
    there is nothing else, in which case their frames are pooled.

    Random: the same counts, of all frames in a random permutation.

    Given: as the frames say.

    Raises:
        InputError: there are fewer frames than non-empty parts, or a frame does not say its part.
    """
    if config.kind == "given":
        return _given(frames)
    needed = 1 + (config.validation > 0) + (config.test > 0)
    if len(frames) < needed:
        raise InputError(
            f"expected at least {needed} frames to split into training, validation and test, got "
            f"{len(frames)}; add frames or set the fractions of validation and test to 0"
        )
    if config.kind == "random":
        order = np.random.default_rng(config.seed).permutation(len(frames))
        rows = [[[int(index)] for index in order]]
    elif config.kind == "blocks":
        rows = _rows(frames)
    else:
        raise ConfigError(
            f"unknown kind of split {config.kind!r}; expected one of 'blocks', 'random' and 'given'"
        )
    parts: tuple[list[int], ...] = ([], [], [])
    for row in rows:
        validation, test = _counts(len(row), config)
        train = len(row) - validation - test
        pieces = (row[:train], row[train : train + validation], row[train + validation :])
        for part, units in zip(parts, pieces, strict=True):
            part.extend(index for unit in units for index in unit)
    return Split(*(tuple(sorted(part)) for part in parts))


def _given(frames: Sequence[Frame]) -> Split:
    """What the entries say."""
    parts: dict[str, list[int]] = {name: [] for name in Split._fields}
    for index, frame in enumerate(frames):
        part = frame.info.get(ENTRY)
        if part not in parts:
            raise InputError(
                f"{frame.source}: expected an entry {ENTRY} of {', '.join(parts)}, got {part!r}; "
                "give every frame one, or choose another kind of split"
            )
        parts[part].append(index)
    if not parts["train"]:
        raise InputError(f"expected frames with {ENTRY}=train to learn from, got none")
    return Split(**{name: tuple(indices) for name, indices in parts.items()})


def _rows(frames: Sequence[Frame]) -> list[list[list[int]]]:
    """Sequences to cut, each of units that stay whole: frames, or short trajectories."""
    members: dict[str, list[int]] = defaultdict(list)
    for index, frame in enumerate(frames):
        members[frame.trajectory].append(index)
    sequences = [sorted(row, key=lambda index: frames[index].order) for row in members.values()]
    rows = [[[index] for index in row] for row in sequences if len(row) >= PARTS]
    short = [row for row in sequences if len(row) < PARTS]
    if not rows and len(short) < PARTS:
        short = [[index] for row in short for index in row]
    return [*rows, short] if short else rows


def _counts(units: int, config: SplitConfig) -> tuple[int, int]:
    """Sizes of validation and test out of a row of ``units``; at least one unit is left."""
    fractions = (config.validation, config.test)
    sizes = [max(1, int(units * f + 0.5)) if f > 0 else 0 for f in fractions]
    if units < 1 + sum(f > 0 for f in fractions):
        return 0, 0
    while sum(sizes) >= units:
        sizes[int(np.argmax(sizes))] -= 1
    return sizes[0], sizes[1]
