"""Calculators in another Python: the same numbers, and every way the other side can go wrong."""

import os
import signal
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path

import ase.build
import jax
import numpy as np
import pytest
import references
from references.odd_calculators import DEATH, ERROR, LEAVE, NOTHING, SHAPE, SLOW

from mlffjax.config import validate
from mlffjax.errors import ConfigError, InputError, said
from mlffjax.graphs.batching import build
from mlffjax.pathways.profiles import band, profile
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import predict
from mlffjax.potential.host_energy import HostFailure
from mlffjax.potential.remote import client
from mlffjax.potential.remote.client import Address, Remote
from mlffjax.potential.sources import ase as source
from mlffjax.structures.system import System, from_ase

ODD = "odd_calculators:Odd"
_predict = jax.jit(predict)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The interpreter of another environment, which finds ASE, NumPy and the odd calculators."""
    folder = tmp_path_factory.mktemp("environment")
    venv.EnvBuilder(symlinks=True).create(folder)
    names = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", vars=names))
    there = [sysconfig.get_path("purelib"), str(Path(references.__path__[0]))]
    (site / "there.pth").write_text("\n".join(there))
    return str(folder / "bin" / "python")


@pytest.fixture
def remote(other):
    """Makes remotes, and ends them."""
    made = []

    def make(factory=ODD, arguments="{}", python=other, start=60.0, call=60.0):
        made.append(Remote(Address(python, factory, arguments, start, call)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def atoms_of(number, count=3):
    positions = 4.0 * np.arange(count)[:, None] * np.ones(3) + np.eye(3)[:count]
    return System(positions, np.full(count, number, np.int32), np.zeros((3, 3)), np.zeros(3, bool))


def ask(one, *systems):
    return one.evaluate(systems, derivatives=True, stress=True)


def alloy(seed):
    atoms = ase.build.bulk("Cu", cubic=True).repeat((2, 1, 1))
    atoms.symbols[[1, 6]] = "Au"
    atoms.rattle(0.05, seed=seed)
    return from_ase(atoms)


def potential(**choices):
    model = source.energy_model(
        source.Config(factory="ase.calculators.emt:EMT", **choices), (29, 79)
    )
    return Potential(model.init(key=jax.random.key(0)), model)


def test_numbers_are_those_of_our_own_process(other):
    systems = [alloy(seed) for seed in range(3)]
    graph = build(systems, (29, 79), 6.0, dtype=np.float64)
    here, there = (_predict(one, graph) for one in (potential(), potential(python=other)))
    jax.tree.map(np.testing.assert_array_equal, here, there)
    images = band(systems, (29, 79), 6.0)
    here, there = (jax.jit(profile)(one, images) for one in (potential(), potential(python=other)))
    jax.tree.map(np.testing.assert_array_equal, here, there)


def test_all_images_of_a_band_go_in_one_message(other, monkeypatch):
    counts = []
    evaluate = Remote.evaluate

    def counted(self, systems, **wanted):
        counts.append(len(systems))
        return evaluate(self, systems, **wanted)

    monkeypatch.setattr(Remote, "evaluate", counted)
    images = band([alloy(seed) for seed in range(4)], (29, 79), 6.0)
    jax.block_until_ready(jax.jit(profile)(potential(python=other), images))
    assert counts == [4]


def test_what_the_model_prints_stays_out_of_the_channel(remote):
    (found,) = ask(remote(), atoms_of(18))
    assert found.forces.shape == (3, 3)


def test_versions_of_the_other_environment(remote):
    program = remote("ase.calculators.emt:EMT").program()
    assert program["python"] == ".".join(map(str, sys.version_info[:3]))
    assert program["ase"] == ase.__version__


def test_a_killed_process_is_started_again(remote):
    one = remote()
    before = ask(one, atoms_of(18))
    os.kill(one._process.pid, signal.SIGKILL)
    after = ask(one, atoms_of(18))
    assert before[0].energy == after[0].energy


def test_one_death_is_survived(remote, tmp_path):
    one = remote(arguments=f'{{"marker": "{tmp_path / "died"}"}}')
    assert len(ask(one, atoms_of(18), atoms_of(DEATH), atoms_of(18, 2))) == 3
    assert (tmp_path / "died").exists()


def test_two_deaths_name_the_structure_and_what_was_said(remote):
    one = remote()
    with pytest.raises(HostFailure, match=r"signal 9 \(SIGKILL\)[\s\S]*segmentation") as error:
        ask(one, atoms_of(18), atoms_of(DEATH), atoms_of(18))
    assert error.value.index == 1
    assert one._process is None
    assert len(ask(one, atoms_of(18))) == 1  # it can still be asked about others


@pytest.mark.parametrize(
    ("number", "message"),
    [(ERROR, "ZeroDivisionError: neon is too noble"),
     (SHAPE, r"expected forces of shape \(3, 3\), got \(2, 3\)"),
     (LEAVE, "SystemExit: the model left")],
)  # fmt: skip
def test_a_failing_model_is_no_dead_process(remote, number, message):
    one = remote()
    ask(one, atoms_of(18))
    before = one._process.pid
    with pytest.raises(HostFailure, match=message) as error:
        ask(one, atoms_of(18), atoms_of(number))
    assert error.value.index == 1
    ask(one, atoms_of(18))
    assert one._process.pid == before


def test_numbers_that_are_none_are_passed_on_for_the_caller_to_refuse(remote):
    assert np.isnan(ask(remote(), atoms_of(NOTHING))[0].energy)


def test_errors_reach_the_user_with_the_structure(other):
    section = source.Config(factory=ODD, python=other)
    model = source.energy_model(section, (NOTHING, ERROR))
    one = Potential(model.init(key=jax.random.key(0)), model)
    for number, message in (
        (ERROR, r"odd_calculators:Odd failed for Ne3 .*ZeroDivisionError"),
        (NOTHING, r"NaN or infinity from odd_calculators:Odd for Xe3"),
    ):
        graph = build([atoms_of(number)], model.elements, model.cutoff, dtype=np.float64)
        with pytest.raises((jax.errors.JaxRuntimeError, ValueError), match=message) as error:
            jax.block_until_ready(_predict(one, graph))
        assert said(error.value).startswith("InputError: ")
        assert "Traceback" not in said(error.value)


def test_a_model_that_does_not_answer_is_ended(remote):
    one = remote(call=0.3)
    start = time.monotonic()
    with pytest.raises(HostFailure, match=r"no answer within 0.6 s \(call_seconds") as error:
        ask(one, atoms_of(18), atoms_of(SLOW))
    assert error.value.index is None
    assert time.monotonic() - start < 10
    assert one._process is None


def test_a_start_that_takes_too_long(remote):
    one = remote(arguments='{"wait": 60}', start=0.5)
    with pytest.raises(InputError, match=r"not ready within 0.5 s \(start_seconds\)"):
        ask(one, atoms_of(18))
    assert one._process is None


@pytest.mark.parametrize(
    ("factory", "arguments", "message"),
    [("no_such_package_at_all:Thing", "{}", "cannot find the factory"),
     ("os:system", '{"command": "touch /tmp/never"}', "class of ASE calculators"),
     (ODD, '{"no_such": 1, "wait": "x"}', "refused its arguments")],
)  # fmt: skip
def test_a_calculator_that_cannot_be_made(remote, factory, arguments, message):
    with pytest.raises(ConfigError, match=message):
        ask(remote(factory, arguments), atoms_of(18))


def test_an_environment_without_ase_says_so(remote, tmp_path):
    venv.EnvBuilder(symlinks=True).create(tmp_path)
    with pytest.raises(InputError, match=r"exit code 1[\s\S]*No module named"):
        ask(remote(python=str(tmp_path / "bin" / "python")), atoms_of(18))


@pytest.mark.parametrize("python", ["/no/such/python", "python9.99"])
def test_an_interpreter_that_is_not_there(remote, python):
    with pytest.raises(ConfigError, match="is no program here"):
        ask(remote(python=python), atoms_of(18))


@pytest.mark.parametrize("python", ["/bin/rm", "bin/python", "python -c x", "/bin/python;ls", ""])
def test_nothing_but_an_interpreter_can_be_named(python):
    with pytest.raises(ConfigError, match="python"):
        validate({"factory": ODD, "python": python}, source.Config, where="test")


def test_our_environment_does_not_reach_the_other(remote, other, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    prefix = Path(other).parents[1]
    with pytest.raises(ConfigError, match=rf"leaked: \[\], \[\]; prefix {prefix}"):
        ask(remote("odd_calculators:Curious"), atoms_of(18))


def test_another_program_on_the_other_side_is_not_understood(remote, tmp_path):
    """What answers in other words is a crash, not a hang and not a number."""
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nhead -c 20 >/dev/null\necho hello, who is there\nsleep 60\n")
    fake.chmod(0o755)
    with pytest.raises(InputError, match="something else than a message"):
        ask(remote(python=str(fake)), atoms_of(18))


ASKER = """
import sys, threading
import numpy as np
from mlffjax.potential.remote.client import Address, Remote
from mlffjax.structures.system import System
one = Remote(Address(sys.argv[1], "odd_calculators:Odd", "{}", 60.0, 60.0))
def ask(number):
    numbers, free = np.array([number], np.int32), np.zeros(3, bool)
    atoms = System(np.zeros((1, 3)), numbers, np.zeros((3, 3)), free)
    one.evaluate([atoms], derivatives=False, stress=False)
ask(18)
print(one._process.pid, flush=True)
ask(int(sys.argv[2]))
threading.Event().wait()
"""


@pytest.mark.parametrize("number", [18, SLOW], ids=["idle", "in a call"])
def test_nobody_is_left_behind_when_we_are_killed(other, number):
    environment = os.environ | {"PYTHONPATH": str(Path(client.__file__).parents[3])}
    with subprocess.Popen(
        [sys.executable, "-c", ASKER, other, str(number)], stdout=subprocess.PIPE, env=environment
    ) as asker:
        assert asker.stdout is not None
        child = int(asker.stdout.readline())
        time.sleep(0.3)  # until the call runs
        assert _alive(child)
        asker.kill()
        asker.wait()
    end = time.monotonic() + 10
    while _alive(child) and time.monotonic() < end:
        time.sleep(0.05)
    assert not _alive(child)


def _alive(pid):
    """Whether a process runs; one that only waits to be collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
