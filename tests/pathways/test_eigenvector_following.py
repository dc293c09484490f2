import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mlffjax.pathways.eigenvector_following import step, updated

numbers = st.floats(-10, 10).map(lambda x: round(x, 3))
vectors = arrays(float, 4, elements=numbers)


@given(curvatures=vectors, slopes=vectors)
def test_steps_go_down_along_all_but_one_and_stay_short(curvatures, slopes):
    found = step(curvatures, slopes, uphill=2, radius=0.3)
    assert np.linalg.norm(found) <= 0.3 * (1 + 1e-12)
    sign = np.array([-1.0, -1.0, 1.0, -1.0])
    assert (found * slopes * sign >= 0).all()
    assert (found[slopes == 0] == 0).all()
    assert np.isfinite(found).all()


def test_near_the_point_a_step_is_newtons():
    curvatures, slopes = np.array([-2.0, 1.0, 3.0]), 1e-6 * np.array([1.0, -2.0, 0.5])
    # The shifts are of the order of the squared slopes.
    np.testing.assert_allclose(
        step(curvatures, slopes, uphill=0, radius=1.0), -slopes / curvatures, rtol=1e-9
    )
    np.testing.assert_allclose(
        step(abs(curvatures), slopes, uphill=None, radius=1.0),
        -slopes / abs(curvatures),
        rtol=1e-9,
    )


def test_nothing_moves_without_a_slope():
    assert not step(np.array([-1.0, 1.0]), np.zeros(2), uphill=None, radius=1.0).any()


@given(move=vectors.filter(lambda v: abs(v).max() > 0.1), change=vectors)
def test_updates_are_symmetric_and_explain_the_last_move(move, change):
    start = np.diag([1.0, 2.0, -1.0, 4.0])
    found = updated(start, move, change)
    np.testing.assert_allclose(found, found.T, atol=1e-8)
    # Division by the overlap of error and move loses digits when they are nearly orthogonal.
    np.testing.assert_allclose(found @ move, change, atol=1e-5 * (1 + abs(change).max()))


def test_a_right_hessian_stays():
    matrix = np.array([[2.0, 0.5], [0.5, -1.0]])
    move = np.array([0.1, 0.2])
    np.testing.assert_array_equal(updated(matrix, move, matrix @ move), matrix)
    np.testing.assert_array_equal(updated(matrix, np.zeros(2), np.ones(2)), matrix)


def test_updates_learn_a_quadratic_form(rng):
    matrix = rng.normal(size=(3, 3))
    matrix = matrix + matrix.T
    found = np.eye(3)
    for _ in range(200):
        move = rng.normal(size=3)
        found = updated(found, move, matrix @ move)
    np.testing.assert_allclose(found, matrix, atol=1e-6)
    assert np.linalg.eigvalsh(found)[0] == pytest.approx(np.linalg.eigvalsh(matrix)[0], abs=1e-6)
