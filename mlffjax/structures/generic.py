"""Generic structures: a part to remember other materials by, and a part to measure that with.

Strategies that mix generic structures into fine-tuning may learn from one half only; what a model
has forgotten is measured on the other. A start and everything derived from it (``trajectory`` of
the frames) is in one half as a whole.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from mlffjax.structures.datasets import DataConfig
from mlffjax.structures.system import Frame

FILE = "bundled:generic/cr_sb_te.xyz"
REFERENCE = "SevenNet-0 (11July2024), which was trained on MPtrj: VASP, PBE, PAW; spin-polarised"
"""The text of the bundled generalist's card: both have the labels of one teacher."""


class Halves(NamedTuple):
    """Indices of frames, ascending; together all frames."""

    learn: tuple[int, ...]
    held: tuple[int, ...]


def bundled() -> DataConfig:
    """The generic structures of Cr, Sb and Te that come with the package."""
    return DataConfig(files=(FILE,), reference=REFERENCE, functional="PBE")


def halves(frames: Sequence[Frame]) -> Halves:
    """Cut frames into a half to learn from and a half to measure with; equal input, equal halves.

    Groups of frames, large ones first, go where they make the numbers of frames of each config type
    least unequal, ties to the half to learn from. A single group is all to learn from.
    """
    groups: dict[str, list[int]] = {}
    for index, frame in enumerate(frames):
        groups.setdefault(frame.trajectory, []).append(index)
    excess: Counter[str] = Counter()  # frames to learn from minus those held, by config type
    learn: list[int] = []
    held: list[int] = []
    for _, group in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        kinds = Counter(frames[index].config_type for index in group)
        # Moving n frames of a kind changes its squared excess by +-2 n excess, beside n squared.
        lean = sum(count * excess[kind] for kind, count in kinds.items())
        lean = lean or sum(excess.values())
        sign = 1 if lean <= 0 else -1
        (learn if sign > 0 else held).extend(group)
        for kind, count in kinds.items():
            excess[kind] += sign * count
    return Halves(tuple(sorted(learn)), tuple(sorted(held)))
