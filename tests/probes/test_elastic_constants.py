"""Clamped-ion constants of Lennard-Jones argon, whose symmetry says what they must satisfy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from mlffjax import trees, units
from mlffjax.potential.pair import lennard_jones
from mlffjax.probes import _elastic, _packed
from mlffjax.structures.strains import strained
from mlffjax.structures.system import System

STEP = 1e-3
CUTOFF = 17.0  # five diameters: lattice sums to a percent
POTENTIAL = trees.cast(lennard_jones((18,), cutoff=CUTOFF), jnp.float64)
_evaluated = jax.jit(_packed.evaluated)


def argon(length):
    places = length / 2 * np.array([[0.0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]])
    return System(places, np.full(4, 18, np.int32), length * np.eye(3), np.ones(3, bool))


def evaluated(systems):
    return _evaluated(POTENTIAL, _packed.pack(systems, (18,), CUTOFF))


def trace(length):
    """Of the stress; six copies keep one shape."""
    return float(jnp.trace(evaluated([argon(length)] * 6).stress[0]))


@pytest.fixture(scope="module")
def length():
    """Where no stress is left."""
    return brentq(trace, 5.0, 5.5, xtol=1e-10)


@pytest.fixture(scope="module")
def constants(length):
    return _elastic.constants(evaluated(_elastic.cells(argon(length), STEP)).stress, STEP)


def test_cubic_symmetry_and_the_relation_of_cauchy(constants):
    assert constants.c11 == pytest.approx(float(constants.c33), rel=1e-9)
    assert constants.c12 == pytest.approx(float(constants.c13), rel=1e-9)
    # Central forces, every atom an inversion centre, no stress: C12 = C44 (Born and Huang). The
    # differences are of second order, 1e-6 times a ratio of derivatives of about a hundred; the
    # smooth cutoff enters its fourth derivative.
    assert constants.c12 == pytest.approx(float(constants.c44), rel=2e-3)


def test_equal_to_second_derivatives_of_the_energy(constants, length):
    """At zero stress C11 and C44 are curvatures of the energy density."""
    crystal = argon(length)
    volume = np.linalg.det(crystal.cell)
    for name, strain, scale in (
        ("c11", np.diag([1.0, 0, 0]), 1.0),
        ("c44", np.array([[0, 0, 0], [0, 0, 0.5], [0, 0.5, 0]]), 1.0),
    ):
        amounts = STEP * np.array([-1.0, 0.0, 1.0])
        cells = [strained(crystal, amount * strain) for amount in amounts]
        energy = np.asarray(evaluated([*cells, *cells]).energy[:3])
        curvature = (energy[0] - 2 * energy[1] + energy[2]) / STEP**2 / volume
        # Stress times second-order strain vanishes; the rest is of order STEP².
        expected = scale * curvature / units.GPA
        assert float(getattr(constants, name)) == pytest.approx(expected, rel=2e-3)


def test_argon_is_as_soft_as_published(constants):
    """With epsilon 0.0104 eV and sigma 3.40 Å, epsilon/sigma³ is 0.0424 GPa; the static lattice sum
    of the fcc crystal gives B = 75.2 epsilon/sigma³ (Kittel, chapter 3), 3.19 GPa.
    """
    bulk = float(constants.c11 + 2 * constants.c12) / 3
    assert bulk == pytest.approx(75.2 * 0.0104 / 3.40**3 / units.GPA, rel=0.02)
