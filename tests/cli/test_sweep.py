"""The command hands the configuration on and shows the ranking; its exit code tells of failures."""

from types import SimpleNamespace

import jax
import pytest

import mlffjax.report.document
import mlffjax.study.sweep
from mlffjax.cli import main
from mlffjax.study.sweep import Outcome, Ranked, SweepInfo

YAML = """
name: tiny
study: quickstart
run: Scratch
grid: {training.learning_rate: [1e-3, 2e-3]}
"""


def row(name, rate, value, lost=0):
    return Ranked(
        name=name,
        values={"training.learning_rate": rate},
        value=value,
        spread=None if value is None else 0.001,
        seeds=0 if value is None else 2,
        lost=lost,
    )


RANKING = (row("good", 1e-3, 0.0456), row("lost", 2e-3, None, lost=2))


@pytest.fixture
def sweep(tmp_path, monkeypatch, capsys):
    """Run the command on a sweep that a pretended study carries out."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(YAML)
    calls = []

    def run(*arguments, failures=(), ranking=RANKING):
        def pretend(config, folder, out, *, observe, restart):
            calls.append((config, folder, out, restart))
            records = SimpleNamespace(
                info=SimpleNamespace(warnings=()), warnings=(), failures=lambda: failures
            )
            info = SweepInfo(
                name="tiny",
                config={},
                objective="lowest error",
                ranking=ranking,
                cautions=("beware",),
            )
            return Outcome(records, info)  # pyright: ignore[reportArgumentType]

        monkeypatch.setattr(mlffjax.study.sweep, "sweep", pretend)
        monkeypatch.setattr(
            mlffjax.report.document, "write_report", lambda out, *, figures: out / "report.html"
        )
        with pytest.raises(SystemExit) as stop:
            main.main(["sweep", "tiny.yaml", *arguments])
        return stop.value.code, capsys.readouterr().out

    run.calls = calls
    return run


def test_ranking_is_shown(sweep, tmp_path):
    code, out = sweep("--set", "seeds=[0,1]", "--out", "there")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert code == main.OK
    assert "1 good 0.001 0.0456 ± 0.001" in lines
    assert "- lost 0.002 - (2 of 2 lost)" in lines
    assert "note: beware" in lines
    ((config, folder, directory, restart),) = sweep.calls
    assert not restart
    assert config.seeds == (0, 1)
    assert (folder, str(directory)) == (tmp_path, "there")


def test_restart_and_workers_are_handed_on(sweep, monkeypatch):
    settings = {}
    monkeypatch.setattr(jax.config, "update", settings.__setitem__)
    sweep("--restart", "--workers", "3")
    ((config, folder, _, restart),) = sweep.calls
    assert restart
    assert mlffjax.study.sweep.whole_study(config, folder)[0].executor.workers == 3
    assert settings["jax_platforms"] == "cpu"


def test_long_rankings_are_cut(sweep):
    _, out = sweep(ranking=tuple(row(f"v{i}", 1e-3, 0.1) for i in range(25)))
    assert "and 5 more in sweep.json" in out


def test_failures_are_named_and_give_exit_code_1(sweep):
    code, out = sweep(failures=("run x: no memory",))
    assert code == main.FAILED
    assert "failed: run x: no memory" in out


def test_a_dry_run_shows_every_variant_and_trains_none(sweep, tmp_path):
    code, out = sweep("--dry-run", "--set", "seeds=[0,1]")
    assert code == main.OK
    rows = [line.split() for line in out.splitlines()]
    assert sum(row[:1] == ["Scratch_learning_rate-0.001"] for row in rows) == 2
    assert any(line.startswith("4 run(s) x ") for line in out.splitlines())
    assert sweep.calls == []
    assert not (tmp_path / "results").exists()
