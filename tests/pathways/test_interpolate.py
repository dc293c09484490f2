import numpy as np
import pytest
from ase.build import bulk
from ase.mep import NEB, idpp_interpolate

from mlffjax.pathways import bands, interpolate
from mlffjax.structures.geometry import minimum_image
from mlffjax.structures.system import from_ase


@pytest.fixture(scope="module")
def exchange():
    """Two neighbours of a crystal trade places: on the straight line they meet."""
    first = bulk("Ar", a=5.3, cubic=True).repeat((2, 2, 2))
    last = first.copy()
    last.positions[[0, 1]] = last.positions[[1, 0]]
    return first, last


def closest(positions, cell):
    steps = positions[:, :, None] - positions[:, None]
    d = np.linalg.norm(minimum_image(steps, cell, np.ones(3, bool)), axis=-1)
    return (d + 100 * np.eye(d.shape[-1])).min(axis=(1, 2))


def test_straight_lines_are_equally_spaced(rng):
    start, step = rng.normal(size=(2, 4, 3))
    found = interpolate.linear(start, step, 6)
    np.testing.assert_allclose(found[-1], start + step, rtol=1e-14)
    np.testing.assert_allclose(np.diff(found, axis=0), np.tile(step / 5, (5, 1, 1)), atol=1e-14)


def test_idpp_leads_atoms_around_each_other_and_keeps_the_ends(exchange):
    first, last = (from_ase(atoms) for atoms in exchange)
    straight = bands.from_ends(first, last, 7, exchange=True).positions
    bent = bands.from_ends(first, last, 7, exchange=True, method="idpp").positions
    cell = np.asarray(first.cell)
    assert closest(straight, cell).min() < 0.1
    assert closest(bent, cell).min() > 2.0
    np.testing.assert_array_equal(bent[[0, -1]], straight[[0, -1]])
    steps = np.linalg.norm(np.diff(bent, axis=0), axis=(1, 2))
    assert steps.max() / steps.min() < 1.1  # one connected way, not two halves


def test_idpp_is_as_good_as_that_of_ase(exchange):
    """Both minimise nearly the same mismatch; ASE's carries springs, so only the quality agrees."""
    first, last = exchange
    images = [first.copy() for _ in range(4)] + [last.copy()]
    band = NEB(images, method="improvedtangent")
    band.interpolate(mic=True)
    for image in images[1:-1]:
        image.rattle(0.3, seed=1)  # ASE does not leave the line on which atoms meet by itself
    idpp_interpolate(band, traj=None, log=None, mic=True, steps=200)
    theirs = closest(np.array([a.positions for a in images]), np.asarray(first.cell)).min()
    ours = bands.from_ends(from_ase(first), from_ase(last), 5, exchange=True, method="idpp")
    assert closest(ours.positions, ours.cell).min() > 0.9 * theirs


def test_mismatch_is_the_weighted_square_of_distances_missed():
    line = np.array([[[0.0, 0, 0], [2.0, 0, 0], [0.0, 4.0, 0]]])
    pairs = interpolate.Pairs(
        i=np.array([0, 0, 0]),
        j=np.array([1, 2, 0]),
        offset=np.array([[0.0, 0, 0], [0, 1.0, 0], [1, 1, 1]]),
        target=np.array([[2.5, 4.0, 1.0]]),
        weight=np.array([1.0, 1.0, 0.0]),
    )
    expected = 0.5**2 / 2.0**4 + 1.0**2 / 5.0**4
    assert interpolate.mismatch(line, pairs)[0] == pytest.approx(expected, rel=1e-14)


def test_idpp_moves_no_fixed_atom_and_leaves_a_lone_atom_on_its_line(exchange):
    first, last = (from_ase(atoms) for atoms in exchange)
    straight = bands.from_ends(first, last, 5, exchange=True)
    fixed = list(range(2, 32))
    bent = interpolate.idpp(straight.positions, straight.cell, straight.pbc, fixed)
    np.testing.assert_array_equal(bent[:, fixed], straight.positions[:, fixed])
    line = np.linspace([[0.0, 0, 0]], [[1.0, 0, 0]], 4)
    found = interpolate.idpp(line, np.zeros((3, 3)), np.zeros(3, bool))
    np.testing.assert_array_equal(found, line)


def test_resampling_makes_steps_equal_on_a_polygon():
    corner = np.array([[[0.0, 0, 0]], [[1.0, 0, 0]], [[1.0, 3.0, 0]]])
    found = interpolate.resampled(corner, 9)
    np.testing.assert_allclose(np.diff(interpolate.arclength(found)), 0.5, rtol=1e-12)
    np.testing.assert_allclose(found[2], [[1.0, 0, 0]], atol=1e-12)


def test_new_ends_drag_the_images_along(rng):
    positions = np.cumsum(rng.random((5, 3, 3)), axis=0)
    first, last = positions[0] + 0.1, positions[-1] - 0.2
    found = interpolate.with_ends(positions, first, last)
    np.testing.assert_allclose(found[[0, -1]], [first, last], rtol=1e-14)
    part = interpolate.arclength(positions) / interpolate.arclength(positions)[-1]
    np.testing.assert_allclose((found - positions)[:, 0, 0], 0.1 - 0.3 * part, atol=1e-14)


def test_images_are_inserted_where_the_path_is_long_or_steep():
    line = np.array([0.0, 1.0, 2.0, 6.0])[:, None, None] * np.ones((1, 1, 3))
    found = interpolate.inserted(line, np.zeros(4), 1)[:, 0, 0]
    np.testing.assert_allclose(found, [0, 1, 2, 4, 6])
    steep = interpolate.inserted(line, np.array([0.0, 5.0, 5.0, 5.0]), 1)[:, 0, 0]
    np.testing.assert_allclose(steep, [0, 0.5, 1, 2, 6])


def test_unit_tangents_point_along_a_straight_path(rng):
    step = rng.normal(size=(2, 3))
    line = np.array([0.0, 0.1, 0.7, 1.0])[:, None, None] * step
    for tangent in interpolate.unit_tangents(line):
        np.testing.assert_allclose(tangent, step / np.linalg.norm(step), rtol=1e-10)
