"""Transforms keep order and have the limits they are made for."""

import jax
import numpy as np
import pytest
from ase.data import covalent_radii

from mlffjax.potential.mace.transforms import TRANSFORMS, radii_sums


def test_radii_of_both_ends_are_added():
    receivers, senders = np.array([0, 1]), np.array([[1, 1], [0, 1]])
    sums = radii_sums((24, 52), receivers, senders, np.dtype(np.float64))
    cr, te = covalent_radii[[24, 52]]
    np.testing.assert_array_equal(sums, [[cr + te, cr + te], [cr + te, te + te]])


@pytest.mark.parametrize(
    ("name", "first", "last"),
    # Agnesi falls from 1 to 0; Soft goes over from 3/4 of the bond length 2.7 to the distance.
    [("Agnesi", 1.0, 0.0), ("Soft", 0.75 * 2.7, 50.0)],
)
def test_limits(name, first, last):
    transform = TRANSFORMS[name]
    distances = np.array([1e-3, 50.0])
    found = transform.function(distances, np.array(2.7), transform.constants)
    # What remains is s^p for Agnesi, exp(-alpha ...) = 1e-3 for Soft.
    np.testing.assert_allclose(found, [first, last], atol=0.05)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_they_are_monotonic_and_differentiable(name):
    transform = TRANSFORMS[name]

    def of(r):
        return transform.function(r, 2.7, transform.constants)

    # Below 3/4 of the bond length Soft falls by some 1e-4.
    slopes = jax.vmap(jax.grad(of))(np.linspace(0.75 * 2.7, 8.0, 60))
    assert np.isfinite(slopes).all()
    assert (np.sign(slopes) == np.sign(slopes[0])).all()
