"""Whole runs against ASE, against themselves cut in other pieces, and into the ground."""

import ase.units
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.md.verlet import VelocityVerlet

import mlffjax
from mlffjax import trees
from mlffjax.dynamics import heat_flux, runner
from mlffjax.dynamics.preparation import Observer
from mlffjax.dynamics.run import run
from mlffjax.dynamics.trajectory import read
from mlffjax.errors import ConfigError, InputError
from mlffjax.potential.base import Potential
from mlffjax.potential.pair import LennardJonesModel, lennard_jones
from mlffjax.structures.system import to_ase


def samples(result, lane=0, stage="production"):
    return result.lanes[lane].samples[stage]


def values(result, name, lane=0):
    return samples(result, lane)[name].values


def same(first, second, lanes=((0, 0),)):
    """Bitwise equality of everything that was sampled."""
    for one, other in lanes:
        a, b = samples(first, one), samples(second, other)
        assert a.keys() == b.keys()
        for name in a:
            for left, right in zip(a[name], b[name], strict=True):
                np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    "pbc",
    [
        (True, True, False),
        pytest.param((True, True, True), marks=pytest.mark.slow),
        pytest.param((False, False, False), marks=pytest.mark.slow),
    ],
)
def test_velocity_verlet_is_that_of_ase(mixture, settings, pbc):
    potential, system = mixture
    system = system._replace(pbc=np.array(pbc))
    config = settings(steps=60, timestep_fs=3.0)
    result = run(potential, system, config)
    assert result.ok
    assert result.rebuilds > 0  # the list changed under way
    atoms = to_ase(system)
    atoms.calc = mlffjax.calculator(potential)
    speeds = values(result, "velocities")[0] / ase.units.fs  # Å/fs to ASE's unit
    atoms.set_velocities(speeds)
    dynamics = VelocityVerlet(atoms, timestep=3.0 * ase.units.fs)
    positions, energies = [atoms.positions.copy()], [atoms.get_total_energy()]
    for _ in range(60):
        dynamics.run(1)
        positions.append(atoms.positions.copy())
        energies.append(atoms.get_total_energy())
    # Rounding grows by chaos, some 1e-15 doubled every few steps; units agree to all digits.
    np.testing.assert_allclose(values(result, "positions"), positions[::5], atol=1e-11)
    np.testing.assert_allclose(values(result, "conserved"), energies, atol=1e-11)
    assert samples(result)["positions"].steps.tolist() == list(range(0, 61, 5))
    np.testing.assert_allclose(samples(result)["positions"].times_fs, np.arange(0, 181, 15.0))


def test_energy_error_shrinks_with_the_square_of_the_time_step(argon, settings):
    potential, system = argon
    start = run(potential, system, settings("nvt_langevin", steps=250)).lanes[0]
    errors = []
    for timestep in (8.0, 4.0, 2.0):
        config = settings(steps=int(1600 / timestep), timestep_fs=timestep)
        result = run(potential, start.system, config, velocities=start.velocities)
        energy = values(result, "conserved")
        time = np.arange(len(energy)) * timestep
        slope = np.polyfit(time, energy, 1)[0]
        errors.append((energy - np.polyval(np.polyfit(time, energy, 1), time)).std())
        # Below 1 meV/atom/ns (1e-9 eV/atom/fs) at 2 fs; 1.6 ps cannot tell more than its noise.
        if timestep == 2.0:
            assert abs(slope) / 32 < 2e-9
    slopes = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(slopes, 2.0, atol=0.2)


def test_momentum_is_conserved_and_velocities_are_those_of_the_temperature(mixture, settings):
    potential, system = mixture
    masses = np.where(system.numbers == 36, 83.798, 39.95)
    for kind in ("nve", "nvt_langevin", "nvt_nose_hoover", "nvt_csvr", "npt_rescaling", "npt_mtk"):
        ensemble = {"kind": kind} | ({"bulk_modulus_gpa": 3} if kind == "npt_rescaling" else {})
        config = settings(ensemble=ensemble, steps=20, initial_velocities="exact")
        result = run(potential, system, config, masses=masses)
        momentum = np.einsum("n,snx->sx", masses, values(result, "velocities"))
        # In u Å/fs; single momenta are of order 0.1.
        np.testing.assert_allclose(momentum, 0, atol=1e-14)
        np.testing.assert_allclose(values(result, "temperature")[0], 40, rtol=1e-12)


@pytest.mark.parametrize("kind", ["nve", "nvt_langevin", "npt_rescaling"])
def test_a_list_with_skin_changes_nothing(argon, settings, kind):
    potential, system = argon
    runs = [run(potential, system, settings(kind, steps=60, skin=skin)) for skin in (0.0, 0.3)]
    assert runs[0].rebuilds >= 60 > 10 * runs[1].rebuilds > 0
    for name in samples(runs[0]):
        # Sums in another order, grown by 60 steps.
        np.testing.assert_allclose(
            values(runs[0], name), values(runs[1], name), rtol=1e-9, atol=1e-11
        )


def test_more_neighbours_than_slots_enlarge_the_arrays_without_a_trace(
    argon, settings, monkeypatch
):
    potential, system = argon
    config = settings("nvt_csvr", steps=50)
    expected = run(potential, system, config)
    begin = runner.Runner.begin

    def cramped(self, index, channels):
        self.slots = 12  # after the first evaluation, so that the loop meets it
        begin(self, index, channels)

    monkeypatch.setattr(runner.Runner, "begin", cramped)
    result = run(potential, system, config)
    assert (expected.growths, result.growths) == (0, 1)
    for name in samples(result):
        np.testing.assert_allclose(values(result, name), values(expected, name), atol=1e-12)


def test_one_compilation_serves_a_run_and_its_repetitions(argon, settings):
    traces = []

    class Counting(LennardJonesModel):
        def atomic_energies(self, params, graph):
            traces.append(graph.neighbors.shape)
            return super().atomic_energies(params, graph)

    potential, system = argon
    counting = Potential(potential.params, Counting((18, 36), cutoff=6.5))
    result = run(counting, system, settings("nvt_langevin", steps=200))
    assert result.rebuilds > 3
    first = len(traces)
    assert first <= 4  # the first forces, the loop, and what XLA asks for again
    run(counting, system, settings("nvt_langevin", steps=150, seed=3, temperature_k=30))
    assert len(traces) == first


def test_pieces_of_any_length_give_the_same_bits(argon, settings):
    potential, system = argon
    runs = [
        run(potential, system, settings("nvt_langevin", steps=90, checkpoint_every=every))
        for every in (1, 7, 1000)
    ]
    same(runs[0], runs[1])
    same(runs[0], runs[2])


@pytest.mark.parametrize(
    "kind", ["nvt_csvr", pytest.param("npt_rescaling", marks=pytest.mark.slow)]
)
def test_lanes_are_what_runs_of_their_own_would_be(argon, settings, kind):
    first, system = argon
    second = lennard_jones((18, 36), epsilon=0.0095, cutoff=6.5)
    together = run(
        trees.stack([first, second]), system, settings(kind, steps=60, replicas=2, seed=5)
    )
    assert together.ok
    assert [(lane.model, lane.replica) for lane in together.lanes] == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    ]
    for model, potential in enumerate((first, second)):
        alone = run(potential, system, settings(kind, steps=60, replicas=2, seed=5))
        single = run(potential, system, settings(kind, steps=60, seed=5))
        for name in samples(single):
            # Programs for one lane and for several may round differently in the last bit.
            np.testing.assert_allclose(
                values(together, name, 2 * model), values(single, name), rtol=1e-9, atol=1e-11
            )
            np.testing.assert_allclose(
                values(together, name, 2 * model + 1), values(alone, name, 1), rtol=1e-9, atol=1e-11
            )
    assert not np.array_equal(values(together, "positions", 0), values(together, "positions", 1))


def test_lanes_evaluated_at_once_agree_with_lanes_in_turn(argon, settings, monkeypatch):
    potential, system = argon
    config = settings("nvt_csvr", steps=40, replicas=2)
    turn = run(potential, system, config)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    once = run(potential, system, config)
    for lane in range(2):
        for name in samples(turn, lane):
            np.testing.assert_allclose(
                values(once, name, lane), values(turn, name, lane), rtol=1e-9, atol=1e-11
            )


def test_forces_in_single_precision_follow_those_in_double(argon, settings):
    potential, system = argon
    system = system._replace(
        positions=system.positions + np.array([300.0, 0, 0])
    )  # far from the cell
    double, single = (
        run(potential, system, settings(steps=50, precision=precision))
        for precision in ("float64", "float32")
    )
    difference = np.abs(values(double, "positions") - values(single, "positions")).max()
    # Forces are good to 1e-6 of some 0.05 eV/Å; over 200 fs that moves argon by 1e-7 Å.
    assert 0 < difference < 1e-6
    momentum = values(single, "velocities").sum(axis=1)
    np.testing.assert_allclose(momentum, 0, atol=1e-15)


def test_stages_follow_each_other_and_observers_watch_the_last(argon, settings):
    potential, system = argon
    config = settings(
        steps=30,
        equilibration=[
            {"ensemble": {"kind": "npt_rescaling", "bulk_modulus_gpa": 3}, "steps": 20},
            {"ensemble": {"kind": "nvt_csvr"}, "steps": 10, "temperature_k": 20},
        ],
        intervals={"thermo": 5, "positions": 10, "velocities": 10},
    )
    watch = {"heat_flux": Observer(10, heat_flux.observe, "eV Å/t")}
    result = run(potential, system, config, observers=watch)
    assert result.stages == ("equilibration-0", "equilibration-1", "production")
    lane = result.lanes[0]
    assert set(lane.samples) == set(result.stages)
    assert "cell" in lane.samples["equilibration-0"]
    assert "positions" not in lane.samples["equilibration-1"]
    last = lane.samples["equilibration-1"]["potential_energy"].values[-1]
    assert last == lane.samples["production"]["potential_energy"].values[0]
    flux = lane.samples["production"]["heat_flux"]
    assert flux.values.shape == (4, 4, 3)
    assert flux.steps.tolist() == [0, 10, 20, 30]
    # The last two rows are particle currents: with equal masses they add up to nothing.
    np.testing.assert_allclose(flux.values[:, 2:].sum(axis=1), 0, atol=1e-14)
    graph_free = values(result, "velocities")
    assert graph_free.shape == (4, 32, 3)


def test_files_hold_what_memory_would(argon, settings, tmp_path):
    potential, system = argon
    config = settings("npt_rescaling", steps=60, replicas=2)
    kept = run(potential, system, config)
    stored = run(potential, system, config, directory=tmp_path)
    for lane in range(2):
        trajectory = read(stored.lanes[lane].files["production"])
        for name, expected in samples(kept, lane).items():
            np.testing.assert_array_equal(trajectory[name].steps, expected.steps)
            wanted = expected.values.astype(np.float32 if name == "velocities" else np.float64)
            np.testing.assert_array_equal(trajectory[name][:], wanted)
    assert stored.lanes[0].samples == {}


def unstable(potential, system, settings, **changes):
    return run(potential, system, settings(steps=400, **changes))


def test_a_time_step_that_is_too_long_is_a_result(argon, settings):
    potential, system = argon
    result = unstable(potential, system, settings, timestep_fs=50.0, temperature_k=2000, skin=1.0)
    lane = result.lanes[0]
    assert lane.status in ("too hot", "energy lost", "too close")
    assert not lane.ok
    assert lane.step < 400
    assert f"step {lane.step} of production" in lane.reason
    assert np.isfinite(lane.system.positions).all()
    assert np.isfinite(lane.velocities).all()
    for series in lane.samples["production"].values():
        assert np.isfinite(series.values).all()
        assert series.steps[-1] <= lane.step


def test_atoms_that_collide_stop_the_run(argon, settings):
    potential, system = argon
    velocities = np.zeros((32, 3))
    first, second = 0, 1
    direction = system.positions[second] - system.positions[first]
    velocities[first] = 0.1 * direction / np.linalg.norm(direction)  # 21 eV each
    velocities[second] = -velocities[first]
    result = run(
        potential,
        system,
        settings(
            steps=200,
            timestep_fs=1.0,
            limits={"temperature_k": 1e7, "energy_per_atom": 50, "contact": 0.95},
        ),
        velocities=velocities,
    )
    lane = result.lanes[0]
    assert lane.status == "too close"
    assert lane.atom in (first, second)
    assert "covalent" in lane.reason
    distance = np.linalg.norm(lane.system.positions[first] - lane.system.positions[second])
    assert distance > 0.95 * 2 * 1.06  # the last good state is before; Cordero's radius of argon


def test_heat_stops_the_run(argon, settings):
    potential, system = argon
    result = run(potential, system, settings(steps=50, limits={"temperature_k": 41}))
    assert result.lanes[0].status == "too hot" or result.ok
    hot = run(potential, system, settings(steps=50, temperature_k=80, limits={"temperature_k": 30}))
    assert hot.lanes[0].status == "too hot"
    assert hot.lanes[0].atom is not None
    assert hot.lanes[0].step == 0


class Leaking(LennardJonesModel):
    """Energies that depend on where in space the structure is; forces do not say so."""

    def atomic_energies(self, params, graph):
        energies = super().atomic_energies(params, graph)
        return energies + jax.lax.stop_gradient(jnp.abs(graph.positions).sum(axis=1))


class Breaking(LennardJonesModel):
    """Not a number once an atom has left its site."""

    def atomic_energies(self, params, graph):
        energies = super().atomic_energies(params, graph)
        vectors = graph.positions[graph.neighbors[:, 0]] - graph.positions
        spread = jnp.abs(vectors - jnp.round(vectors / 2.65) * 2.65).max()
        return jnp.where(spread > 0.25, jnp.nan, energies)


def test_energy_that_is_not_conserved_stops_the_run(argon, settings):
    potential, system = argon
    leaking = Potential(potential.params, Leaking((18, 36), cutoff=6.5))
    lane = run(leaking, system, settings(steps=200, temperature_k=60)).lanes[0]
    assert lane.status == "energy lost"
    assert lane.step < 200


def test_forces_that_are_no_numbers_stop_one_lane_and_not_the_others(argon, settings):
    potential, system = argon
    breaking = Potential(potential.params, Breaking((18, 36), cutoff=6.5))
    moving = run(breaking, system, settings(steps=60, temperature_k=60)).lanes[0]
    assert moving.status == "not finite"
    assert 0 < moving.step < 60
    still = np.zeros((2, 32, 3))
    still[0] = moving.velocities * 0 + np.random.default_rng(0).normal(scale=2e-3, size=(32, 3))
    config = settings(steps=60, replicas=2)
    result = run(breaking, system, config, velocities=still)
    assert [lane.status for lane in result.lanes] == ["not finite", "finished"]
    assert samples(result, 0)["temperature"].steps[-1] == result.lanes[0].step
    assert samples(result, 1)["temperature"].steps[-1] == 60


def test_bad_input_is_refused_with_a_remedy(argon, settings):
    potential, system = argon
    near = system._replace(positions=system.positions.copy())
    near.positions[1] = near.positions[0] + [0.3, 0, 0]
    with pytest.raises(InputError, match=r"atoms 0 and 1 .* 0.3 Å apart"):
        run(potential, near, settings())
    with pytest.raises(InputError, match="positive masses"):
        run(potential, system, settings(), masses=np.zeros(32))
    one = system._replace(positions=np.zeros((1, 3)), numbers=np.array([18], np.int32))
    with pytest.raises(InputError, match="at least 2 atoms"):
        run(potential, one, settings())
    with pytest.raises(InputError, match="clusters only"):
        run(potential, system, settings(remove_rotation=True))
    with pytest.raises(InputError, match="set replicas to"):
        run(potential, [system] * 3, settings(replicas=2))
    other = system._replace(numbers=np.full(32, 36, np.int32))
    with pytest.raises(InputError, match="same atoms in the same order"):
        run(potential, [system, other], settings(replicas=2))
    with pytest.raises(InputError, match="velocities in Å/fs"):
        run(potential, system, settings(), velocities=np.zeros((31, 3)))
    with pytest.raises(ConfigError, match="between 1 and the 100 steps"):
        run(potential, system, settings(), observers={"x": (101, heat_flux.observe)})
    with pytest.raises(ConfigError, match="above 0 K"):
        run(potential, system, settings("nvt_nose_hoover", temperature_k=0))
    with pytest.raises(ConfigError, match="at least 5 time steps"):
        run(potential, system, settings(ensemble={"kind": "nvt_csvr", "time_fs": 10}))


def test_64_bit_numbers_are_asked_for(argon, settings):
    potential, system = argon
    with jax.enable_x64(False), pytest.raises(ConfigError, match="jax_enable_x64"):
        run(potential, system, settings())
