"""Radial functions against their formulas, one by one, and their end at the cutoff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.radial import envelope, radial_constants, radial_functions

R_MAX = 5.0
EXPECTED = {
    "bessel": lambda r, n: np.sqrt(2 / R_MAX) * np.sin((n + 1) * np.pi * r / R_MAX) / r,
    "gaussian": lambda r, n: np.exp(-0.5 * ((r - n * R_MAX / 5) / (R_MAX / 5)) ** 2),
    "chebyshev": lambda r, n: np.polynomial.Chebyshev.basis(n + 1)(r),
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_functions_are_their_formulas(kind):
    config = MaceConfig(r_max=R_MAX, num_bessel=6, radial_type=kind)
    distances, factor = np.linspace(0.3, 4.9, 7), np.linspace(1, 2, 7)
    found = radial_functions(distances, factor, radial_constants(config), config)
    expected = np.stack([EXPECTED[kind](distances, n) * factor for n in range(6)], axis=-1)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-14)  # T_6(4.9) is 4e5


@pytest.mark.parametrize("kind", EXPECTED)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_is_left_beyond_the_cutoff(kind, dtype):
    """Padded edges lie at twice the cutoff; value and derivative must be zero, not infinite."""
    config = MaceConfig(r_max=R_MAX, num_bessel=30, radial_type=kind)  # T_30(5) is 1e29
    constants = {name: jnp.asarray(x, dtype) for name, x in radial_constants(config).items()}

    def total(r):
        return radial_functions(r, envelope(r / R_MAX, 5), constants, config).sum()

    value, slope = jax.value_and_grad(total)(jnp.asarray(2 * R_MAX, dtype))
    assert (float(value), float(slope)) == (0.0, 0.0)


@pytest.mark.parametrize("power", [2, 5, 6, 8])
def test_the_envelope_ends_smoothly(power):
    at = np.array([0.0, 1.0])
    np.testing.assert_allclose(envelope(at, power), [1, 0], atol=1e-14)
    for order in (1, 2):
        slope = envelope
        for _ in range(order):
            slope = jax.grad(slope)
        # Terms of order power^2 cancel from below.
        np.testing.assert_allclose(slope(1 - 1e-12, power), 0, atol=1e-8)
