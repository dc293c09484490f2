import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax.pathways import periodic_surface as ps


def surface(n, m, *, shift=(0.13, 0.31)):
    """A hexagonal corrugation with an extra wave; resolved by 7 x 8 points."""
    x, y = np.meshgrid(np.arange(n) / n + shift[0], np.arange(m) / m + shift[1], indexing="ij")
    return function(x, y)


def function(x, y):
    wave = lambda angle: np.cos(2 * np.pi * angle)  # noqa: E731
    return wave(x) + wave(y) + wave(x + y) + 0.2 * wave(2 * x - y)


@pytest.mark.parametrize("counts", [(7, 9), (8, 9), (9, 8), (10, 12)])
def test_refinement_is_exact_for_resolved_waves(counts):
    fine = ps.refined(jnp.asarray(surface(*counts)), 3)
    n, m = counts
    np.testing.assert_allclose(fine, surface(3 * n, 3 * m), atol=1e-12)
    np.testing.assert_allclose(fine[::3, ::3], surface(*counts), atol=1e-12)


@pytest.mark.parametrize("count", [7, 8])
def test_derivatives_of_the_interpolation(count, rng):
    values, places, h = rng.normal(size=count), rng.uniform(0, count, 5), 1e-4
    for order in (1, 2):
        up, down = (ps.kernel(places + s * h, count, order - 1) @ values for s in (1, -1))
        # Central difference: truncation h² times a third derivative of order 10.
        found = ps.kernel(places, count, order) @ values
        np.testing.assert_allclose(found, (up - down) / (2 * h), atol=1e-5)


def test_minima_are_periodic_and_plateaus_count_once():
    energy = np.ones((4, 5))
    energy[0, 0] = energy[2, 2] = energy[2, 3] = 0.0
    found = np.asarray(ps.minima(jnp.asarray(energy)))
    assert found[0, 0]
    assert found.sum() == 2
    assert not np.asarray(ps.minima(jnp.zeros((4, 4)))).any()


def test_stationary_minima_against_a_dense_search():
    found = ps.stationary_minima(surface(9, 10))
    dense = surface(720, 720)
    lower = np.ones(dense.shape, bool)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            lower &= dense <= np.roll(dense, (i, j), (0, 1))
    places = np.argwhere(lower)
    assert len(found) == len(places) == 3
    for place in places / 720:
        one = min(found, key=lambda each: abs((each.fraction - place + 0.5) % 1 - 0.5).max())
        assert abs((one.fraction - place + 0.5) % 1 - 0.5).max() < 1 / 720
        assert one.energy == pytest.approx(function(*np.add(one.fraction, [0.13, 0.31])), abs=1e-12)
        assert (np.linalg.eigvalsh(one.curvature) > 0).all()


def test_lowest_pass_of_a_square_lattice_is_its_saddle():
    """cos x + cos y: minima -2, maxima 2, saddles 0."""
    x, y = np.meshgrid(np.arange(12) / 12, np.arange(8) / 8, indexing="ij")
    energy = np.cos(2 * np.pi * x) + np.cos(2 * np.pi * y)
    found = ps.lowest_pass(jnp.asarray(energy))
    assert float(found.energy) == pytest.approx(0.0, abs=1e-12)
    # Of unequal directions the easier one counts.
    energy = np.cos(2 * np.pi * x) + 0.3 * np.cos(2 * np.pi * y)
    assert float(ps.lowest_pass(jnp.asarray(energy)).energy) == pytest.approx(-0.7, abs=1e-12)


def test_lowest_pass_goes_around_a_wall():
    """A wall with one door; the way also crosses the cell boundary, where there is a lower one."""
    energy = np.zeros((9, 9))
    energy[4], energy[:, 4] = 5.0, 5.0
    energy[4, 1], energy[2, 4] = 2.0, 3.0
    energy[0, 0] = -1.0
    assert float(ps.lowest_pass(jnp.asarray(energy)).energy) == 2.0


def test_pass_is_differentiable():
    energy = jnp.asarray(surface(9, 9))
    gradient = jax.grad(lambda e: ps.lowest_pass(e).energy)(energy)
    assert float(gradient.sum()) == 1.0
    assert int(jnp.argmax(gradient)) == int(ps.lowest_pass(energy).index)
