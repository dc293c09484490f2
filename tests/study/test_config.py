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


@pytest.mark.parametrize("name", ["quickstart", "paper", "strategies", "learning_curve"])
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


def test_fractions_become_runs_of_one_family():
    run = {"name": "ft", "strategy": {"kind": "finetune"}, "seeds": [0, 1],
           "data": {"config_types": ["hot"]}, "fractions": [1.0, 0.05, 0.025]}  # fmt: skip
    config = study(runs=[run])
    assert [run.name for run in config.runs] == ["ft-2.5pct", "ft-5pct", "ft-100pct"]
    assert [run.data.fraction for run in config.runs] == [0.025, 0.05, 1.0]
    for one in config.runs:
        assert (one.family, one.fractions, one.seeds) == ("ft", (), (0, 1))
        assert one.data.config_types == ("hot",)
    assert validate(dump(config), StudyConfig, where="again") == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runs": [{"name": "a", "strategy": {"kind": "scratch"}, "fractions": [0.5],
                    "data": {"count": 3}}]}, "fractions exclude data.fraction and data.count"),
        ({"runs": [{"name": "a", "strategy": {"kind": "scratch"}, "fractions": [0.5, 0.5]}]},
         "different fractions"),
        ({"runs": [{"name": "a", "strategy": {"kind": "path_aware", "paths": ["hopp"]}}]},
         "run 'a' learns from path 'hopp', which is not under 'paths' .hop, slide"),
        ({"probs": []}, "unknown key 'probs'; did you mean 'probes'"),
        ({"runs": small.settings()["runs"] * 2}, "runs: expected different names, got scratch"),
        ({"probes": [{"kind": "fixed_path", "name": "x", "path": "hopp"}]}, "path 'hopp'"),
        ({"probes": [{"kind": "fixed_pth", "name": "x"}]}, "did you mean 'fixed_path'"),
        ({"runs": [{"name": "a", "strategy": {"kind": "scratch"}, "seeds": [1, 1]}]}, "seeds"),
        ({"runs": [{"name": "a", "strategy": {"kind": "scratch"}, "training": {"epoch": 1}}]},
         "runs, a, training.*did you mean 'epochs'"),
    ],
    ids=["fractions", "twice", "learned", "key", "names", "path", "kind", "seeds", "training"],
)  # fmt: skip
def test_mistakes_are_named(changes, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        study(**changes)
