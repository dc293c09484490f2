import ase.units
import numpy as np
import pytest

from mlffjax.analysis.heat_currents import (
    WATT_PER_METRE_KELVIN,
    checked,
    heat_currents,
    independent_currents,
)
from mlffjax.errors import InputError


def test_the_unit_of_conductivity_is_that_of_ase():
    # ase.units: J, m, s, in eV, Å, Å sqrt(u/eV).
    known = ase.units.J / ase.units.s / ase.units.m
    np.testing.assert_allclose(WATT_PER_METRE_KELVIN, known, rtol=1e-9)


def test_the_zero_of_energy_moves_the_heat_current_by_particle_currents(rng):
    records = rng.normal(size=(2, 50, 5, 3))
    found = heat_currents(records, np.array([-3.0, 2.0, 0.5]))
    expected = (
        records[:, :, 0] + records[:, :, 1]
        + 3 * records[:, :, 2] - 2 * records[:, :, 3] - 0.5 * records[:, :, 4]
    )  # fmt: skip
    np.testing.assert_allclose(found.heat, expected, atol=1e-14)
    np.testing.assert_array_equal(found.species, records[:, :, 2:])
    np.testing.assert_array_equal(heat_currents(records[0], np.zeros(3)).species[0],
                                  records[0, :, 2:])  # fmt: skip


def test_absent_elements_and_the_last_current_are_left_out(rng):
    species = rng.normal(size=(1, 20, 4, 3))
    species[:, :, 1] = 0
    kept = independent_currents(species)
    np.testing.assert_array_equal(kept, species[:, :, [0, 2]])
    assert independent_currents(species[:, :, :2]).shape == (1, 20, 0, 3)


def test_records_of_another_shape_are_refused(rng):
    with pytest.raises(InputError, match="5, 3"):
        heat_currents(rng.normal(size=(2, 50, 4, 3)), np.zeros(3))


def test_a_single_trajectory_may_come_without_its_axis(rng):
    currents = rng.normal(size=(1000, 3))
    settings = {"volume": 1.0, "temperature_k": 1.0, "axes": (0, 2), "ensemble": "nve"}
    found = checked(currents, np.arange(1000.0), **settings)
    np.testing.assert_array_equal(found.heat[0], currents[:, [0, 2]])
    assert found.interval_fs == 1.0
