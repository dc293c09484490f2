import numpy as np
import pytest

from mlffjax.training.batches import Sample
from mlffjax.training.generic_data import mixed


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (0.0, []),
        (0.5, ["x", "y"]),
        (1.0, ["x", "y", "z"]),  # of three
        (2.5, ["x", "y", "z", "x", "y", "z", "x", "y"]),
    ],
)
def test_mixture_keeps_its_ratio_and_is_nested(ratio, expected):
    members = [Sample(letter, None, np.zeros((1, 3)), None) for letter in "abc"]  # type: ignore[arg-type]
    extra = [member._replace(system=letter) for member, letter in zip(members, "xyz", strict=True)]  # type: ignore[arg-type]
    both = mixed(members, extra=extra, ratio=ratio)
    assert [member.system for member in both] == [*"abc", *expected]
