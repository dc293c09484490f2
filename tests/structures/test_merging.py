"""Merging keeps what one method labelled, and refuses the rest."""

import numpy as np
import pytest

from mlffjax.errors import CompatibilityError, InputError
from mlffjax.structures.merging import merge
from mlffjax.structures.system import Frame, System


def frame(name: str, distance: float, energy: float, numbers=(51, 52)) -> Frame:
    count = len(numbers)
    return Frame(
        system=System(
            positions=np.array([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]])[:count],
            numbers=np.array(numbers, np.int32),
            cell=np.eye(3) * 12.0,
            pbc=np.array([True, True, True]),
        ),
        energy=energy,
        forces=np.zeros((count, 3)),
        stress=None,
        config_type="warm" if count > 1 else "IsolatedAtom",
        trajectory=name,
        order=0.0,
        identifier=name,
        source=name,
        info={},
    )


FIRST = [frame("a", 2.6, -6.0), frame("b", 2.8, -6.1)]
ATOM = frame("atom", 0.0, -1.5, numbers=(51,))


def test_sets_follow_each_other_with_one_energy_of_each_atom():
    second = [ATOM._replace(source="again"), frame("c", 3.0, -6.05)]
    merged = merge([[ATOM, *FIRST], second])
    assert [one.source for one in merged] == ["atom", "a", "b", "c"]


def test_another_reference_is_refused_unless_known_to_be_the_same():
    shifted = [frame("c", 3.0, -16.0)]  # 5 eV/atom below, at equal composition
    with pytest.raises(CompatibilityError, match="c: expected the reference method"):
        merge([FIRST, shifted])
    assert len(merge([FIRST, shifted], compare=False)) == 3


def test_contradicting_atoms_are_refused():
    with pytest.raises(CompatibilityError, match="atom"):
        merge([[ATOM, *FIRST], [ATOM._replace(energy=-3.0)]])


def test_a_structure_that_occurs_twice_is_refused():
    with pytest.raises(InputError, match="a"):
        merge([FIRST, [frame("copy", 2.6, -6.0)]])
