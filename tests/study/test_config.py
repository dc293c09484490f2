from pathlib import Path

import pytest
from study import small

from mlffjax.config import dump, read, validate
from mlffjax.errors import ConfigError, InputError
from mlffjax.probes._dynamics import starting_system
from mlffjax.probes._probe import Context
from mlffjax.study.config import StudyConfig
from mlffjax.study.dynamics import DynamicsConfig, planned
from mlffjax.study.plan import make_plan

CONFIGS = Path(__file__).parents[2] / "configs"


def study(**changes):
    return validate(small.settings(**changes), StudyConfig, where="test")


@pytest.mark.parametrize("name", ["quickstart", "paper"])
def test_packaged_studies_load_and_are_plain_data_again(name):
    config = read(CONFIGS / f"{name}.yaml", StudyConfig)
    assert validate(dump(config), StudyConfig, where="again") == config


def test_probes_of_the_quickstart_find_where_to_start():
    plan = make_plan(read(CONFIGS / "quickstart.yaml", StudyConfig), CONFIGS)
    context = Context((24, 51, 52), 5.0, frames=plan.dataset.frames)
    starts = [
        probe.start for probe in plan.probes if hasattr(probe, "start") and hasattr(probe, "md")
    ]
    assert starts
    for start in starts:
        assert 24 in starting_system(start, context).numbers


@pytest.mark.parametrize("name", ["md", "md_paper"])
def test_packaged_runs_of_dynamics_load_and_are_plain_data_again(name):
    config = read(CONFIGS / f"{name}.yaml", DynamicsConfig)
    assert validate(dump(config), DynamicsConfig, where="again") == config
    assert planned(config, CONFIGS).atoms > 0


def test_missing_data_of_the_paper_study_are_one_clear_error():
    config = read(CONFIGS / "paper.yaml", StudyConfig)
    with pytest.raises(InputError, match="expected at least one file"):
        make_plan(config, CONFIGS)


def test_run_inherits_the_training_section_entry_by_entry():
    runs = small.settings()["runs"]
    runs[0]["training"] = {"epochs": 7, "loss": {"stress": 0.0}}
    config = study(runs=runs)
    changed, same = (config.training_of(run) for run in config.runs[:2])
    assert (changed.epochs, changed.loss.stress) == (7, 0.0)
    assert (changed.learning_rate, changed.loss.forces) == (1e-3, config.training.loss.forces)
    assert same == config.training


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probs": []}, "unknown key 'probs'; did you mean 'probes'"),
        ({"runs": small.settings()["runs"] * 2}, "runs: expected different names, got scratch"),
        ({"probes": [{"kind": "fixed_path", "name": "x", "path": "hopp"}]}, "path 'hopp'"),
        ({"probes": [{"kind": "fixed_pth", "name": "x"}]}, "did you mean 'fixed_path'"),
        ({"runs": [{"name": "a", "strategy": {"kind": "scratch"}, "seeds": [1, 1]}]}, "seeds"),
        ({"runs": [{"name": "a", "strategy": {"kind": "scratch"}, "training": {"epoch": 1}}]},
         "runs, a, training.*did you mean 'epochs'"),
    ],
    ids=["key", "names", "path", "kind", "seeds", "training"],
)  # fmt: skip
def test_mistakes_are_named(changes, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        study(**changes)
