"""The repulsion of nuclei against a plain sum over pairs, and its end."""

import jax
import numpy as np
import pytest
from ase.data import covalent_radii

from mlffjax.potential.mace.repulsion import CONSTANTS, repulsion

ELEMENTS = (24, 52)
CONSTANT_ARRAYS = {name: np.array(value) for name, value in CONSTANTS.items()}


def of(distance, receivers, senders, cutoff=5.0):
    return repulsion(
        distance, ELEMENTS, receivers, senders, CONSTANT_ARRAYS, power=6, cutoff=cutoff
    )


def pair(first, second, r):
    """Universal screening potential, eV; half of it belongs to either atom."""
    a = 0.4543 * 0.529 / (first**0.3 + second**0.3)
    phi = sum(
        c * np.exp(-d * r / a)
        for c, d in [(0.1818, 3.2), (0.5099, 0.9423), (0.2802, 0.4028), (0.02817, 0.2016)]
    )
    u = r / (covalent_radii[first] + covalent_radii[second])
    end = 1 - 28 * u**6 + 48 * u**7 - 21 * u**8 if u < 1 else 0
    return 0.5 * 14.3996 * first * second / r * phi * end


def test_half_of_each_pair():
    receivers, senders = np.array([0, 1]), np.array([[1, 0], [0, 1]])
    distance = np.array([[1.1, 2.0], [1.1, 3.5]])
    expected = [pair(24, 52, 1.1) + pair(24, 24, 2.0), pair(24, 52, 1.1) + pair(52, 52, 3.5)]
    np.testing.assert_allclose(of(distance, receivers, senders), expected, rtol=1e-13)


def test_it_ends_at_the_sum_of_radii_and_at_the_cutoff():
    one, other = np.array([0]), np.array([[1]])
    end = covalent_radii[[24, 52]].sum()
    energy, slope = jax.value_and_grad(lambda r: of(r[None, None], one, other)[0])(end * (1 - 1e-7))
    np.testing.assert_allclose([energy, slope], 0, atol=1e-10)
    assert of(np.array([[2.0]]), one, other)[0] > 0
    assert of(np.array([[2.0]]), one, other, cutoff=1.9)[0] == 0


@pytest.mark.parametrize("r", [0.5, 1.3, 2.4])
def test_slopes_are_those_of_finite_differences(r):
    one, other, h = np.array([0]), np.array([[1]]), 1e-6

    def energy(x):
        return of(x[None, None], one, other)[0]

    slope = jax.grad(energy)(np.array(r))
    expected = (energy(np.array(r + h)) - energy(np.array(r - h))) / (2 * h)
    np.testing.assert_allclose(slope, expected, rtol=1e-7)  # h^2 and rounding / h
    assert slope < 0
