import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax.pathways import hermite

# Everything here is arithmetic of some ten float64 operations on numbers of order one.
EXACT = 1e-12

evaluate = jax.jit(hermite.evaluate)
highest = jax.jit(hermite.highest)
count_extrema = jax.jit(hermite.count_extrema)


def joined(position, energy, slope):
    return hermite.Curve(*(jnp.asarray(values) for values in (position, energy, slope)))


def curve(position, polynomial):
    position = np.asarray(position, float)
    return joined(position, polynomial(position), polynomial.deriv()(position))


@pytest.fixture
def cubic():
    """Maximum at 1 with value 2, minimum at 3 with value -2."""
    return np.polynomial.Polynomial.fromroots([1.0, 3.0]).integ() * 1.5 + 0.0


def test_reproduces_a_cubic_everywhere(cubic):
    samples = np.linspace(-0.3, 4.2, 50)  # beyond the ends the outer cubics go on
    found = evaluate(curve([0.0, 0.4, 1.7, 3.9], cubic), jnp.asarray(samples))
    np.testing.assert_allclose(found, cubic(samples), rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("position", [[0, 4], [0, 1, 2, 3.5], [0, 0.9, 1.1, 3.5]], ids=str)
def test_finds_the_maximum_of_a_cubic_between_or_at_images(cubic, position):
    position = [0.0, *position[1:-1], 3.5]
    top = highest(curve(position, cubic))
    assert top.position == pytest.approx(1.0, abs=EXACT)
    assert top.energy == pytest.approx(cubic(1.0), abs=EXACT)


def test_highest_point_of_a_parabola_has_no_cubic_term():
    parabola = np.polynomial.Polynomial([0.0, 2.0, -1.0])
    top = highest(curve([0.0, 0.3, 1.9], parabola))
    assert (top.position, top.energy) == pytest.approx((1.0, 1.0), abs=EXACT)


def test_highest_point_of_a_monotonic_path_is_its_end():
    line = np.polynomial.Polynomial([0.0, 2.0])
    top = highest(curve([0.0, 0.5, 2.0], line))
    assert (top.position, top.energy) == pytest.approx((2.0, 4.0), abs=EXACT)


def test_converges_with_the_fourth_power_of_the_spacing():
    """The error of cubic Hermite interpolation is h^4 max|E''''| / 384."""

    def error(images):
        position = np.linspace(0, 1, images)
        wave = joined(position, np.sin(3 * position + 0.3), 3 * np.cos(3 * position + 0.3))
        samples = np.linspace(0, 1, 500)
        found = evaluate(wave, jnp.asarray(samples))
        return float(np.abs(found - np.sin(3 * samples + 0.3)).max())

    assert error(9) <= (1 / 8) ** 4 * 81 / 384
    assert error(9) / error(17) == pytest.approx(16, rel=0.15)  # up to terms of higher order


def test_derivative_of_the_height_is_the_value_of_the_perturbation_there(cubic):
    """Envelope theorem: moving the maximum changes its height only to second order."""
    base = curve([0.0, 0.8, 2.0, 3.5], cubic)
    ramp = np.polynomial.Polynomial([0.0, 0.7, 0.2, -0.3])

    def height(amount):
        shifted = base._replace(
            energy=base.energy + amount * ramp(base.position),
            slope=base.slope + amount * ramp.deriv()(base.position),
        )
        return highest(shifted).energy

    assert jax.jit(jax.grad(height))(0.0) == pytest.approx(ramp(1.0), abs=EXACT)


@pytest.mark.parametrize(
    ("energy", "expected"),
    [
        ([0.0, 1.0, 0.0], 1),
        ([0.0, 1.0, 0.2, 0.9, 0.0], 3),
        ([1.0, 0.0, 1.0], 1),
        ([0.0, 0.5, 1.0], 0),
        ([0.0, 0.0, 0.0], 0),
        ([0.0, 1.0, 0.9995, 1.0005, 0.0], 1),  # a wiggle of half a meV does not count
    ],
)
def test_counts_extrema_that_stand_out(energy, expected):
    flat = np.zeros(len(energy))
    flat[0], flat[-1] = energy[1] - energy[0], energy[-1] - energy[-2]
    found = joined(np.arange(len(energy), dtype=float), np.array(energy), flat)
    assert int(count_extrema(found, prominence=2e-3)) == expected


def test_counts_extrema_between_images():
    """Two images, both level, one bump between them that only the slopes know of."""
    bump = joined(np.array([0.0, 1.0]), np.zeros(2), np.array([1.0, -1.0]))
    assert int(count_extrema(bump, prominence=1e-3)) == 1


def test_maps_over_curves(cubic):
    position = np.array([0.0, 1.2, 2.0, 3.5])
    one = curve(position, cubic)
    many = one._replace(
        energy=jnp.stack([one.energy, 2 * one.energy]), slope=jnp.stack([one.slope, 2 * one.slope])
    )
    top = jax.vmap(lambda e, s: highest(joined(position, e, s)))(many.energy, many.slope)
    np.testing.assert_allclose(top.energy, [cubic(1.0), 2 * cubic(1.0)], rtol=EXACT)
