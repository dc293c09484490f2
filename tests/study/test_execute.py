import json
import shutil

import jax
import numpy as np
import pytest
from study import small

from mlffjax.config import validate
from mlffjax.errors import ConfigError, InputError
from mlffjax.potential import store
from mlffjax.study.config import StudyConfig
from mlffjax.study.execute import execute
from mlffjax.study.lock import locked
from mlffjax.study.path_records import read_paths
from mlffjax.study.records import load_study, parity


def study(**changes):
    return validate(small.settings(**changes), StudyConfig, where="test")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    small.write_inputs(folder)
    return folder


@pytest.fixture(scope="module")
def finished(base):
    """Output and events of one complete study; tests that change it work on a copy."""
    events = []
    execute(study(), base, base / "out", observe=events.append)
    return base / "out", events


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "out")


def test_every_run_has_a_potential_a_history_and_all_records(finished):
    records = load_study(finished[0])
    assert [run.info.name for run in records.runs] == ["scratch", "zero", "tuned", "tuned"]
    assert records.failures() == ()
    assert records.missing() == ()
    assert records.warnings == ()
    for run in records.runs:
        assert (run.info.status, set(run.probes)) == ("ok", {"accuracy", "hop", "slide"})
        potential, card = store.load(run.directory)
        assert card.reference == "Lennard-Jones"
        assert potential.elements == (18,)
        assert len({len(column) for column in run.history.values()}) == 1
        closure = run.metric("slide", "closure_error")
        assert closure is not None
        assert closure < 1e-6


def test_accuracy_of_the_foundation_needs_new_reference_energies(finished):
    """Its E0 is 0 and that of the labels -7 eV; the run re-estimates it and keeps the forces."""
    (zero,) = load_study(finished[0]).by_name()["zero"]
    error = zero.metric("accuracy", "test_energy_rmse")
    assert error is not None
    assert error < 0.01
    assert "reestimated, for labels of 'Lennard-Jones'" in zero.info.notes[0]
    assert "'another method'" in zero.info.notes[0]
    part = parity(zero.arrays("accuracy"), "test")
    assert np.sqrt(np.mean((part.forces_model - part.forces_reference) ** 2)) == pytest.approx(
        zero.metric("accuracy", "test_force_rmse"), rel=1e-12
    )


def test_runs_are_trained_on_what_they_select_and_tested_on_the_same_frames(finished):
    records = load_study(finished[0])
    frames = {run.info.name: run.info.frames for run in records.runs}
    assert frames["tuned"] == {"train": 4, "validation": 1, "test": 4}
    assert frames["scratch"] == {"train": 10, "validation": 2, "test": 4}
    assert len({run.info.frame_indices["test"] for run in records.runs}) == 1


def test_summary_holds_tables_and_verdict(finished):
    summary = json.loads((finished[0] / "summary.json").read_text())
    assert {path.name for path in read_paths(finished[0], [])} == {"hop", "slide"}
    assert summary["verdict"]["recommended"] in ("scratch", "zero", "tuned")
    assert {row["name"] for row in summary["accuracy"]} == {"scratch", "zero", "tuned"}
    assert {row["probe"] for row in summary["paths"]} == {"hop", "slide"}


def test_progress_grows_from_nothing_to_everything(finished):
    _, events = finished
    done = [event.done for event in events]
    assert done == sorted(done)
    assert events[-1].done == events[-1].total == events[0].total
    assert any(event.seconds_left for event in events)
    assert {event.stage for event in events} == {"train", "probe", "done"}


def test_second_execution_does_nothing(copy, base):
    before = {path: path.stat().st_mtime_ns for path in (copy / "runs").rglob("*.*")}
    events = []
    execute(study(), base, copy, observe=events.append)
    assert [event.stage for event in events] == ["done"]
    assert {path: path.stat().st_mtime_ns for path in (copy / "runs").rglob("*.*")} == before


@pytest.mark.parametrize("when", ["train", "probe"])
def test_killed_study_continues_with_equal_results(finished, base, tmp_path, when):
    class Killed(BaseException):
        pass

    def kill(event):
        if event.stage == when and event.subject.startswith("tuned-s0") and event.done:
            raise Killed

    with pytest.raises(Killed):
        execute(study(), base, tmp_path, observe=kill)
    assert load_study(tmp_path).summary is None
    trained = [run.info.name for run in load_study(tmp_path).runs]
    assert trained == (
        ["scratch", "zero"] if when == "train" else ["scratch", "zero", "tuned", "tuned"]
    )
    resumed = execute(study(), base, tmp_path)
    for run, whole in zip(resumed.runs, load_study(finished[0]).runs, strict=True):
        assert run.info.id == whole.info.id
        for name, record in whole.probes.items():
            assert run.probes[name].metrics == record.metrics


def test_exception_of_the_observer_stops_the_study_and_is_no_failed_run(base, tmp_path):
    def broken(event):
        if "epoch" in event.text:
            raise RuntimeError("display is gone")

    with pytest.raises(RuntimeError, match="display is gone"):
        execute(study(), base, tmp_path, observe=broken)
    assert load_study(tmp_path).runs == ()


@pytest.mark.parametrize("damage", ["record", "arrays", "run"])
def test_damaged_files_are_made_again(copy, base, damage):
    records = load_study(copy)
    run = records.runs[1]
    expected = run.probes["hop"].metrics
    name = {"record": "records/hop.json", "arrays": "records/hop.npz", "run": "run.json"}[damage]
    (run.directory / name).write_text("{")
    events = []
    again = execute(study(), base, copy, observe=events.append)
    assert {e.subject.split("-")[0] for e in events if e.subject} == {"zero"}
    assert again.runs[1].probes["hop"].metrics == expected
    assert again.runs[1].arrays("hop")


def test_failing_run_is_recorded_and_the_others_go_on(base, tmp_path):
    runs = small.settings()["runs"][1:2]
    broken = {
        "name": "broken",
        "strategy": {"kind": "scratch", "reference_energies": "isolated"},  # there are none
    }
    records = execute(study(runs=[broken, *runs]), base, tmp_path)
    assert [run.info.status for run in records.runs] == ["failed", "ok"]
    (line,) = records.failures()
    assert "broken-s0" in line
    assert "isolated atom" in line
    assert records.summary is not None
    assert records.summary["verdict"]["recommended"] == "zero"
    events = []
    execute(study(runs=[broken, *runs]), base, tmp_path, observe=events.append)
    assert {e.subject[:6] for e in events if e.stage == "train"} == {"broken"}  # tried again


def test_diverging_run_is_a_result_that_stands(base, tmp_path):
    runs = [small.settings()["runs"][2] | {"seeds": [0], "training": {"learning_rate": 50.0}}]
    records = execute(study(runs=runs), base, tmp_path)
    assert records.summary is not None
    (run,) = records.runs
    assert run.info.status == "diverged"
    assert "diverged in epoch" in run.info.message
    assert run.probes == {}
    assert records.summary["verdict"]["decision"] == "none"
    events = []
    execute(study(runs=runs), base, tmp_path, observe=events.append)
    assert [event.stage for event in events] == ["done"]


def test_failing_probe_is_recorded_and_tried_again(copy, base, monkeypatch):
    shutil.rmtree(next((copy / "runs").glob("zero-*")) / "records")

    def fail(*_):
        raise MemoryError("too large")

    with monkeypatch.context() as patch:
        patch.setattr("mlffjax.study.evaluate._measure", fail)
        records = execute(study(), base, copy)
    zero = records.by_name()["zero"][0]
    assert {record.status for record in zero.probes.values()} == {"failed"}
    assert "MemoryError: too large" in zero.probes["hop"].message
    assert execute(study(), base, copy).failures() == ()


def test_only_what_changed_is_done_again(copy, base):
    changed = small.settings()
    changed["runs"][0]["training"] = {"learning_rate": 2e-3}
    changed["probes"][1]["name"] = "hop2"
    events = []
    execute(validate(changed, StudyConfig, where="test"), base, copy, observe=events.append)
    assert {e.subject[:7] for e in events if e.stage == "train"} == {"scratch"}
    probed = {
        e.subject.split("/")[1] for e in events if e.stage == "probe" and "tuned" in e.subject
    }
    assert probed == {"hop2"}


def test_many_at_once_equals_one_by_one(finished, base, copy, monkeypatch):
    """What accelerators do: potentials of one model stacked into one call."""
    for folder in (copy / "runs").iterdir():
        shutil.rmtree(folder / "records")
    monkeypatch.setattr("mlffjax.study.over_devices.lanes", lambda count: count)
    for run, alone in zip(
        execute(study(), base, copy).runs, load_study(finished[0]).runs, strict=True
    ):
        for name, record in alone.probes.items():
            for metric, value in record.metrics.items():
                # Sums in another order; energies are of order 100 eV with reference energies.
                expected = value if value is None else pytest.approx(value, rel=1e-9, abs=1e-11)
                assert run.metric(name, metric) == expected


def test_two_processes_in_one_directory_are_refused(base, tmp_path):
    with locked(tmp_path), pytest.raises(InputError, match="another process"):
        execute(study(), base, tmp_path)


def test_single_precision_is_refused(base, tmp_path):
    with jax.enable_x64(False), pytest.raises(ConfigError, match="float64"):
        execute(study(), base, tmp_path)


@pytest.mark.parametrize("kept", [False, True], ids=["below the output", "a directory of its own"])
def test_training_from_disk_is_the_same_study(base, tmp_path, finished, kept):
    """Equal names, hence fingerprints, equal weights, a note; the prepared data go or stay."""
    place = {"storage_directory": str(tmp_path / "prepared")} if kept else {}
    training = small.settings()["training"] | {"storage": "disk"} | place
    probes = [probe for probe in small.settings()["probes"] if probe["name"] == "hop"]
    out = tmp_path / "out"
    records = execute(study(training=training, probes=probes), base, out)
    known = {run.info.id: run for run in load_study(finished[0]).runs}
    for run in records.runs:
        assert run.info.status == "ok"
        assert any("read from disk" in note for note in run.info.notes)
        ours, theirs = (store.load(r.directory)[0] for r in (run, known[run.info.id]))
        for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            # Those in memory are trained in company, whose sums XLA may order otherwise.
            np.testing.assert_allclose(one, other, rtol=1e-5)
    assert not (out / "prepared").exists()
    assert bool(list(tmp_path.glob("prepared/*/*.rows"))) is kept
