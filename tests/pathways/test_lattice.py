import numpy as np
import pytest

from mlffjax.pathways import bands, lattice
from mlffjax.pathways.settings import Relaxation
from mlffjax.potential.pair import lennard_jones
from mlffjax.probes._example import migration

ARGON = lennard_jones((18,), cutoff=5.5)


@pytest.fixture(scope="module")
def band():
    return bands.from_path(migration(images=5).paths["hop"])


def test_a_strained_path_comes_back_to_the_lattice_of_the_potential(band):
    """However the path was strained, the potential finds the same lattice."""
    settings = Relaxation(cell="isotropic", fmax=1e-4, optimizer="ode12r")
    volumes = []
    for factor in (0.98, 1.03):
        strained = lattice.deformed(band, factor * np.eye(3)).band
        relaxed, own = lattice.matched([ARGON], strained, settings)[0]
        assert relaxed.status == "converged"
        volumes.append(np.linalg.det(own.band.cell))
        np.testing.assert_allclose(own.band.cell, relaxed.system.cell, atol=1e-10)
        np.testing.assert_allclose(own.strain, own.strain[0, 0] * np.eye(3), atol=1e-10)
        # Fractional coordinates are those of the path as it was given.
        fractional = own.band.positions @ np.linalg.inv(own.band.cell)
        np.testing.assert_allclose(
            fractional, strained.positions @ np.linalg.inv(strained.cell), atol=1e-10
        )
    # Forces of 1e-4 eV/Å over a curvature of some 0.05 eV/Å² in a 470 Å^3 cell.
    assert volumes[0] == pytest.approx(volumes[1], rel=2e-3)
