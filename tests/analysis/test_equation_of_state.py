import numpy as np
import pytest

from mlffjax import units
from mlffjax.analysis import equation_of_state
from mlffjax.errors import InputError

VOLUMES = np.linspace(28.0, 38.0, 9)


def birch_murnaghan(volume, e0, v0, b0, slope):
    """E(V) of third order; b0 in eV/Å³."""
    x = (v0 / volume) ** (2 / 3)
    return e0 + 9 * v0 * b0 / 16 * ((x - 1) ** 3 * slope + (x - 1) ** 2 * (6 - 4 * x))


def test_recovers_the_parameters_of_its_own_equation():
    energies = birch_murnaghan(VOLUMES, -3.7, 33.4, 47.8 * units.GPA, 5.2)
    found = equation_of_state.fit(VOLUMES, energies)
    # The equation is a cubic polynomial in V^(-2/3), so the fit is exact but for rounding.
    assert found == pytest.approx((33.4, -3.7, 47.8), rel=1e-9)


def test_agrees_with_ase():
    from ase.eos import EquationOfState

    energies = birch_murnaghan(VOLUMES, -3.7, 33.4, 0.3, 5.2) + 0.002 * np.sin(VOLUMES)
    volume, energy, bulk = EquationOfState(VOLUMES, energies, eos="birchmurnaghan").fit()
    found = equation_of_state.fit(VOLUMES, energies)
    # The same curve; ASE minimises the same squares iteratively.
    assert found == pytest.approx((volume, energy, bulk / units.GPA), rel=1e-4)


@pytest.mark.parametrize("energies", [-VOLUMES, np.full(9, np.nan)])
def test_no_minimum_gives_no_numbers(energies):
    assert np.isnan(equation_of_state.fit(VOLUMES, energies)).all()


def test_too_few_volumes_are_refused():
    with pytest.raises(InputError, match=r"at least 4 different volumes .* got 3"):
        equation_of_state.fit(np.array([1.0, 2.0, 3.0, 3.0]), np.zeros(4))
