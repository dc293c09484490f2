import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax.probes._dimer_curves import wells
from mlffjax.structures.dimers import RATIOS

R = 2.8 * RATIOS


def judged(function):
    """Numbers of one curve; its slope by central differences."""
    slope = (function(R + 1e-6) - function(R - 1e-6)) / 2e-6
    found = wells(*(jnp.asarray(values)[None] for values in (R, function(R), slope)))
    return {name: float(values[0]) for name, values in found._asdict().items()} | {
        "defect": float(found.defect[0])
    }


def morse(r):
    return 2.0 * ((1 - np.exp(-1.8 * (r - 2.9))) ** 2 - 1)


def test_a_wall_and_one_well_is_sound():
    found = judged(morse)
    assert found["defect"] == 0
    assert found["extrema"] == 1
    assert found["depth"] == pytest.approx(2.0, abs=0.02)  # grid of 0.09 Å; tail at 7 Å
    assert found["distance"] == pytest.approx(2.9, abs=0.06)  # half a step


def test_a_constant_changes_nothing():
    assert judged(lambda r: morse(r) + 100.0) == pytest.approx(judged(morse), abs=1e-9)


def test_a_second_well_is_a_ripple_of_its_barrier():
    def double(r):
        return morse(r) - 0.5 * np.exp(-(((r - 5.0) / 0.3) ** 2))

    found = judged(double)
    # The drop from the barrier into the second well.
    fine = np.linspace(3.5, 5.0, 2001)
    barrier = double(fine).max()
    assert found["ripple"] == pytest.approx(barrier - double(5.0), abs=0.02)
    assert (found["hole"], found["extrema"]) == (0, 3)


def test_a_wall_that_is_a_hole():
    def collapsing(r):
        return morse(r) - 30.0 * np.exp(-(((r - 2.0) / 0.3) ** 2))

    found = judged(collapsing)
    assert found["hole"] == pytest.approx(collapsing(2.8) - collapsing(R[0]), rel=1e-9)
    assert found["defect"] > 5
    assert found["distance"] == R[0]


def test_a_repulsive_curve_is_sound_and_has_no_well():
    found = judged(lambda r: np.exp(-2 * (r - 2.0)))
    assert (found["defect"], found["depth"], found["extrema"]) == (0, 0, 0)
