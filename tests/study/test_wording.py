import pytest

from mlffjax.study.wording import quantity


@pytest.mark.parametrize(
    ("value", "unit", "spread", "expected"),
    [
        (0.0372, "eV/Å", 0.0006, "37.2 ± 0.6 meV/Å"),
        (4.1, "eV", None, "4.1 eV"),
        (0.0005, "eV/atom", 0.0, "0.5 ± 0 meV/atom"),
        (0.95, "", None, "0.95"),
        (0.05, "", None, "0.05"),
    ],
)
def test_numbers_come_in_a_unit_that_suits_their_size(value, unit, spread, expected):
    assert quantity(value, unit, spread=spread) == expected
