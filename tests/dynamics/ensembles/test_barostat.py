"""Strains, exponentials, and structures that a barostat must not touch."""

import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax.config import validate
from mlffjax.dynamics.ensembles import _barostat, npt_mtk, npt_rescaling
from mlffjax.errors import ConfigError, InputError
from mlffjax.structures.system import System

MODES = ("isotropic", "xy+z", "z", "triclinic")


def layered(gap=3.0, pbc=(True, True, True)):
    """Two flat layers in a cell whose a and b lie in the xy plane."""
    positions = np.array([[0.0, 0, 0], [0, 0, 2.0], [2.0, 0, 0], [2.0, 0, 2.0]])
    cell = np.array([[4.0, 0, 0], [-2.0, 3.5, 0], [0.5, 0.2, 2.0 + gap]])
    return System(positions, np.full(4, 18, np.int32), cell, np.array(pbc))


@pytest.mark.parametrize("module", [npt_mtk, npt_rescaling])
@pytest.mark.parametrize("mode", MODES)
def test_slabs_and_clusters_are_refused(module, mode):
    config = module.Config(mode=mode)
    config.check(layered(), 6.0)
    with pytest.raises(InputError, match=r"gap of 12.0 Å .* lattice vector c"):
        config.check(layered(gap=12.0), 6.0)
    with pytest.raises(InputError, match="periodic in three"):
        config.check(layered(pbc=(True, True, False)), 6.0)


@pytest.mark.parametrize("mode", ["xy+z", "z"])
def test_layers_that_do_not_lie_in_the_plane_are_refused(mode):
    system = layered()
    turned = system._replace(
        positions=system.positions[:, ::-1].copy(), cell=system.cell[:, ::-1].copy()
    )
    with pytest.raises(InputError, match="must lie in the xy plane"):
        npt_rescaling.Config(mode=mode).check(turned, 6.0)
    npt_rescaling.Config(mode="triclinic").check(turned, 6.0)


@pytest.mark.parametrize("module", [npt_mtk, npt_rescaling])
def test_pressures_in_other_units_are_refused(module):
    for value in (101325, 1e5, 1.6e8):
        with pytest.raises(ConfigError, match="expected bar"):
            validate({"pressure_bar": value}, module.Config, where="here")
    assert module.Config(pressure_bar=-2000).pressure_bar == -2000


def test_gaps_are_measured_across_the_border_of_the_cell():
    system = layered(gap=3.0)
    system = system._replace(cell=system.cell * [[1, 1, 1], [1, 1, 1], [0, 0, 1]])  # upright
    gap, direction = _barostat.widest_gap(system._replace(positions=system.positions - 1.0))
    np.testing.assert_allclose(gap, 3.5, atol=1e-12)  # along b there is one layer only
    assert direction == 1
    gap, direction = _barostat.widest_gap(layered(gap=5.0))
    np.testing.assert_allclose(gap, 5.0, atol=1e-12)
    assert direction == 2


@pytest.mark.parametrize(("mode", "count"), list(zip(MODES, (1, 2, 1, 6), strict=True)))
def test_strains_are_orthonormal(mode, count):
    basis = _barostat.strains(mode)
    overlap = np.einsum("iab,jab->ij", basis, basis)
    np.testing.assert_allclose(overlap, np.eye(count), atol=1e-15)
    tensor = jnp.arange(9.0).reshape(3, 3)
    tensor = tensor + tensor.T
    once = _barostat.allowed(basis, tensor)
    np.testing.assert_allclose(_barostat.allowed(basis, once), once, atol=1e-14)
    if mode == "triclinic":
        np.testing.assert_allclose(once, tensor, atol=1e-14)


def test_exponentials_are_exact_for_strains_up_to_a_tenth(rng):
    matrix = rng.normal(size=(3, 3))
    matrix = matrix + matrix.T
    matrix *= 0.1 / np.abs(np.linalg.eigvalsh(matrix)).max()
    values, vectors = np.linalg.eigh(matrix)
    exact, mean = _barostat.exponentials(jnp.asarray(matrix))
    # A few roundings.
    np.testing.assert_allclose(exact, (vectors * np.exp(values)) @ vectors.T, atol=1e-15)
    ratio = np.expm1(values) / values
    np.testing.assert_allclose(mean, (vectors * ratio) @ vectors.T, atol=2e-15)
