"""Probes that run molecular dynamics: what they measure, refuse, and keep."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.analysis.vibrations import check_sampling
from mlffjax.config import validate
from mlffjax.dynamics.frames import from_frames
from mlffjax.errors import ConfigError, InputError
from mlffjax.potential.pair import lennard_jones
from mlffjax.probes import _dynamics, conductivity, stability, transport
from mlffjax.structures.geometry import repeated


def argon(epsilon=0.0104):
    found = lennard_jones((18,), epsilon=epsilon, sigma=3.4, cutoff=5.5)
    return trees.cast(found, jnp.float64)


def settings(module, **changes):
    """The example's section with other entries, read as from a file."""
    section, context = module.example()
    data = section.model_dump(mode="json") | changes
    return validate(data, module.Config, where="test"), context


@pytest.fixture(scope="module")
def motion():
    section, context = transport.example()
    return transport.build(section, context).measure(argon())


def test_a_supercell_repeats_the_start():
    start, context = _dynamics.example_start()
    one = _dynamics.starting_system(start, context)
    many = _dynamics.starting_system(start.model_copy(update={"repeat": (2, 1, 3)}), context)
    assert len(many.numbers) == 6 * len(one.numbers)
    np.testing.assert_allclose(np.linalg.det(many.cell), 6 * np.linalg.det(one.cell))
    shift = many.positions[-len(one.numbers) :] - one.positions
    np.testing.assert_allclose(shift, np.tile(one.cell[0] + 2 * one.cell[2], (len(shift), 1)))


def test_open_directions_are_not_repeated():
    start, context = _dynamics.example_start()
    open_one = _dynamics.starting_system(start, context)._replace(pbc=np.array([True, True, False]))
    with pytest.raises(InputError, match="periodic directions only"):
        repeated(open_one, (1, 1, 2))


def test_a_start_that_is_not_there_names_the_kinds():
    section, context = settings(stability, start={"config_type": "kimd*"})
    with pytest.raises(ConfigError, match="kinds of the data set: kind0, kind1"):
        stability.build(section, context)


def test_a_stable_run_survives_and_keeps_its_energy(tmp_path):
    section, context = stability.example()
    found = stability.build(section, context).measure(argon(), tmp_path)
    assert found["survived"] == 1
    assert found["time"] == pytest.approx(60 * 5 / 1000)
    # Lennard-Jones at 5 fs and 20 K: the energy error of Verlet is far below a microelectronvolt
    # per step and does not accumulate; a wrong force would drift by orders of magnitude more.
    assert abs(found["energy_drift"]) < 200
    assert (tmp_path / "production.h5md").is_file() or list(tmp_path.glob("production*"))


def test_an_explosion_is_a_result():
    section, context = stability.example()
    probe = stability.build(section, context)
    found = probe.measure(argon(epsilon=-2.0))  # attraction and repulsion swapped
    assert found["survived"] == 0
    assert found["status"] > 0
    assert np.isnan(found["temperature"])
    scalars = {name: float(value) for name, value in found.items() if not np.ndim(value)}
    assert "did not get to the end" in probe.inspect(scalars)[0]


def test_a_killed_probe_goes_on_where_it_was(tmp_path):
    section, context = stability.example()
    md = section.md.model_copy(update={"checkpoint_every": 20})
    section = section.model_copy(update={"md": md})
    probe = stability.build(section, context)
    whole = probe.measure(argon())

    half = dataclasses.replace(probe)
    short = section.model_copy(update={"md": md.model_copy(update={"steps": 40})})
    stability.build(short, context).measure(argon(), tmp_path)  # as far as it got
    resumed = half.measure(argon(), tmp_path)
    for name in ("temperature", "rmsd", "energy_drift"):
        assert float(resumed[name]) == float(whole[name]), name


def test_motion_of_a_cold_crystal(motion):
    # Simple cubic argon collapses slowly; over 0.6 ps atoms only rattle.
    assert motion["diffusion_seen_in_plane/Ar"] in (0, 1)
    assert motion["diffusion_bound_in_plane/Ar"] > 0
    assert motion["vacf"][0] == 1
    spacing = motion["vdos_thz"][1] - motion["vdos_thz"][0]
    # 8 atoms have 3 * 8 - 3 modes, whatever the number of replicas.
    np.testing.assert_allclose(motion["vdos"].sum() * spacing, 21, rtol=1e-6)


def test_distance_from_the_reference_vanishes_for_itself():
    section, context = transport.example()
    frames = [f for f in context.frames if f.config_type == "kind1"]
    other = from_frames([f.system for f in frames], timestep_fs=5.0)
    section = section.model_copy(update={"reference_type": None, "trajectory": "own"})
    probe = transport.build(section, context._replace(trajectories={"own": other}))
    np.testing.assert_array_equal(
        probe.constants["rdf_reference"],
        transport.build(transport.example()[0], context).constants["rdf_reference"],
    )
    # Three snapshots say nothing about velocities.
    assert "vacf_difference" in probe.reasons


@pytest.mark.parametrize(
    ("module", "changes", "message"),
    [
        (transport, {"reference_type": "x", "trajectory": "y"}, "got both"),
        (transport, {"r_max": -1}, "r_max"),
        (conductivity, {"every": 10}, "coarse for optical modes"),
        (stability, {"md": {"temperature_k": -5, "steps": 10, "ensemble": {"kind": "nve"}}},
         "temperature_k"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused(module, changes, message):
    with pytest.raises(ConfigError, match=message):
        settings(module, **changes)


def test_too_few_samples_of_the_heat_flux_are_refused():
    section, _ = conductivity.example()
    md = section.md.model_dump(mode="json") | {"steps": 500}
    with pytest.raises(ConfigError, match="1000 samples"):
        settings(conductivity, md=md)


def test_velocities_too_far_apart_are_refused():
    section, _ = transport.example()
    md = section.md.model_dump(mode="json")
    md["intervals"] = md["intervals"] | {"velocities": 4}
    with pytest.raises(InputError):
        check_sampling(20.0)
    with pytest.raises(ConfigError, match="every 20 fs"):
        settings(transport, md=md)


def test_a_thermostat_in_production_is_flagged():
    section, context = conductivity.example()
    md = section.md.model_dump(mode="json") | {"ensemble": {"kind": "nvt_langevin"}}
    section, _ = settings(conductivity, md=md)
    probe = conductivity.build(section, context)
    fine = {"survived": 1.0, "status": 0.0, "doubts_in_plane": 0.0, "doubts_cross_plane": 0.0}
    assert "thermostatted" in probe.inspect(fine)[0]


def test_an_element_without_sites_is_named():
    hops = {"element": "Kr", "sites": [[0, 0, 0]], "radius": 1.0}
    section, context = settings(transport, hops=hops)
    with pytest.raises(ConfigError, match="no Kr in the structure, only Ar"):
        transport.build(section, context)
