import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.graphs.batching import build
from mlffjax.pathways import profiles
from mlffjax.potential import derivatives
from mlffjax.potential.pair import lennard_jones
from mlffjax.probes._example import migration
from mlffjax.structures.paths import arclength


@pytest.fixture(scope="module")
def path():
    return migration(images=9).paths["hop"]


@pytest.fixture(scope="module")
def potential():
    return trees.cast(lennard_jones((18,), cutoff=5.5), jnp.float64)


@pytest.fixture(scope="module")
def images(path, potential):
    systems = [frame.system for frame in path.frames]
    return profiles.band(systems, potential.elements, potential.cutoff)


def test_band_is_float64_and_of_one_shape(images, path):
    assert images.positions.dtype == np.float64
    assert images.positions.shape == (len(path.frames), 9, 3)


def test_profile_equals_image_by_image(images, potential, path):
    found = jax.jit(profiles.profile)(potential, images)
    one = jax.jit(derivatives.energies_and_forces)
    for index, frame in list(enumerate(path.frames))[::4]:
        energy, forces = one(potential, build([frame.system], (18,), potential.cutoff, dtype=float))
        # Same sums in another order.
        assert found.energy[index] == pytest.approx(float(energy[0]), rel=1e-12)
        np.testing.assert_allclose(found.forces[index], forces, atol=1e-12)


def test_tangents_of_a_straight_path_point_along_it(path):
    expected = np.zeros((9, 3))
    expected[8, 0] = 1.0
    for tangent in profiles.tangents(path):
        np.testing.assert_allclose(tangent, expected, atol=1e-12)


def test_tangents_have_unit_norm_and_second_order_on_an_arc(path):
    """On a circle the angular error of the parabola's tangent falls with the spacing squared."""

    def error(images):
        angles = np.linspace(0, 1.5, images)
        frames = []
        for angle in angles:
            system = path.frames[0].system
            positions = system.positions.copy()
            positions[8] = [np.cos(angle), np.sin(angle), 0.0]
            frames.append(path.frames[0]._replace(system=system._replace(positions=positions)))
        found = profiles.tangents(path._replace(frames=tuple(frames)))
        np.testing.assert_allclose(np.linalg.norm(found, axis=(1, 2)), 1.0, rtol=1e-12)
        exact = np.stack([-np.sin(angles), np.cos(angles), 0 * angles], axis=1)
        return np.linalg.norm(found[:, 8] - exact, axis=1).max()

    assert error(9) / error(17) > 3.5


def test_slope_is_the_derivative_of_the_energy_by_arclength(images, potential, path):
    fine = migration(images=2001).paths["hop"]
    graphs = profiles.band([f.system for f in fine.frames], (18,), potential.cutoff)
    energy = jax.jit(jax.vmap(lambda g: derivatives.energies(potential, g)[0]))(graphs)
    expected = np.gradient(np.asarray(energy), arclength(fine))[::250]
    _, forces = jax.jit(profiles.profile)(potential, images)
    found = profiles.slopes(forces, jnp.asarray(profiles.tangents(path)))
    # Central differences over 2 mÅ; the ends are one-sided and left out.
    np.testing.assert_allclose(found[1:-1], expected[1:-1], atol=1e-4)
