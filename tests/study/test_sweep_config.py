from pathlib import Path

import pytest
from study import small

from mlffjax.config import dump, read, validate
from mlffjax.errors import ConfigError
from mlffjax.study.config import NAME, StudyConfig
from mlffjax.study.sweep_config import Base, Objective, SweepConfig, read_base, study_of, variants

CONFIGS = Path(__file__).parents[2] / "configs"
GRID = {"training.learning_rate": [1e-3, 2e-5], "training.loss.forces": [10, 100.0]}


def sweep(**changes):
    data = {"name": "sweep", "study": "argon", "run": "tuned", "grid": GRID} | changes
    return validate(data, SweepConfig, where="test")


@pytest.fixture(scope="module")
def base():
    return Base(validate(small.settings(), StudyConfig, where="test"), Path())


def test_packaged_sweep_loads_and_its_study_holds_all_variants():
    config = read(CONFIGS / "sweep.yaml", SweepConfig)
    assert validate(dump(config), SweepConfig, where="again") == config
    base = read_base(config, CONFIGS)
    study = study_of(config, base, variants(config))
    assert base.config.training.epochs == 60
    assert [run.name for run in study.runs][-1] == "Foundation"
    assert len(study.runs) == 9
    assert len({str(study.training_of(run)) for run in study.runs[:8]}) == 8
    assert {str(run.data) for run in study.runs[:8]} == {str(base.config.runs[3].data)}


def test_every_combination_is_a_run_with_a_name_that_tells_its_values(base):
    config = sweep(seeds=[4, 5], along=["zero"])
    study = study_of(config, base, variants(config))
    assert [run.name for run in study.runs] == [
        "tuned_learning_rate-0.001_forces-10",
        "tuned_learning_rate-0.001_forces-100",
        "tuned_learning_rate-2e-05_forces-10",
        "tuned_learning_rate-2e-05_forces-100",
        "zero",
    ]
    assert [run.seeds for run in study.runs] == [(4, 5)] * 4 + [(0,)]
    changed = [study.training_of(run) for run in study.runs[:4]]
    assert [(t.learning_rate, t.loss.forces) for t in changed] == [
        (1e-3, 10.0),
        (1e-3, 100.0),
        (2e-5, 10.0),
        (2e-5, 100.0),
    ]
    assert study.name == "sweep"
    assert study.probes == base.config.probes


def test_names_are_safe_short_and_do_not_depend_on_the_other_values():
    import re

    long = {f"training.loss.{name}": [1.23456789e-7, 2.0] for name in ("energy", "forces")}
    long |= {"strategy.loss.energy": ["keep", [1, 2]], "training.ema": [None, 0.99]}
    names = [variant.name for variant in variants(sweep(grid=long))]
    assert len(set(names)) == 16
    assert all(len(name) <= 80 and re.match(NAME, name) for name in names)
    first = variants(sweep())[0]
    assert first in variants(sweep(grid=GRID | {"training.learning_rate": [5.0, 1e-3]}))


def test_strategy_and_data_may_vary_too(base):
    grid = {"data.count": [2, 3], "strategy.learning_rate": [1e-4, None]}
    config = sweep(grid=grid)
    study = study_of(config, base, variants(config))
    assert [run.data.count for run in study.runs] == [2, 2, 3, 3]
    assert [getattr(run.strategy, "learning_rate") for run in study.runs] == [1e-4, None] * 2  # noqa: B009


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": {}}, "either a grid or a search, got neither"),
        ({"search": {"space": {"training.ema": {"low": 0.1, "high": 0.9}}}}, "got both"),
        ({"grid": {"learning_rate": [1.0]}}, "beginning with training, strategy, data"),
        ({"grid": {"seeds": [0]}}, "seeds have an entry of their own"),
        ({"grid": {"training.ema": [0.9, 0.9]}}, "expected different values"),
        ({"grid": {}, "search": {"space": {"training.ema": {"low": 2, "high": 1}}}}, "low below"),
        ({"grid": {}, "search": {"space": {"data.count": {"low": 0, "high": 1, "log": True}}}},
         "positive bounds"),
        ({"objective": {"probe": "hop"}}, "belong together"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        sweep(**changes)


def test_what_the_study_does_not_have_is_refused(base):
    config = sweep(grid={"training.learning_rat": [0.1]})
    with pytest.raises(ConfigError, match=r"tuned_learning_rat-0\.1.*\n.*'learning_rat'; did you"):
        study_of(config, base, variants(config))
    with pytest.raises(ConfigError, match=r"'FT' is not a run of .*; its runs: Foundation"):
        read_base(sweep(study="quickstart", run="FT"), CONFIGS)
    objective = {"probe": "nothing", "metric": "x"}
    with pytest.raises(ConfigError, match="'nothing' is not a probe of"):
        read_base(sweep(study="quickstart", run="Scratch", objective=objective), CONFIGS)


@pytest.mark.parametrize(("goal", "best"), [("small", -0.1), ("least", -3.0), ("most", 2.0)])
def test_goals_order_values(goal, best):
    objective = Objective(probe="hop", metric="barrier_error", goal=goal)
    assert min([2.0, -0.1, -3.0], key=objective.cost) == best
