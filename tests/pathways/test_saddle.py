import dataclasses

import numpy as np
import pytest
from pathways.argon import CUTOFF, HELD, LATTICE, at, hop, landscape, system

from mlffjax.errors import InputError
from mlffjax.pathways import saddle, surface
from mlffjax.pathways.saddle import (
    ConnectionStatus,
    Settings,
    Status,
    connect,
    farthest,
    refine_minimum,
    refine_saddle,
)
from mlffjax.potential.pair import LennardJonesModel, lennard_jones

TRACES: list[str] = []


@dataclasses.dataclass(frozen=True)
class CountedModel(LennardJonesModel):
    """Lennard-Jones that notes when Python runs through it, which is when JAX traces."""

    def atomic_energies(self, params, graph):
        TRACES.append(str(graph.neighbors.shape))
        return super().atomic_energies(params, graph)


@pytest.fixture(scope="module")
def potential():
    return lennard_jones((18,), cutoff=CUTOFF)


@pytest.fixture(scope="module")
def ends(potential):
    return refine_minimum(potential, hop(0.0)), refine_minimum(potential, hop(1.0))


@pytest.fixture(scope="module")
def top(potential):
    return refine_saddle(potential, hop(0.42))


def test_vacancy_saddle_has_one_negative_curvature_and_no_force(top, ends):
    assert top.status is Status.CONVERGED
    assert top.residual < 1e-6
    assert top.negative == 1
    assert len(top.curvatures) == 3 * 31 - 3
    assert np.linalg.norm(top.mode) == pytest.approx(1.0)
    # By symmetry the saddle is half-way, where both sides are alike.
    mover = int(np.argmin(np.linalg.norm(hop(0.0).positions, axis=1)))
    expected = hop(0.5).positions[mover]
    away = top.system.positions - top.system.positions.mean(axis=0)
    np.testing.assert_allclose(away[mover], expected - hop(0.5).positions.mean(axis=0), atol=1e-4)
    assert ends[0].status is ends[1].status is Status.CONVERGED
    assert ends[0].energy == pytest.approx(ends[1].energy, abs=1e-10)
    assert ends[0].negative == 0
    assert 0.0 < top.energy - ends[0].energy < 0.2


def test_both_sides_of_the_saddle_lead_to_the_end_points(potential, top, ends):
    found = connect(potential, top, ends[0].system, ends[1].system)
    assert found.status is ConnectionStatus.CONNECTED
    assert max(found.distances) < 1e-4
    assert found.barriers[0] == pytest.approx(top.energy - ends[0].energy, abs=1e-9)
    turned = connect(potential, top, ends[1].system, ends[0].system)
    assert turned.distances == pytest.approx(found.distances[::-1], abs=1e-8)
    elsewhere = connect(potential, top, ends[0].system, ends[0].system)
    assert elsewhere.status is ConnectionStatus.OTHER_MINIMA


def test_search_compiles_gradient_and_hessian_once(potential):
    counted = dataclasses.replace(potential, model=CountedModel((18,), CUTOFF))
    refine_saddle(counted, hop(0.42))
    first = list(TRACES)
    refine_saddle(counted, hop(0.45), settings=Settings(exact=1))
    assert first == TRACES
    assert len(set(first)) == 1


def test_mueller_brown_is_where_the_literature_has_it():
    """Minima and the higher saddle; values from the paper of the surface (see argon.py)."""
    surface_of = landscape("mueller_brown", scale=1.0)
    low = refine_minimum(surface_of, at(-0.5, 1.3, 0.2), fixed=HELD)
    high = refine_minimum(surface_of, at(0.7, 0.1, -0.2), fixed=HELD)
    saddle_point = refine_saddle(surface_of, at(-0.75, 0.6, 0.05), fixed=HELD)
    for point, place, energy in (
        (low, (-0.558, 1.442, 0.0), -146.700),
        (high, (0.623, 0.028, 0.0), -108.167),
        (saddle_point, (-0.822, 0.624, 0.0), -40.665),
    ):
        assert point.status is Status.CONVERGED
        # Three decimals are printed.
        np.testing.assert_allclose(point.system.positions[1], place, atol=6e-4)
        assert point.energy == pytest.approx(0.01 * energy, abs=6e-6)
        np.testing.assert_array_equal(point.system.positions[0], 0)
    assert saddle_point.negative == 1
    assert not saddle_point.mode[0].any()


def test_a_given_direction_is_followed_uphill():
    """From the same place in the well, along the valley or up its wall."""
    well = landscape("double_well", height=0.2, width=1.0, across=2.0)
    start = at(-0.9, 0.01, 0.0)
    along = np.array([[0.0, 0, 0], [1.0, 0, 0]])
    found = refine_saddle(well, start, fixed=HELD, direction=along)
    np.testing.assert_allclose(found.system.positions[1], 0, atol=1e-5)
    assert found.status is Status.CONVERGED
    assert found.energy == pytest.approx(0.2, abs=1e-10)
    across = refine_saddle(
        well, start, fixed=HELD, direction=along[:, [1, 0, 2]], settings=Settings(steps=20)
    )
    assert across.status is Status.MAX_STEPS  # the wall has no top
    assert abs(across.system.positions[1, 1]) > 0.5


def test_a_minimum_search_leaves_a_point_held_by_symmetry():
    well = landscape("double_well", height=0.2, width=1.0, across=2.0)
    found = refine_minimum(well, at(0.0, 0.0, 0.0), fixed=HELD)
    assert found.status is Status.CONVERGED
    assert abs(found.system.positions[1, 0]) == pytest.approx(1.0, abs=1e-5)


def test_a_flat_direction_makes_a_point_degenerate():
    found = refine_minimum(landscape("trough", across=2.0), at(0.3, 0.1, 0.5), fixed=HELD)
    assert found.status is Status.DEGENERATE
    assert found.residual < 1e-6
    assert found.system.positions[1, 2] == 0.5


def test_failures_have_names(potential, ends):
    assert refine_saddle(potential, ends[0].system).status is Status.WRONG_ORDER
    few = refine_minimum(potential, hop(0.3), settings=Settings(steps=2))
    assert few.status is Status.MAX_STEPS
    assert few.residual > 1e-6
    overlapping = hop(0.0)
    positions = overlapping.positions.copy()
    positions[1] = positions[0] + 1e-60
    lost = refine_minimum(potential, overlapping._replace(positions=positions))
    assert lost.status is Status.LOST


def test_fixed_atoms_stay(potential):
    fixed = np.zeros(31, bool)
    fixed[10:] = True
    found = refine_saddle(potential, hop(0.45), fixed=fixed)
    assert found.status is Status.CONVERGED
    np.testing.assert_array_equal(found.system.positions[10:], hop(0.45).positions[10:])
    np.testing.assert_array_equal(found.fixed, fixed)
    assert len(found.curvatures) == 30  # no rigid motion is free
    assert surface.make(potential, hop(0.45), fixed=fixed).anchored


def test_bad_input_is_told(potential, ends, top):
    with pytest.raises(InputError, match="all are fixed"):
        refine_minimum(potential, hop(0.0), fixed=np.ones(31, bool))
    with pytest.raises(InputError, match="moves a free atom"):
        refine_saddle(potential, hop(0.4), direction=np.zeros((31, 3)))
    with pytest.raises(InputError, match="expected a converged saddle, got a point of order 0"):
        connect(potential, ends[0], ends[0].system, ends[1].system)
    with pytest.raises(InputError, match="single free atom"):
        refine_minimum(potential, system([[0.0, 0.0, 0.0]]))
    unfinished = dataclasses.replace(top, status=Status.MAX_STEPS)
    with pytest.raises(InputError, match="ended as max_steps"):
        connect(potential, unfinished, ends[0].system, ends[1].system)


def test_structures_are_compared_up_to_lattice_vectors_and_translation(rng):
    one = hop(0.2)
    shifts = rng.integers(-2, 3, size=(31, 3)) @ (2 * LATTICE * np.eye(3))
    other = one._replace(positions=one.positions + shifts + [0.3, -7.0, 11.0])
    assert farthest(one, other) < 1e-10
    moved = other.positions.copy()
    moved[4, 1] += 0.31
    # The mean of 31 atoms moves along.
    assert farthest(one, other._replace(positions=moved)) == pytest.approx(0.31 * 30 / 31)
    apart = system([[0, 0, 0], [4.0, 0, 0]])
    assert farthest(apart, apart._replace(positions=apart.positions + 5.0)) < 1e-12


def test_agreement_measures_the_model():
    assert saddle._agreement(-1.0, -1.0, 0) == 1.0
    assert saddle._agreement(1.0, -1.0, 0) < saddle.POOR
    assert saddle._agreement(-2.0, -1.0, 0) > saddle.GOOD
    assert saddle._agreement(-2.5, -1.0, 1) < saddle.POOR
    assert saddle._agreement(1e-12, -1e-13, 1) == 1.0
