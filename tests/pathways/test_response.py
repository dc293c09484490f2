import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pathways.argon import CUTOFF, HELD, at, hop, landscape

from mlffjax import trees
from mlffjax.errors import InputError
from mlffjax.pathways import response
from mlffjax.pathways.response import Status, observable_gradient, respond
from mlffjax.pathways.saddle import Settings, refine_minimum, refine_saddle
from mlffjax.potential.pair import lennard_jones

TIGHT = Settings(force=1e-10)
STRAIN = np.array([[1.0, 0.2, 0.0], [0.2, -0.5, 0.1], [0.0, 0.1, 0.7]])


def argon(sigma=3.40):
    return trees.cast(lennard_jones((18,), sigma=sigma, cutoff=CUTOFF), np.float64)


def direction(potential, **weights):
    zero = jax.tree.map(jnp.zeros_like, potential.params)
    return zero | {"weights": zero["weights"] | weights}


@pytest.fixture(scope="module", params=["minimum", "saddle"])
def case(request):
    """A stationary point and the search that finds it again."""
    if request.param == "minimum":
        return refine_minimum(argon(), hop(0.0), settings=TIGHT), refine_minimum
    return refine_saddle(argon(), hop(0.42), settings=TIGHT), refine_saddle


@pytest.fixture(scope="module")
def neighbours(case):
    """The point for a larger and a smaller diameter."""
    point, refine = case
    return [refine(argon(3.40 + h), point.system, settings=TIGHT) for h in (1e-4, -1e-4)]


def without_drift(displacement):
    return displacement - displacement.mean(axis=0)


def test_points_follow_a_parameter_as_if_refined_again(case, neighbours):
    point, _ = case
    found = respond(argon(), point, change=direction(argon(), sigma=1.0))
    assert found.status is Status.SOLVED
    assert found.smallest == pytest.approx(np.abs(point.curvatures).min(), rel=1e-6)
    up, down = neighbours
    moved = without_drift((up.system.positions - down.system.positions) / 2e-4)
    # Second order in the step of 1e-4 Å, of a displacement of order 1.
    np.testing.assert_allclose(found.displacement, moved, atol=1e-4 * np.abs(moved).max())
    # The same, with a third derivative of some 100 eV/Å³.
    assert found.slope == pytest.approx((up.energy - down.energy) / 2e-4, rel=1e-6)
    curvature = (up.energy + down.energy - 2 * point.energy) / 1e-8
    # Rounding: 1e-15 eV relative to 2 eV, over the squared step.
    assert found.curvature == pytest.approx(curvature, rel=1e-5)


def test_points_follow_a_strain(case):
    point, refine = case
    found = respond(argon(), point, strain=STRAIN)
    step = 1e-4
    ends = []
    for sign in (1, -1):
        cell = np.eye(3) + sign * step * STRAIN
        system = point.system
        moved = system._replace(positions=system.positions @ cell, cell=system.cell @ cell)
        ends.append((refine(argon(), moved, settings=TIGHT), moved))
    inner = [end.system.positions - start.positions for end, start in ends]
    expected = without_drift((inner[0] - inner[1]) / (2 * step))
    scale = np.abs(expected).max()
    assert scale > 1e-3  # the vacancy has something to relax
    np.testing.assert_allclose(found.displacement, expected, atol=1e-3 * scale)
    up, down = (end.energy for end, _ in ends)
    assert found.slope == pytest.approx((up - down) / (2 * step), rel=1e-6, abs=1e-9)
    curvature = (up + down - 2 * point.energy) / step**2
    assert found.curvature == pytest.approx(curvature, rel=1e-4)


def test_minres_agrees_with_eigenvectors(case):
    point, _ = case
    change = direction(argon(), sigma=1.0)
    whole, iterated = (respond(argon(), point, change=change, dense=n) for n in (450, 1))
    assert iterated.status is Status.SOLVED
    assert iterated.smallest == pytest.approx(whole.smallest, rel=1e-6)
    # The linear system is solved to a relative residual of 1e-6.
    scale = np.abs(whole.displacement).max()
    np.testing.assert_allclose(iterated.displacement, whole.displacement, atol=1e-4 * scale)
    assert iterated.curvature == pytest.approx(whole.curvature, rel=1e-5)


def test_adjoint_and_forward_agree(case, rng):
    """d q / d sigma for q = n . x: one solution for all parameters against one per parameter."""
    point, _ = case
    observable = without_drift(rng.normal(size=(31, 3)))
    found = observable_gradient(argon(), point, observable)
    for name in ("sigma", "epsilon"):
        moved = respond(argon(), point, change=direction(argon(), **{name: 1.0})).displacement
        expected = float((observable * moved).sum())
        # Scaling the energy moves nothing: a cancellation.
        assert float(found.params["weights"][name]) == pytest.approx(expected, rel=1e-8, abs=1e-7)
    iterated = observable_gradient(argon(), point, observable, dense=1)
    assert float(iterated.params["weights"]["sigma"]) == pytest.approx(
        float(found.params["weights"]["sigma"]), rel=1e-4
    )


def test_closed_form_of_the_double_well():
    """Minimum at the width: it moves as the width does; the energy stays 0."""
    well = landscape("double_well", height=0.2, width=1.3, across=2.0)
    point = refine_minimum(well, at(1.2, 0.0, 0.0), fixed=HELD, settings=TIGHT)
    found = respond(well, point, change=direction(well, width=1.0))
    np.testing.assert_allclose(found.displacement, [[0, 0, 0], [1, 0, 0]], atol=1e-8)
    assert found.slope == pytest.approx(0.0, abs=1e-9)
    assert found.curvature == pytest.approx(0.0, abs=1e-8)
    gradient = observable_gradient(well, point, np.array([[0.0, 0, 0], [1.0, 0, 0]]))
    assert float(gradient.params["weights"]["width"]) == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize("dense", [450, 1])
def test_a_flat_direction_has_no_derivative(dense):
    trough = landscape("trough", across=2.0)
    point = refine_minimum(trough, at(0.3, 0.1, 0.5), fixed=HELD, settings=TIGHT)
    found = respond(trough, point, change=direction(trough, across=1.0), dense=dense)
    assert found.status is Status.DEGENERATE
    assert found.smallest < response.FLAT
    assert np.isnan(found.curvature)
    assert np.isnan(found.displacement[1]).all()
    assert found.slope == pytest.approx(0.0, abs=1e-9)  # needs no inverse
    gradient = observable_gradient(trough, point, np.ones((2, 3)), dense=dense)
    assert gradient.status is Status.DEGENERATE
    assert np.isnan(gradient.params["weights"]["across"])


def test_bad_input_is_told():
    well = landscape("double_well", height=0.2, width=1.3, across=2.0)
    point = refine_minimum(well, at(1.2, 0.0, 0.0), fixed=HELD)
    with pytest.raises(InputError, match="got neither"):
        respond(well, point)
    with pytest.raises(InputError, match="tree of the parameters"):
        respond(well, point, change={"weights": {}})
    with pytest.raises(InputError, match="derivative by"):
        observable_gradient(well, point, np.zeros((3, 3)))
    moved = dataclasses.replace(point, system=at(1.0, 0.1, 0.0))
    with pytest.raises(InputError, match="stationary point of this potential"):
        respond(well, moved, strain=np.eye(3))
    other = landscape("double_well", height=0.2, width=1.0, across=2.0)
    with pytest.raises(InputError, match="refine it with the same potential"):
        respond(other, point, strain=np.eye(3))
