import numpy as np
import pytest

from mlffjax.structures import dimers


def test_every_pair_once():
    assert dimers.pairs((52, 24, 51)) == (
        (24, 24), (24, 51), (24, 52), (51, 51), (51, 52), (52, 52),
    )  # fmt: skip
    assert dimers.pairs(()) == ()
    assert dimers.label((24, 52)) == "Cr-Te"


def test_distances_count_in_sums_of_covalent_radii():
    # Cordero et al., doi:10.1039/b801115j: Cr 1.39 Å, Te 1.38 Å.
    distance = dimers.distances((24, 52))
    assert distance[[0, -1]] == pytest.approx([0.8 * 2.77, 2.5 * 2.77])
    assert np.abs(distance - 2.77).min() < 1e-12


def test_curves_hold_two_atoms_at_these_distances():
    systems = dimers.curve((51, 52))
    apart = [np.linalg.norm(s.positions[1] - s.positions[0]) for s in systems]
    np.testing.assert_allclose(apart, dimers.distances((51, 52)))
    assert all(s.numbers.tolist() == [51, 52] and not s.pbc.any() for s in systems)
