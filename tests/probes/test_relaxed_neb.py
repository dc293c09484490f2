import dataclasses

import numpy as np
import pytest

from mlffjax.errors import ConfigError, InputError
from mlffjax.pathways import bands
from mlffjax.pathways.elastic import relax_bands
from mlffjax.pathways.settings import Elastic
from mlffjax.potential.pair import lennard_jones
from mlffjax.probes import fixed_path, relaxed_neb
from mlffjax.probes._example import migration

ARGON = lennard_jones((18,), epsilon=0.0104, sigma=3.4, cutoff=5.5)


@pytest.fixture(scope="module")
def probe():
    return relaxed_neb.build(*relaxed_neb.example())


@pytest.fixture(scope="module")
def found(probe):
    return probe.measure(ARGON)


def scalars(found):
    return {name: float(value) for name, value in found.items() if np.ndim(value) == 0}


def configured(**changes):
    config, context = relaxed_neb.example()
    return relaxed_neb.build(config.model_copy(update=changes), context)


def test_three_barriers_are_told_apart(found):
    config, context = relaxed_neb.example()
    plain = fixed_path.build(fixed_path.Config(name="x", path="hop"), context).measure(ARGON)
    assert found["barrier_fixed"] == pytest.approx(float(plain["barrier"]), abs=1e-10)
    band = bands.from_path(context.paths["hop"])
    outcome = relax_bands([ARGON], [band], config.relaxation)[0][0]
    assert found["barrier"] == outcome.barrier
    assert found["barrier_matched"] != pytest.approx(float(found["barrier_fixed"]), abs=1e-3)
    # The relaxed band has the same saddle by symmetry but lower neighbours.
    assert found["barrier"] < found["barrier_fixed"]
    assert found["converged"] == 1
    assert found["status"] == 0
    assert found["attempts"] == 1
    assert 0 < found["strain_largest"] < 0.1


def test_errors_are_model_minus_reference(found):
    for name in ("barrier", "barrier_fixed", "barrier_matched"):
        expected = found[name] - found["barrier_reference"]
        assert found[f"{name}_error"] == pytest.approx(float(expected), abs=1e-12)
    assert found["barrier_reference"] == pytest.approx(0.3, abs=1e-12)
    assert found["asymmetry_error"] == pytest.approx(float(found["asymmetry"]), abs=1e-12)


def test_arrays_draw_the_path_and_its_history(found):
    images = len(found["energy_model"])
    assert found["energy_model"].max() == pytest.approx(float(found["barrier"]), abs=1e-12)
    assert found["arclength_model"][-1] == pytest.approx(float(found["path_length"]))
    curve = found["curve_energy_model"]
    assert curve.max() == pytest.approx(float(found["barrier_hermite"]), abs=1e-3)
    rows = int(found["iterations"])
    assert found["trace_residual"].shape == found["trace_attempt"].shape == (rows,)
    assert found["trace_energy"].shape == (rows, images)
    assert found["trace_residual"][-1] == found["residual"]


def test_a_new_interpolation_gives_the_same_barrier(found):
    again = configured(start="idpp", lattice="none").measure(ARGON)
    # Within the tolerance of the forces: 0.02 eV/Å squared over 0.1 eV/Å², and less.
    assert again["barrier"] == pytest.approx(float(found["barrier"]), abs=4e-3)


@pytest.mark.parametrize("start", ["path", "linear", "idpp"])
def test_the_number_of_images_is_free(start):
    config, context = relaxed_neb.example()
    reference = bands.from_path(context.paths["hop"])
    found = relaxed_neb._start(config.model_copy(update={"start": start, "images": 7}), reference)
    assert found.positions.shape == (7, 9, 3)
    ends = reference.positions[[0, -1]]
    np.testing.assert_allclose(found.positions[[0, -1]], ends, atol=1e-12)


def test_what_cannot_be_had_has_a_reason():
    config, _ = relaxed_neb.example()
    context = migration(images=5, labelled=False)
    without = relaxed_neb.build(config.model_copy(update={"lattice": "none"}), context)
    assert "no reference energies" in without.reasons["barrier_error"]
    assert "left alone" in without.reasons["barrier_matched"]


def test_failures_have_no_barrier_and_are_reported(probe):
    short = configured(relaxation=Elastic(max_steps=2, retry=False), lattice="none")
    metrics = scalars(short.measure(ARGON))
    assert np.isnan(metrics["barrier"])
    assert np.isnan(metrics["barrier_error"])
    assert np.isfinite(metrics["height_last"])
    assert metrics["converged"] == 0
    assert "not converged, so there is no barrier" in short.inspect(metrics)[0]
    for status, word in ((2, "failed in all"), (3, "failed in all"), (4, "one minimum")):
        assert word in probe.inspect(metrics | {"status": status, "failure": 3})[0]


def test_attempts_that_failed_before_the_band_grew_are_kept(found):
    config, context = relaxed_neb.example()
    band = bands.from_path(context.paths["hop"])
    outcome = relax_bands([ARGON], [band], config.relaxation)[0][0]
    (attempt,) = outcome.attempts
    early = attempt.traces._replace(energies=attempt.traces.energies[:, :3])
    both = (dataclasses.replace(attempt, traces=early), attempt)
    arrays = relaxed_neb.outcome_arrays(dataclasses.replace(outcome, attempts=both))
    rows = len(found["trace_residual"])
    assert arrays["trace_energy"].shape == (2 * rows, 5)
    assert np.isnan(arrays["trace_energy"][:rows, 3:]).all()
    np.testing.assert_array_equal(arrays["trace_energy"][rows:], found["trace_energy"])
    assert (arrays["trace_attempt"] == np.repeat([0, 1], rows)).all()


def test_good_and_doubtful_successes(probe, found):
    metrics = scalars(found)
    assert probe.inspect(metrics) == []
    assert "first attempt failed" in probe.inspect(metrics | {"attempts": 2.0})[0]
    assert "is an end" in probe.inspect(metrics | {"barrier": np.nan})[0]


def test_bad_input():
    with pytest.raises(ConfigError, match="known paths: hop"):
        configured(path="hup")
    with pytest.raises(InputError, match="fixed but moves"):
        configured(fixed=(8,))
    config, context = relaxed_neb.example()
    path = context.paths["hop"]
    frames = tuple(f._replace(system=f.system._replace(pbc=np.zeros(3, bool))) for f in path.frames)
    with pytest.raises(ConfigError, match="lattice: none"):
        relaxed_neb.build(config, context._replace(paths={"hop": path._replace(frames=frames)}))
