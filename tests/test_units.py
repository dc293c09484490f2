"""Factors equal those of ASE, which uses the same set of constants."""

import ase.units
import pytest

from mlffjax import units


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (units.KB, ase.units.kB),
        (units.FS, ase.units.fs),
        (units.GPA, ase.units.GPa),
        (units.BAR, ase.units.bar),
    ],
)
def test_factors_equal_those_of_ase(ours, theirs):
    # The same constants in another order of operations: a few roundings.
    assert ours == pytest.approx(theirs, rel=1e-14)
