import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from study import small

from mlffjax.config import validate
from mlffjax.errors import ConfigError
from mlffjax.study import runs as trained
from mlffjax.study import sweep as sweeps
from mlffjax.study import sweep_search
from mlffjax.study.records import load_study
from mlffjax.study.sweep_config import SweepConfig

RATES = [1e-3, 4e-3, 50.0]  # the last one diverges


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    small.write_inputs(folder)
    (folder / "argon.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(small.settings()))))
    return folder


def config(**changes):
    data = {
        "name": "rates",
        "study": "argon.yaml",
        "change": {"probes": small.settings()["probes"][:2]},
        "run": "tuned",
        "grid": {"training.learning_rate": RATES},
    }
    return validate(data | changes, SweepConfig, where="test")


@pytest.fixture(scope="module")
def finished(folder):
    return sweeps.sweep(config(along=["zero"]), folder, folder / "out")


def test_variants_are_ranked_over_their_seeds(finished, folder):
    best, second, lost = finished.info.ranking
    assert best.value < second.value
    assert lost.values == {"training.learning_rate": 50.0}
    assert (best.seeds, best.lost, lost.seeds, lost.lost) == (2, 0, 0, 2)
    assert lost.value is None
    runs = finished.records.by_name()[best.name]
    errors = [min(run.history["validation_force_mae"]) for run in runs]
    assert best.value == pytest.approx(np.mean(errors))
    assert best.spread == pytest.approx(np.std(errors, ddof=1))
    written = json.loads((folder / "out" / sweeps.FILE).read_text())
    assert [row["name"] for row in written["ranking"]] == [r.name for r in finished.info.ranking]
    assert "optimistic" in written["cautions"][0]


def test_records_are_those_of_a_study(finished, folder):
    records = load_study(folder / "out")
    assert len(records.runs) == 7
    assert records.summary is not None
    assert records.by_name()["zero"][0].metric("hop", "barrier_error") is not None


def test_all_variants_were_one_fleet_and_finished_ones_are_not_done_again(
    finished, folder, monkeypatch
):
    sizes = []
    fit_many = trained.fit_many
    monkeypatch.setattr(
        trained, "fit_many", lambda m, **more: sizes.append(len(m)) or fit_many(m, **more)
    )
    grid = {"training.learning_rate": [*RATES, 2e-3, 3e-3]}
    more = sweeps.sweep(config(along=["zero"], grid=grid), folder, folder / "out")
    assert sizes == [4]  # two new rates with two seeds each
    assert len(more.info.ranking) == 5


def test_any_metric_of_a_probe_may_rank(finished):
    objective = {"probe": "hop", "metric": "barrier_error"}
    asked = config(objective=objective).objective
    variants = [sweeps.Variant(row.name, row.values) for row in finished.info.ranking]
    rows = sweeps.ranking(variants, finished.records, asked)
    runs = finished.records.by_name()[rows[0].name]
    errors = [abs(run.metric("hop", "barrier_error")) for run in runs]
    assert rows[0].value == pytest.approx(np.mean(errors))
    assert [row.value is None for row in rows] == [False, False, True]
    assert rows[0].value == min(row.value for row in rows if row.value is not None)


def search(**changes):
    space = {
        "training.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True},
        "training.loss.forces": {"choices": [10, 100]},
        "data.count": {"low": 3, "high": 4, "integer": True},
    }
    entry = {"trials": 5, "batch": 3, "space": space} | changes
    return config(grid={}, seeds=[0], search=entry)


def trials(out: Path):
    return json.loads((out / sweep_search.FILE).read_text())["trials"]


def test_search_asks_in_batches_and_notes_costs(folder, tmp_path):
    pytest.importorskip("optuna")
    outcome = sweeps.sweep(search(), folder, tmp_path)
    assert [row.seeds for row in outcome.info.ranking] == [1] * 5
    points = trials(tmp_path)
    assert all(point["done"] for point in points)
    assert outcome.info.ranking[0].value == min(point["cost"] for point in points)
    for point in points:
        assert 1e-3 <= point["values"]["training.learning_rate"] <= 1e-2
        assert point["values"]["training.loss.forces"] in (10, 100)
        assert point["values"]["data.count"] in (3, 4)
    assert len({json.dumps(point["values"]) for point in points}) == 5


def test_interrupted_search_proposes_what_it_would_have_proposed(folder, tmp_path):
    pytest.importorskip("optuna")

    class Killed(BaseException):
        pass

    def kill(event):
        if event.subject.startswith("tuned_t0004") and event.stage == "train":
            raise Killed

    with pytest.raises(Killed):
        sweeps.sweep(search(), folder, tmp_path / "killed", observe=kill)
    assert [point["done"] for point in trials(tmp_path / "killed")] == [True] * 3 + [False] * 2
    sweeps.sweep(search(), folder, tmp_path / "killed")
    whole = sweeps.sweep(search(), folder, tmp_path / "whole")
    assert trials(tmp_path / "killed") == trials(tmp_path / "whole")
    # More trials go on from these; another space is another search.
    more = sweeps.sweep(search(trials=6), folder, tmp_path / "whole")
    assert len(more.info.ranking) == len(whole.info.ranking) + 1
    other = search(space={"training.ema": {"low": 0.5, "high": 0.9}})
    with pytest.raises(ConfigError, match="choose another output directory"):
        sweeps.sweep(other, folder, tmp_path / "whole")


def test_sampler_learns_from_costs_and_from_those_who_diverged():
    """TPE on a parabola comes nearer than random points; what diverged is avoided."""
    optuna = pytest.importorskip("optuna")
    space = {"x": {"low": -10.0, "high": 10.0}}
    best = {}
    for sampler in ("tpe", "random"):
        entry = {"sampler": sampler, "trials": 48, "batch": 8, "space": {"training.x": space["x"]}}
        settings = validate(entry, sweep_search.SearchConfig, where="test")
        known: list[sweep_search.Trial] = []
        while len(known) < 48:
            for point in sweep_search._ask(optuna, settings, known, 8):
                x = point["training.x"]
                cost = None if x < 0 else (x - 3) ** 2
                known.append(sweep_search.Trial(values=point, done=True, cost=cost))
        best[sampler] = [t.cost for t in known]
    late = {name: costs[24:] for name, costs in best.items()}
    assert sum(cost is None for cost in late["tpe"]) < sum(cost is None for cost in late["random"])
    assert min(c for c in late["tpe"] if c is not None) < 0.05
