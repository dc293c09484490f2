import jax
import numpy as np
import pytest
from study import small

from mlffjax.config import validate
from mlffjax.potential import store
from mlffjax.study import runs as trained
from mlffjax.study.config import StudyConfig
from mlffjax.study.execute import execute
from mlffjax.study.records import load_study

SEEDS = [0, 1, 2]


def study(**changes):
    entry = small.settings()["runs"][2] | {"seeds": SEEDS}
    faster = entry | {"name": "faster", "seeds": [0], "training": {"learning_rate": 4e-3}}
    probes = small.settings()["probes"][:1]
    settings = small.settings(runs=[entry, faster], probes=probes, **changes)
    return validate(settings, StudyConfig, where="test")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    small.write_inputs(folder)
    return folder


@pytest.fixture
def fleets(monkeypatch):
    """Sizes of the fleets that were trained."""
    sizes = []

    def count(members, **options):
        sizes.append(len(members))
        return fit_many(members, **options)

    fit_many = trained.fit_many
    monkeypatch.setattr(trained, "fit_many", count)
    return sizes


@pytest.fixture(scope="module")
def alone(base):
    """The study with every run trained by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trained, "MOST", 1)
        return execute(study(), base, base / "alone")


def same(records, others):
    """Equal to what rounding in float32 grows to in nine steps."""
    for run, other in zip(records.runs, others.runs, strict=True):
        assert (run.info.id, run.info.status) == (other.info.id, other.info.status)
        assert (run.info.message, run.info.notes) == (other.info.message, other.info.notes)
        assert (run.info.epochs, run.info.steps) == (other.info.epochs, other.info.steps)
        for name, column in other.history.items():
            if name != "seconds":
                found, wanted = (np.array(c, float) for c in (run.history[name], column))
                np.testing.assert_allclose(found, wanted, rtol=2e-5)
        potentials = (store.load(each.directory)[0] for each in (run, other))
        for one, two in zip(*map(jax.tree.leaves, potentials), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-6)


def test_runs_of_one_program_are_trained_together_to_the_same_records(
    base, alone, fleets, tmp_path
):
    records = execute(study(), base, tmp_path)
    assert fleets == [4]
    same(records, alone)
    assert not list(tmp_path.rglob(trained.UNFINISHED))
    assert all(run.info.seconds > 0 for run in records.runs)


def test_killed_fleet_goes_on_where_it_was(base, alone, fleets, tmp_path, monkeypatch):
    monkeypatch.setattr("mlffjax.training.checkpoints.SHARE", 1e9)
    config = study(training=small.settings()["training"] | {"checkpoint_seconds": 0.0})

    class Killed(BaseException):
        pass

    def kill(event):
        if event.subject.startswith("tuned-s2") and "epoch 2" in event.text:
            raise Killed

    with pytest.raises(Killed):
        execute(config, base, tmp_path, observe=kill)
    assert len(list(tmp_path.rglob(trained.UNFINISHED))) == 4
    events = []
    records = execute(config, base, tmp_path, observe=events.append)
    assert not any("epoch 1," in event.text for event in events)
    assert fleets == [4, 4]
    same(records, alone)
    assert not list(tmp_path.rglob(trained.UNFINISHED))


def test_finished_members_of_a_killed_fleet_are_kept(base, fleets, tmp_path):
    """The one that ends first has its record at once; the others are trained without it."""
    entry = small.settings()["runs"][2] | {"seeds": [0, 1]}
    short = entry | {"name": "short", "seeds": [0], "training": {"epochs": 1}}
    config = study().model_copy(
        update={"runs": validate(small.settings(runs=[entry, short]), StudyConfig, where="").runs}
    )

    class Killed(BaseException):
        pass

    def kill(event):
        if "epoch 3" in event.text:
            raise Killed

    with pytest.raises(Killed):
        execute(config, base, tmp_path, observe=kill)
    assert [run.info.name for run in load_study(tmp_path).runs] == ["short"]
    execute(config, base, tmp_path)
    assert fleets == [3, 2]
    assert load_study(tmp_path).missing() == ()


def test_should_a_fleet_fail_its_runs_are_trained_alone(base, alone, tmp_path, monkeypatch):
    def fail(members, **options):
        raise MemoryError("too many")

    monkeypatch.setattr(trained, "fit_many", fail)
    records = execute(study(), base, tmp_path)
    assert [run.info.status for run in records.runs] == ["ok"] * 4
    for run in records.runs:
        assert "with others failed (MemoryError: too many)" in run.info.notes[-1]
    history = [run.history["train_loss"] for run in records.runs]
    assert history == [run.history["train_loss"] for run in alone.runs]


def test_time_of_a_group_is_divided_among_those_in_it(monkeypatch):
    times = iter([0.0, 8.0, 14.0, 20.0])
    monkeypatch.setattr(trained.time, "monotonic", lambda: next(times))
    shares = trained._Shares(4)
    # 8 s by four, then 6 s by three; then 6 s by two.
    assert [shares.leave() for _ in range(3)] == [2.0, 4.0, 7.0]
