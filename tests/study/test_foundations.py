"""Foreign models and other stored potentials beside the study's foundation."""

import sys

import numpy as np
import pytest
from study import small

from mlffjax.config import validate
from mlffjax.errors import CompatibilityError, ConfigError
from mlffjax.potential import store
from mlffjax.study import plan as planning
from mlffjax.study.config import RunConfig, StudyConfig
from mlffjax.study.execute import execute
from mlffjax.study.records import load_study, parity

CALCULATOR = {
    "kind": "ase",
    "factory": "ase.calculators.lj:LennardJones",
    "arguments": {"epsilon": 0.02, "sigma": 3.3, "rc": 5.5, "smooth": True, "ro": 4.4},
    "cutoff": 5.5,
}
ZERO = {"kind": "zero_shot"}
PROBES = [
    {"kind": "accuracy", "name": "accuracy"},
    {"kind": "fixed_path", "name": "hop", "path": "hop"},
    {
        "kind": "conductivity",
        "name": "heat",
        "every": 1,
        "md": {
            "temperature_k": 20,
            "timestep_fs": 5,
            "steps": 1000,
            "ensemble": {"kind": "nve"},
            "intervals": {"thermo": 10, "positions": 0},
        },
    },
]


def study(**changes):
    runs = [
        {"name": "zero", "strategy": ZERO},
        {"name": "there", "strategy": ZERO, "calculator": CALCULATOR | {"python": sys.executable}},
        {"name": "here", "strategy": ZERO, "calculator": CALCULATOR},
        {"name": "twin", "strategy": ZERO, "foundation": "foundation"},
        {"name": "gone", "strategy": ZERO,
         "calculator": CALCULATOR | {"python": "/no/such/environment/bin/python"}},
    ]  # fmt: skip
    return validate(
        small.settings(**{"runs": runs, "probes": PROBES} | changes), StudyConfig, where="test"
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    small.write_inputs(folder)
    execute(study(), folder, folder / "out")
    return folder


@pytest.fixture(scope="module")
def runs(finished):
    return {run.info.name: run for run in load_study(finished / "out").runs}


def test_a_foreign_model_stands_beside_the_foundation(runs):
    assert [run.info.status for run in runs.values()] == ["ok", "ok", "ok", "ok", "failed"]
    for name in ("zero", "there", "here", "twin"):
        assert runs[name].metric("accuracy", "test_force_rmse") > 0
        assert runs[name].metric("hop", "barrier") is not None


def test_it_is_measured_alike_here_and_there(runs):
    for probe in ("accuracy", "hop"):
        here, there = (runs[name].arrays(probe) for name in ("here", "there"))
        assert here.keys() == there.keys()
        for name, array in here.items():
            np.testing.assert_array_equal(there[name], array)


def test_energies_get_reference_energies_of_the_labels(runs):
    """ASE's cuts off differently: its forces are off, and yet energies of one composition fit."""
    run = runs["here"]
    potential, card = store.load(run.directory)
    # The labels have -7 eV for an atom; what the two cut-offs differ by is in it as well.
    e0 = potential.model.reference_energies(potential.params)
    np.testing.assert_allclose(e0, small.E0, atol=0.05)
    assert run.metric("accuracy", "test_energy_rmse") < 0.005
    assert card.model["factory"] == CALCULATOR["factory"]
    assert "ase.calculators.lj:LennardJones" in run.info.notes[0]
    assert any(f"python {sys.version_info.major}." in note for note in run.info.notes)


def test_forces_are_those_of_the_calculator(runs):
    part = parity(runs["here"].arrays("accuracy"), "test")
    assert np.abs(part.forces_model - part.forces_reference).max() > 0  # not our own truth
    assert np.sqrt(np.mean((part.forces_model - part.forces_reference) ** 2)) < 0.02


def test_what_it_lacks_is_refused_by_name(runs):
    for name in ("here", "there"):
        record = runs[name].probes["heat"]
        assert record.status == "skipped"
        assert "does not support heat_flux" in record.message
    assert runs["zero"].probes["heat"].status != "skipped"


def test_a_missing_environment_fails_its_run_only(runs):
    assert runs["gone"].info.message.startswith("ConfigError: python: expected the interpreter")
    assert runs["gone"].probes == {}


def test_a_run_may_name_another_stored_potential(runs):
    ours, twin = runs["zero"], runs["twin"]
    assert twin.info.fingerprint == ours.info.fingerprint  # of the same content
    assert twin.metric("hop", "barrier") == ours.metric("hop", "barrier")


def test_a_finished_study_with_them_does_nothing_again(finished):
    before = {f: f.stat().st_mtime_ns for f in (finished / "out").glob("runs/*/records/hop*")}
    runs = [run for run in study().model_dump(mode="json")["runs"] if run["name"] != "gone"]
    execute(study(runs=runs), finished, finished / "out")
    assert {f: f.stat().st_mtime_ns for f in before} == before


def test_no_foundation_is_needed_by_those_who_bring_their_own(finished):
    runs = [{"name": "here", "strategy": ZERO, "calculator": CALCULATOR}]
    made = planning.make_plan(study(runs=runs, foundation=None, model=None), finished)
    assert made.foundation is None
    own = made.foundation_of(made.runs[0])
    assert own is not None
    assert own[1].name == CALCULATOR["factory"]


def test_a_changed_calculator_makes_another_run(finished):
    def identifier(**changes):
        runs = [{"name": "here", "strategy": ZERO, "calculator": CALCULATOR | changes}]
        return planning.make_plan(study(runs=runs), finished).runs[0].id

    assert identifier() == identifier()
    assert identifier() != identifier(arguments={"epsilon": 0.03})


def test_kept_reference_energies_of_a_calculator_are_refused(finished):
    """Nobody says that its energies are those of the labels."""
    strategy = ZERO | {"reference_energies": "keep"}
    runs = [{"name": "kept", "strategy": strategy, "calculator": CALCULATOR}]
    records = execute(study(runs=runs), finished, finished / "kept")
    (run,) = records.runs
    assert run.info.status == "failed"
    assert CompatibilityError.__name__ in run.info.message


@pytest.mark.parametrize(
    ("entries", "message"),
    [({"strategy": {"kind": "finetune"}, "calculator": CALCULATOR}, "trains weights"),
     ({"strategy": {"kind": "scratch"}, "foundation": "x"}, "starts from the section 'model'"),
     ({"strategy": ZERO, "calculator": CALCULATOR, "foundation": "x"}, "exclude each other"),
     ({"strategy": ZERO, "calculator": {"kind": "mace"}}, "calculator"),
     ({"strategy": ZERO, "calculator": {"kind": "lennard_jones"}}, "expected kind ase"),
     ({"strategy": ZERO, "calculator": CALCULATOR | {"pyhton": "x"}}, "pyhton.*python")],
)  # fmt: skip
def test_what_cannot_be(entries, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        validate({"name": "x"} | entries, RunConfig, where="test")
