"""One potential: on top of its directory, resumed, replaced with its configuration, never stale."""

import json

import jax
import numpy as np
import pytest
from study import small

from mlffjax import trees
from mlffjax.config import validate
from mlffjax.errors import ConfigError
from mlffjax.potential import store
from mlffjax.study import single
from mlffjax.study.single import TrainConfig, as_study, train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("single")
    small.write_inputs(path)
    return path


def config(**changes):
    whole = small.settings()
    kept = ("data", "splits", "foundation", "training")
    entries = {name: whole[name] for name in kept}
    entries |= {"name": "tuned", "strategy": {"kind": "finetune"}, "seed": 1}
    return validate(entries | changes, TrainConfig, where="test")


def weights(directory):
    potential, card = store.load(directory)
    return trees.names(jax.tree.map(np.asarray, potential.params)), card


def test_the_potential_is_that_of_the_same_run_of_a_study(folder):
    out = folder / "out"
    records = train(config(), folder, out)
    assert records.failures() == ()
    (run,) = records.runs
    assert (run.info.name, run.info.seed, run.info.status) == ("tuned", 1, "ok")
    params, card = weights(out)
    assert card.name == run.info.id
    history = json.loads((out / "history.json").read_text())
    assert history["epoch"] == [0, 1, 2, 3]
    assert run.metric("accuracy", "test_force_rmse") is not None
    own, _ = weights(run.directory)
    assert all(np.array_equal(own[name], params[name]) for name in own)

    before = (out / store.WEIGHTS).stat().st_mtime_ns, (run.directory / "run.json").stat().st_mtime
    train(config(), folder, out)  # finished: trained no more
    assert (run.directory / "run.json").stat().st_mtime == before[1]

    train(config(seed=2, training={"epochs": 1, "buckets": 1}), folder, out)
    assert weights(out)[1].name != card.name
    assert json.loads((out / "history.json").read_text())["epoch"] == [0, 1]
    assert len(list((out / "runs").iterdir())) == 2


def test_a_training_that_fails_leaves_no_potential_of_another(folder):
    out = folder / "fails"
    train(config(training={"epochs": 1, "buckets": 1}), folder, out)
    assert (out / store.CARD).is_file()
    records = train(
        config(training={"learning_rate": 1e9, "epochs": 2, "buckets": 1, "clip": None}),
                    folder, out)  # fmt: skip
    (run,) = records.runs
    assert run.info.status == "diverged"
    assert not any((out / name).exists() for name in (store.CARD, store.WEIGHTS, single.HISTORY))


def test_what_the_strategy_starts_from_is_required(folder):
    with pytest.raises(ConfigError, match="starts from the section 'foundation', which is missing"):
        train(config(foundation=None), folder, folder / "nothing")


def test_sections_are_those_of_a_study():
    study = as_study(config(select={"count": 4}))
    (run,) = study.runs
    assert (run.data.count, run.seeds, study.training.epochs) == (4, (1,), 3)
    assert study.foundation == "foundation"
