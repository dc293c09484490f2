"""Saddles and rates from relaxed bands, against the analytic double well."""

import dataclasses

import ase.units
import numpy as np
import pytest
from pathways.argon import at, landscape

from mlffjax.errors import CompatibilityError, InputError
from mlffjax.pathways import bands, transition
from mlffjax.pathways.elastic import relax_bands
from mlffjax.pathways.settings import Elastic
from mlffjax.pathways.transition import Options, diffusion, jump_length, refine
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures import elements
from mlffjax.units import KB

HEIGHT, WIDTH, ACROSS = 0.2, 1.3, 2.0  # eV, Å, eV/Å²
# The saddle lies on the atom that stands still, which the landscape does not mind.
LOOSE = Elastic(fmax=0.05, endpoint_fmax=0.02, max_step=0.1, bounds={"closest": 1e-12})


def thz(curvature):
    """Through SI units, by ASE's constants, for argon."""
    mass = float(elements.masses(np.array([18]))[0])
    root = np.sqrt(curvature * ase.units._e / 1e-20 / ase.units._amu / mass)
    return root / (2 * np.pi) * 1e-12


@pytest.fixture(scope="module")
def well():
    return landscape("double_well", height=HEIGHT, width=WIDTH, across=ACROSS)


@pytest.fixture(scope="module")
def outcome(well):
    band = bands.from_ends(at(-1.25, 0.1, 0.0), at(1.2, 0.1, 0.0), 6, fixed=(0,))
    return relax_bands([well], [band], LOOSE)[0][0]


@pytest.fixture(scope="module")
def found(well, outcome):
    return refine(well, outcome, Options(temperatures_k=(300.0,), dimensions=1))


def test_saddle_minima_and_prefactor_of_the_double_well(found):
    assert found.found
    assert found.reason == ""
    assert found.saddle.negative == 1
    # The curvature of h ((x/w)² - 1)² is -4h/w² on top and 8h/w² below; across it is the same.
    assert found.imaginary_thz == pytest.approx(thz(4 * HEIGHT / WIDTH**2), rel=1e-6)
    for rate in (found.forward, found.backward):
        assert rate.barrier == pytest.approx(HEIGHT, abs=1e-9)
        assert rate.prefactor_thz == pytest.approx(thz(8 * HEIGHT / WIDTH**2), rel=1e-6)
    first, last = found.connection.minima
    assert first.system.positions[1, 0] == pytest.approx(-WIDTH, abs=1e-5)
    assert last.system.positions[1, 0] == pytest.approx(WIDTH, abs=1e-5)


def test_diffusion_is_that_of_a_walk_on_a_line(found):
    rate = thz(8 * HEIGHT / WIDTH**2) * np.exp(-HEIGHT / (KB * 300.0))
    assert jump_length(found) == pytest.approx(2 * WIDTH, abs=1e-5)
    for jump in (None, 1.0):
        options = Options(dimensions=1, jumps=2, jump=jump)
        expected = rate * (jump or 2 * WIDTH) ** 2  # both ways: D = rate length²
        assert diffusion(found, options, np.array(300.0)) == pytest.approx(expected, rel=1e-4)


def test_zero_point_energy_lowers_the_barrier_by_half_a_quantum(well, outcome, found):
    quantum = ase.units._hplanck / ase.units._e * 1e12  # eV/THz
    shifted = refine(well, outcome, Options(zero_point=True)).forward
    assert found.forward.correction == 0.0
    expected = -quantum * thz(8 * HEIGHT / WIDTH**2) / 2  # the saddle lacks this vibration
    assert shifted.correction == pytest.approx(expected, rel=1e-5)


def test_bands_without_a_saddle_give_none(well, outcome):
    lost = dataclasses.replace(outcome, status="exploded")
    assert refine(well, lost).status == "no_band"
    end = refine(well, dataclasses.replace(outcome, top=0))
    assert end.status == "no_saddle"
    for function in (jump_length, lambda one: diffusion(one, Options(), np.array(300.0))):
        with pytest.raises(InputError, match="highest image"):
            function(end)


def test_a_search_that_is_too_short_gives_no_rate(well, outcome):
    few = Options(search={"steps": 1, "force": 1e-12})
    found = refine(well, outcome, few)
    assert found.status == "not_stationary"
    assert "max_steps" in found.reason
    assert found.forward is None


def test_a_flat_mode_is_not_harmonic(outcome):
    """Nothing holds the atom across the path but a breath."""
    flat = landscape("double_well", height=HEIGHT, width=WIDTH, across=2e-3)
    vague = Options(search={"flat": 1e-4})
    found = refine(flat, outcome, vague)
    assert found.status == "found"  # 0.01 THz is the limit of ``rates``
    flatter = landscape("double_well", height=HEIGHT, width=WIDTH, across=5e-6)
    found = refine(flatter, outcome, Options(search={"flat": 1e-7}))
    assert found.status == "not_harmonic"
    assert "THz" in found.reason
    assert found.forward is None


def test_other_minima_are_told(well, outcome):
    """The ends of the band are moved away from the minima that belong to the saddle."""
    places = outcome.band.positions.copy()
    places[-1, 1, 0] += 0.8
    moved = dataclasses.replace(outcome, band=outcome.band._replace(positions=places))
    found = refine(well, moved)
    assert found.found
    assert "several steps" in found.reason
    with pytest.raises(InputError, match="end to end"):
        diffusion(found, Options(), np.array(300.0))


def test_bad_input(outcome):
    for temperatures in ((), (0.0,), (300.0, 300.0)):
        with pytest.raises(ValueError, match="temperatures"):
            Options(temperatures_k=temperatures)
    assert set(transition.STATUSES) >= {"found", "not_harmonic"}
    lj = lennard_jones((18,), cutoff=6.0)
    blind = dataclasses.replace(lj, model=Blind(**lj.model.__dict__))
    with pytest.raises(CompatibilityError, match="second derivatives"):
        refine(blind, outcome)


class Blind(type(lennard_jones((18,), cutoff=6.0).model)):
    supports = frozenset()
