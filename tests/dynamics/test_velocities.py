"""Initial velocities have the distribution, and the symmetries, that they should."""

import numpy as np
import pytest

from mlffjax import units
from mlffjax.dynamics.velocities import draw, without_rotation
from mlffjax.errors import InputError

MASSES = np.array([12.0, 1.0, 200.0, 52.0, 127.6])


def test_components_are_maxwellian_for_every_mass():
    drawn = np.array([draw(MASSES, 300.0, seed=seed) for seed in range(4000)])
    kt = units.KB * 300
    # Without the centre of mass the variance of atom i is kT (1/m_i - 1/M).
    expected = kt * (1 / MASSES - 1 / MASSES.sum())
    # 12000 samples: a variance is known to sqrt(2/12000) = 1.3 %; five of those.
    np.testing.assert_allclose(drawn.var(axis=(0, 2)), expected, rtol=0.065)
    np.testing.assert_allclose(np.einsum("n,snx->sx", MASSES, drawn), 0, atol=1e-13)
    kinetic = (MASSES[:, None] * drawn**2).sum(axis=(1, 2)) / 2
    np.testing.assert_allclose(kinetic.mean(), 12 * kt / 2, rtol=5 * np.sqrt(2 / 12 / 4000))
    np.testing.assert_allclose(kinetic.var() / kinetic.mean() ** 2, 2 / 12, rtol=0.15)


def test_seeds_decide_and_exact_is_exact():
    np.testing.assert_array_equal(draw(MASSES, 300.0, seed=4), draw(MASSES, 300.0, seed=4))
    assert not np.array_equal(draw(MASSES, 300.0, seed=4), draw(MASSES, 300.0, seed=5))
    exact = draw(MASSES, 300.0, seed=4, exact=True)
    kinetic = (MASSES[:, None] * exact**2).sum() / 2
    np.testing.assert_allclose(kinetic, 12 / 2 * units.KB * 300, rtol=1e-14)
    assert not draw(MASSES, 0.0, seed=1, exact=True).any()


@pytest.mark.parametrize("linear", [False, True])
def test_rotation_is_removed_from_clusters(rng, linear):
    positions = rng.normal(size=(5, 3)) * ([1, 0, 0] if linear else 1) + 3.0
    velocities = draw(MASSES, 300.0, seed=1)
    still = without_rotation(positions, velocities, MASSES, np.zeros(3, bool))
    centre = MASSES @ positions / MASSES.sum()
    angular = (MASSES[:, None] * np.cross(positions - centre, still)).sum(axis=0)
    np.testing.assert_allclose(angular, 0, atol=1e-12)
    np.testing.assert_allclose(MASSES @ still, 0, atol=1e-12)
    with pytest.raises(InputError, match="clusters only"):
        without_rotation(positions, velocities, MASSES, np.array([True, False, False]))


def test_what_cannot_move_is_refused():
    for masses in ([1.0, 0.0], [1.0, -2.0], [np.nan, 1.0]):
        with pytest.raises(InputError, match="positive masses"):
            draw(np.array(masses), 300.0, seed=0)
    with pytest.raises(InputError, match="at least 2"):
        draw(np.ones(1), 300.0, seed=0)
    with pytest.raises(InputError, match="at least 0 K"):
        draw(MASSES, -1.0, seed=0)
