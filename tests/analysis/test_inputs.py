from typing import Any

import numpy as np
import pytest

from mlffjax.analysis import inputs
from mlffjax.errors import InputError


def test_interval():
    assert inputs.interval(np.arange(5) * 2.5, 5) == 2.5
    with pytest.raises(InputError, match="20 fs and then 20 fs at frame 3"):
        inputs.interval(np.array([0.0, 10, 20, 20]), 4)
    with pytest.raises(InputError, match="steps of 20 fs at frame 1"):
        inputs.interval(np.array([0.0, 10, 30, 40, 50]), 5)
    with pytest.raises(InputError, match="4 times"):
        inputs.interval(np.arange(3.0), 4)
    with pytest.raises(InputError, match="finite times"):
        inputs.interval(np.array([0, np.nan]), 2)


def test_rounded_times_are_equally_spaced():
    assert inputs.interval(np.round(np.arange(50) / 3, 4), 50) == pytest.approx(1 / 3, rel=1e-5)


def test_frames():
    assert inputs.checked_frames(np.zeros((2, 4, 3))) == (2, 4)
    for shape in ((2, 3), (2, 0, 3), (2, 4, 2)):
        with pytest.raises(InputError, match="same atoms in all frames"):
            inputs.checked_frames(np.zeros(shape))
    with pytest.raises(InputError, match="at least 2 frames"):
        inputs.checked_frames(np.zeros((1, 4, 3)))


def test_species():
    numbers = np.array([24, 52, 52])
    assert inputs.atoms_of(numbers, "Te").tolist() == [False, True, True]
    assert inputs.atoms_of(numbers, 24).tolist() == [True, False, False]
    assert inputs.symbol(51) == "Sb"
    with pytest.raises(InputError, match="species present, Cr, Te, got 'Sb'"):
        inputs.atoms_of(numbers, "Sb")
    wrong: Any
    for wrong in ("Q", "X", 0, 119, 2.5):
        with pytest.raises(InputError, match="chemical symbol"):
            inputs.atomic_number(wrong)


def test_cells_and_masses():
    assert inputs.checked_cells(np.eye(3), 7).shape == (7, 3, 3)
    with pytest.raises(InputError, match="without"):
        inputs.checked_cells(np.diag([1.0, 1.0, 0.0]), 2)
    for wrong in (np.array([1.0, 0.0]), np.array([1.0])):
        with pytest.raises(InputError, match="2 positive masses"):
            inputs.checked_masses(wrong, 2)
