"""Two sets are told apart by their energies, and only where the energies tell."""

import numpy as np
import pytest

from mlffjax.structures.comparison import compare, problems


def moved(frame, step, *, numbers=(29, 29), energy=-7.0):
    positions = np.array([[0.0, 0.0, 0.0], [2.5 + 0.01 * step, 0.0, 0.0]])
    return frame(positions=positions, numbers=np.array(numbers, np.int32), energy=energy)


def test_shifts_of_elements_are_found_exactly(frame):
    own = {29: -3.0, 47: -2.0}
    shift = {29: 0.5, 47: -1.5}
    kinds = [(29, 29), (29, 47), (47, 47)]
    first = [moved(frame, 0, numbers=k, energy=sum(own[z] for z in k)) for k in kinds]
    second = [moved(frame, 1, numbers=k, energy=sum(own[z] + shift[z] for z in k)) for k in kinds]
    found = compare(first, second)
    # Energies are exactly linear, so only rounding is left.
    np.testing.assert_allclose(found.shifts, [0.5, -1.5], atol=1e-12)
    assert found.offset == pytest.approx(-0.5, abs=1e-12)
    assert "heat explains" in problems(found)[0]


def test_unknown_compositions_are_not_judged(frame):
    found = compare([moved(frame, 0)], [moved(frame, 1, numbers=(47, 47), energy=-90.0)])
    assert found.compared == 0
    assert np.isnan(found.shifts).all()
    assert problems(found) == ()


def test_units_are_named(frame):
    found = compare([moved(frame, 0, energy=-700.0)], [moved(frame, 1, energy=-700 / 27.2114)])
    assert "hartree" in problems(found)[0]
