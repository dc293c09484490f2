import numpy as np
import pytest

from mlffjax.pathways import bands
from mlffjax.pathways.elastic import relax_bands
from mlffjax.pathways.saddle import refine_saddle
from mlffjax.potential.pair import lennard_jones
from mlffjax.probes import saddle
from mlffjax.units import KB

ARGON = lennard_jones((18,), epsilon=0.0104, sigma=3.4, cutoff=5.5)


@pytest.fixture(scope="module")
def probe():
    return saddle.build(*saddle.example())


@pytest.fixture(scope="module")
def found(probe):
    return probe.measure(ARGON)


def scalars(found):
    return {name: float(value) for name, value in found.items() if np.ndim(value) == 0}


def test_the_saddle_is_that_of_a_search_by_hand(probe, found):
    config, context = saddle.example()
    band = bands.from_path(context.paths["hop"], fixed=config.fixed)
    outcome = relax_bands([ARGON], [band], config.relaxation)[0][0]
    assert found["barrier_band"] == pytest.approx(outcome.barrier, abs=1e-12)
    held = np.arange(9) < 8
    by_hand = refine_saddle(ARGON, outcome.image(outcome.top), fixed=held)
    # The atom in the middle of the face, by symmetry.
    np.testing.assert_allclose(found["positions_saddle_model"], by_hand.system.positions, atol=1e-5)
    assert found["negative_modes"] == 1
    assert found["status"] == 0
    assert found["connected"] == 1
    assert found["residual"] < 1e-6
    assert found["jump"] == pytest.approx(3.9, abs=1e-4)
    assert set(scalars(found)) == set(probe.units)
    assert probe.inspect(scalars(found)) == []


def test_rate_and_diffusion_follow_from_barrier_and_prefactor(found):
    rate = found["prefactor"] * np.exp(-found["barrier"] / (KB * 40.0))  # 1/ps
    assert found["rate/40K"] == pytest.approx(1e3 * rate, rel=1e-9)
    # Six neighbours at 3.9 Å in three dimensions: D = rate length²; 1 Å²/ps is 1e-4 cm²/s.
    assert found["diffusion/40K"] == pytest.approx(1e-4 * rate * found["jump"] ** 2, rel=1e-9)
    line = saddle.line(saddle.example()[0].transition)
    there = np.interp(1 / 40.0, 1 / line[::-1], np.log(found["arrhenius_diffusion_model"])[::-1])
    assert there == pytest.approx(float(np.log(found["diffusion/40K"])), rel=1e-6)


def test_the_prefactor_is_a_product_of_frequencies(found):
    below, above = found["frequencies_minimum_model"], found["frequencies_saddle_model"]
    assert above[0] < 0 < above[1]
    product = np.prod(below) / np.prod(above[1:])
    assert found["prefactor"] == pytest.approx(float(product), rel=1e-9)
    assert found["imaginary_frequency"] == pytest.approx(-float(above[0]))


def test_what_is_not_found_has_no_rate_and_a_reason():
    config, context = saddle.example()
    hasty = config.relaxation.model_copy(update={"max_steps": 2, "retry": False})
    changes = {"relaxation": hasty, "fixed": ()}
    probe = saddle.build(config.model_copy(update=changes), context)
    found = scalars(probe.measure(ARGON))
    assert np.isnan([found["barrier"], found["rate/40K"], found["prefactor"]]).all()
    (said,) = probe.inspect(found)
    assert "no rate: the band did not relax" in said
    assert probe.requires == {"hessian"}


def test_several_steps_are_told(probe, found):
    (said,) = probe.inspect(scalars(found) | {"connected": 0.0})
    assert "several steps" in said
