import numpy as np
from ase.build import bulk

from mlffjax.structures.system import from_ase, to_ase


def test_round_trip_keeps_everything_but_the_calculator():
    atoms = bulk("Cu") * (2, 1, 1)
    atoms.pbc = (True, True, False)
    atoms.positions[0] -= 30.0  # outside the cell: must not be wrapped
    again = to_ase(from_ase(atoms))
    assert np.array_equal(again.positions, atoms.positions)
    assert np.array_equal(again.cell.array, atoms.cell.array)
    assert again.pbc.tolist() == [True, True, False]
    assert str(again.symbols) == str(atoms.symbols)


def test_types_and_independence():
    atoms = bulk("Cu")
    system = from_ase(atoms)
    atoms.positions += 1.0
    assert [array.dtype for array in system] == [np.float64, np.int32, np.float64, bool]
    assert not system.positions.any()
