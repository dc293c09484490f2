import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax.pathways import bands, hermite, outcome
from mlffjax.probes._example import migration


def test_curve_has_the_energies_and_minus_the_force_along_the_path():
    """The example's labels are 0.3 sin²(pi s) over a straight path of 3.9 Å."""
    path = migration(images=7).paths["hop"]
    band = bands.from_path(path)
    energies = np.array([frame.energy for frame in path.frames])
    forces = np.array([frame.forces for frame in path.frames])
    line = outcome.curve(band.positions, energies, forces)
    s = np.linspace(0, 1, 7)
    np.testing.assert_allclose(line.position, 3.9 * s, atol=1e-12)
    np.testing.assert_allclose(line.energy, 0.3 * np.sin(np.pi * s) ** 2, atol=1e-12)
    slope = 0.3 * np.pi * np.sin(2 * np.pi * s) / 3.9
    np.testing.assert_allclose(line.slope, slope, atol=1e-12)
    between = hermite.evaluate(line, jnp.array([0.25 * 3.9]))
    assert between[0] == pytest.approx(0.15, abs=(1 / 6) ** 4 * 234 / 384)  # h^4 max|E''''| / 384


def test_a_failure_before_any_band_has_no_numbers():
    band = bands.from_path(migration(images=5).paths["hop"])
    found = outcome.failed_outcome(band, "exploded", "because", 3, 17)
    assert (found.status, found.reason, found.code, found.iterations) == (
        "exploded", "because", 3, 17,
    )  # fmt: skip
    numbers = (found.barrier, found.height_last, found.residual, found.residual_top)
    assert np.isnan(numbers).all()
    assert np.isnan(found.energies).all()
    assert found.traces is None
    assert not found.converged
    told = found.told("why", ())
    assert told.cause == "why"
    assert told.reason == "because"
