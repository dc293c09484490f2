import jax
import jax.numpy as jnp
import numpy as np
import pydantic
import pytest

from mlffjax import trees
from mlffjax.errors import ConfigError
from mlffjax.graphs.batching import build as build_graph
from mlffjax.pathways.settings import Relaxation
from mlffjax.potential import derivatives
from mlffjax.potential.pair import lennard_jones
from mlffjax.probes import strain
from mlffjax.probes._probe import Context
from mlffjax.structures.strains import strained

CUTOFF = 5.5
POTENTIAL = trees.cast(lennard_jones((18,), cutoff=CUTOFF), jnp.float64)
CONFIG = strain.Config(relaxation=Relaxation(cell="full", fmax=1e-5, optimizer="lbfgs"))
E0 = -7.0  # eV, which the potential does not know

_predict = jax.jit(derivatives.predict)


def labelled(frame):
    """The potential's own energy, forces and stress on a frame."""
    graph = build_graph([frame.system], (18,), CUTOFF, dtype=np.float64)
    found = _predict(POTENTIAL, graph)
    atoms = len(frame.system.numbers)
    return frame._replace(
        energy=float(found.energy[0]) + E0 * atoms, stress=np.asarray(found.stress[0])
    )


@pytest.fixture(scope="module")
def context():
    _, example = strain.example()
    return example._replace(frames=tuple(labelled(frame) for frame in example.frames))


@pytest.fixture(scope="module")
def found(context):
    probe = strain.build(CONFIG, context)
    return {name: np.asarray(v) for name, v in probe.measure(POTENTIAL).items()}


def test_labels_of_its_own_leave_no_error(found):
    for name in ("energy_rmse", "stress_rmse", "pressure_error", "volume_error"):
        # Energies of -28 eV differ by hundredths; rounding of sums.
        assert abs(found[name]) < 1e-11, name
    assert abs(found["bulk_modulus_error"]) < 1e-6
    assert found["energy_rmse/isotropic"] == found["energy_rmse"]


def test_lattice_of_the_relaxed_cell_is_the_minimum_of_the_scan(found):
    assert found["relaxed"] == 1
    # Four atoms in a cube; the equation of state is fitted over 3 % strain.
    assert found["a0"] ** 3 / 4 == pytest.approx(float(found["volume"]), rel=2e-3)
    assert found["c0"] == pytest.approx(float(found["a0"]), rel=1e-4)
    assert found["a_change"] == pytest.approx(float(found["a0"]) / 5.26 - 1)


def test_pressure_and_modulus_from_finite_differences(context, found):
    crystal = context.frames[3].system

    def energy(matrix):
        graph = build_graph([strained(crystal, matrix)], (18,), CUTOFF, dtype=np.float64)
        return float(_predict(POTENTIAL, graph).energy[0])

    volume, step = np.linalg.det(crystal.cell), 1e-4
    slope = (energy(step * np.eye(3)) - energy(-step * np.eye(3))) / (2 * step)
    from mlffjax.units import GPA

    # P = -dE/dV, and dV = 3 V strain; truncation 1e-8 times a ratio of derivatives of hundreds.
    assert found["pressure"] == pytest.approx(-slope / (3 * volume) / GPA, rel=1e-5)
    assert found["modulus_z"] > found["bulk_modulus"] > 0


def test_an_error_of_the_labels_is_found(context):
    worse = [f._replace(energy=f.energy * 1.001) for f in context.frames]
    shifted = [f._replace(stress=f.stress + 0.01 * np.eye(3)) for f in worse]
    probe = strain.build(CONFIG, context._replace(frames=tuple(shifted)))
    found = probe.measure(POTENTIAL)
    energies = np.array([f.energy / 4 for f in context.frames])
    assert found["energy_rmse"] == pytest.approx(1e-3 * energies.std(), rel=1e-6)
    # Tensile stress is negative pressure: the model's pressure is higher by 0.01 eV/Å³.
    assert found["pressure_error"] == pytest.approx(1.602, rel=1e-3)


def test_without_labels_there_are_curves_but_no_errors(context):
    frames = tuple(f._replace(stress=None) for f in context.frames)
    probe = strain.build(CONFIG, context._replace(frames=frames))
    assert "stress_rmse" in probe.reasons
    assert "energy_rmse" not in probe.reasons
    plain = tuple(f._replace(info={}) for f in frames)
    with pytest.raises(ConfigError, match="name a frame of the data under 'crystal'"):
        strain.build(CONFIG, context._replace(frames=plain))
    named = CONFIG.model_copy(update={"crystal": strain.Start(config_type="strain", frame=3)})
    probe = strain.build(named, context._replace(frames=plain))
    assert set(probe.reasons) == {*strain._FRAMES, *strain._STRESS, *strain._SCALED}
    assert np.isfinite(probe.measure(POTENTIAL)["bulk_modulus"])


def test_bundled_frames_serve_where_the_data_have_none():
    probe = strain.build(strain.Config(), Context((24, 51, 52), 4.0))
    assert probe.reasons == {}
    assert sorted(set(probe.constants["frame_series"].tolist())) == [
        "gap Sb8Te12", "isotropic Cr1Sb8Te12", "isotropic Sb8Te12",
    ]  # fmt: skip


def test_what_does_not_relax_is_said(context):
    short = CONFIG.relaxation.model_copy(update={"max_steps": 1, "fmax": 1e-9})
    stretched = context.frames[0]._replace(info={})
    probe = strain.build(
        CONFIG.model_copy(update={"relaxation": short, "crystal": strain.Start()}),
        context._replace(frames=(stretched, *context.frames)),
    )
    found = {n: float(v) for n, v in probe.measure(POTENTIAL).items() if np.ndim(v) == 0}
    assert found["relaxed"] == 0
    assert np.isnan([found["a0"], found["c_change"]]).all()
    assert "did not relax" in probe.inspect(found)[0]


@pytest.mark.parametrize("strains", [(0.0, 0.01), (-0.01, 0.01, 0.02, 0.03), (0.01, 0.0, -0.01)])
def test_strains_must_surround_zero(strains):
    with pytest.raises(pydantic.ValidationError):
        strain.Config(strains=strains)
    with pytest.raises(pydantic.ValidationError, match="a cell that relaxes"):
        strain.Config(relaxation=Relaxation(cell="none"))
