"""An interrupted run is continued as if nothing had happened, or refused by name."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors.numpy

from mlffjax import trees
from mlffjax.dynamics import checkpoint, runner
from mlffjax.dynamics.run import run
from mlffjax.dynamics.trajectory import read
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.potential.pair import lennard_jones

EQUILIBRATION = [{"ensemble": {"kind": "nvt_csvr"}, "steps": 50}]


class Stop(Exception):
    """Stands for a power cut."""


def contents(result):
    return {
        (lane, stage, name): (np.array(series.steps), np.array(series[:]))
        for lane, each in enumerate(result.lanes)
        for stage, file in each.files.items()
        for name, series in read(file).series.items()
    }


def assert_same(first, second):
    one, other = contents(first), contents(second)
    assert one.keys() == other.keys()
    for key, pair in one.items():
        for left, right in zip(pair, other[key], strict=True):
            np.testing.assert_array_equal(left, right, err_msg=str(key))
    for left, right in zip(first.lanes, second.lanes, strict=True):
        np.testing.assert_array_equal(left.system.positions, right.system.positions)
        np.testing.assert_array_equal(left.velocities, right.velocities)


# Before the first checkpoint, within equilibration, at its end, within production.
@pytest.mark.parametrize(
    ("kind", "replicas", "cuts"),
    [
        ("nvt_langevin", 1, (0, 2, 5, 8)),
        pytest.param("npt_rescaling", 2, (0, 2, 4, 5, 8), marks=pytest.mark.slow),
    ],
)
def test_a_run_cut_anywhere_continues_bit_by_bit(
    argon, settings, tmp_path, monkeypatch, kind, replicas, cuts
):
    potential, system = argon
    config = settings(
        kind, steps=100, equilibration=EQUILIBRATION, checkpoint_every=20, replicas=replicas
    )
    whole = run(potential, system, config, directory=tmp_path / "whole")
    assert whole.rebuilds > 2
    save = checkpoint.save
    for index, fatal in enumerate(cuts):
        calls = []

        def dying(*arguments, fatal=fatal, calls=calls):
            calls.append(1)
            if len(calls) > fatal:
                raise Stop
            save(*arguments)

        place = tmp_path / str(index)
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "save", dying)
            with pytest.raises(Stop):
                run(potential, system, config, directory=place)
        assert_same(run(potential, system, config, directory=place), whole)


def test_a_finished_run_says_so_again_and_may_be_prolonged(argon, settings, tmp_path, monkeypatch):
    potential, system = argon
    config = settings("nvt_langevin", steps=100, equilibration=EQUILIBRATION)
    long = run(potential, system, config, directory=tmp_path / "long")
    short = config.model_copy(update={"steps": 50})
    first = run(potential, system, short, directory=tmp_path / "short")
    with monkeypatch.context() as patch:
        patch.setattr(runner.loop, "advance", None)  # nothing is left to do
        again = run(potential, system, short, directory=tmp_path / "short")
    assert again.steps_per_second == 0
    assert_same(first, again)
    assert_same(run(potential, system, config, directory=tmp_path / "short"), long)


def test_stopped_lanes_stay_stopped(argon, settings, tmp_path):
    potential, system = argon
    config = settings(steps=60, replicas=2, limits={"temperature_k": 60})
    speeds = np.random.default_rng(0).normal(scale=1e-3, size=(2, 32, 3))
    speeds[0] *= 4
    first = run(potential, system, config, directory=tmp_path, velocities=speeds)
    assert [lane.status for lane in first.lanes] == ["too hot", "finished"]
    again = run(potential, system, config, directory=tmp_path, velocities=speeds)
    assert [lane.status for lane in again.lanes] == ["too hot", "finished"]
    assert again.lanes[0].reason == first.lanes[0].reason
    assert_same(first, again)


SCRIPT = """
import sys
import jax
jax.config.update("jax_enable_x64", True)
from ase.build import bulk
from mlffjax.dynamics.config import MdConfig
from mlffjax.dynamics.run import run
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures.system import from_ase
config = MdConfig(
    temperature_k=40, timestep_fs=4.0, ensemble={"kind": "nvt_langevin"}, steps=5000, skin=0.3,
    intervals={"thermo": 10, "positions": 10}, checkpoint_every=50,
)
atoms = from_ase(bulk("Ar", "fcc", a=5.3, cubic=True).repeat(2))
result = run(lennard_jones((18, 36), cutoff=6.5), atoms, config, directory=sys.argv[1])
assert result.ok
"""


def test_a_killed_program_loses_nothing_but_time(tmp_path, rng):
    def program(place):
        return subprocess.Popen([sys.executable, "-c", SCRIPT, str(place)], env=dict(os.environ))

    process = program(tmp_path / "killed")
    while not (tmp_path / "killed" / checkpoint.FILE).exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(float(rng.uniform(0.1, 0.8)))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL  # it was not done yet
    assert program(tmp_path / "whole").wait() == 0
    assert program(tmp_path / "killed").wait() == 0
    one, other = (read(tmp_path / name / "production.h5md") for name in ("whole", "killed"))
    for name in one.series:
        np.testing.assert_array_equal(one[name].steps, other[name].steps)
        np.testing.assert_array_equal(one[name][:], other[name][:])
    states = [(tmp_path / name / checkpoint.FILE).read_bytes() for name in ("whole", "killed")]
    first, second = map(safetensors.numpy.load, states)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_another_run_is_refused_with_both_values(argon, settings, tmp_path):
    potential, system = argon
    config = settings(steps=5)
    run(potential, system, config, directory=tmp_path)
    with pytest.raises(CompatibilityError, match=r"config.timestep_fs was 4.0 and is now 2.0"):
        run(potential, system, settings(steps=5, timestep_fs=2.0), directory=tmp_path)
    with pytest.raises(CompatibilityError, match=r"ensemble.kind was 'nve' and is now 'nvt_csvr'"):
        run(potential, system, settings("nvt_csvr", steps=5), directory=tmp_path)
    other = lennard_jones((18, 36), epsilon=0.011, cutoff=6.5)
    with pytest.raises(CompatibilityError, match=r"parameters was '\w+' and is now '\w+'"):
        run(other, system, config, directory=tmp_path)
    with pytest.raises(CompatibilityError, match=r"models was None and is now 1"):
        run(trees.stack([potential]), system, config, directory=tmp_path)
    fewer = system._replace(positions=system.positions[:31], numbers=system.numbers[:31])
    with pytest.raises(CompatibilityError, match=r"atoms was 32 and is now 31"):
        run(potential, fewer, config, directory=tmp_path)
    moved = system._replace(positions=system.positions + 0.1)
    with pytest.raises(CompatibilityError, match=r"structures was"):
        run(potential, moved, config, directory=tmp_path)


def test_what_is_no_checkpoint_is_refused(argon, settings, tmp_path):
    potential, system = argon
    for content in (b"", b"nonsense" * 100, safetensors.numpy.save({"x": np.zeros(3)})):
        (tmp_path / checkpoint.FILE).write_bytes(content)
        with pytest.raises(InputError, match="expected the checkpoint of a run"):
            run(potential, system, settings(steps=5), directory=tmp_path)


def test_files_of_others_are_not_touched(argon, settings, tmp_path):
    potential, system = argon
    (tmp_path / "production.h5md").write_bytes(b"precious")
    with pytest.raises(InputError, match="expected no trajectory of stage production"):
        run(potential, system, settings(steps=5), directory=tmp_path)
    assert (tmp_path / "production.h5md").read_bytes() == b"precious"
