"""The command hands the configuration on, shows the outcome, and its exit code tells it."""

from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

import mlffjax.report.document
import mlffjax.study.execute
from mlffjax.cli import main
from mlffjax.config import kind_of
from mlffjax.study.progress import Event
from mlffjax.study.verdict import Candidate, Criterion, Verdict

YAML = """
name: tiny
data: {files: [a.xyz], reference: none, functional: PBE}
runs: [{name: Foundation, strategy: {kind: zero_shot}}]
probes: [{kind: accuracy, name: accuracy}]
"""


def criterion(value, outcome, *, threshold=0.1, spread=None):
    return Criterion(
        probe="accuracy",
        metric="test_force_rmse",
        label="forces [test]",
        unit="eV/Å",
        value=value,
        signed=value,
        spread=spread,
        seeds=1,
        threshold=threshold,
        uncertainty=0.0,
        outcome=outcome,
    )


def candidate(name, rank, lost, *criteria):
    return Candidate(
        name=name,
        strategy="scratch",
        rank=rank,
        seeds=0 if rank is None else 2,
        lost=lost,
        passed=0,
        failed=0,
        unknown=0,
        score=None,
        criteria=criteria,
    )


VERDICT = Verdict(
    recommended="One",
    decision="recommended",
    headline="Take One, for it is good.",
    evidence_for=(),
    evidence_against=(),
    disagreements=(),
    undecided=(),
    candidates=(
        candidate("One", 1, 0, criterion(0.0456, "pass", spread=0.002)),
        candidate("Two", None, 3, criterion(None, "unknown")),
    ),
    rule="",
    thresholds={},
)


@pytest.fixture
def study(tmp_path, monkeypatch, capsys):
    """Run the command on a study that a pretended executor carries out."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(YAML)
    calls = []

    def run(*arguments, failures=(), error=None):
        def execute(config, base, out, *, observe, restart=False):
            calls.append((config, base, out))
            observe(Event("done", "", "study is complete", 1.0, 1.0, None, True))
            if error is not None:
                raise error
            return SimpleNamespace(
                info=SimpleNamespace(warnings=("path x is absent",)),
                warnings=(),
                summary={"verdict": VERDICT.model_dump(mode="json")},
                failures=lambda: failures,
            )

        def write_report(out, *, figures):
            calls.append(figures)
            return out / "report.html"

        monkeypatch.setattr(mlffjax.study.execute, "execute", execute)
        monkeypatch.setattr(mlffjax.report.document, "write_report", write_report)
        with pytest.raises(SystemExit) as stop:
            main.main(["study", "tiny.yaml", *arguments])
        return stop.value.code, *capsys.readouterr()

    run.calls = calls
    return run


def test_outcome_is_shown(study):
    code, out, _ = study()
    assert code == main.OK
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == "[100 %] study is complete"
    assert "meV/Å, at most 100" in lines
    assert "1 One 45.6 ± 2" in lines
    assert "- Two (3 of 3 lost) -" in lines
    assert "Take One, for it is good." in lines
    assert "warning: path x is absent" in lines
    assert f"report: {Path('results/tiny/report.html')}" in lines


def test_configuration_and_directories_are_handed_on(study, tmp_path):
    study("--set", "name=other", "--set", "training.epochs=3", "--figures")
    (config, base, out), figures = study.calls
    assert (config.name, config.training.epochs) == ("other", 3)
    assert base == tmp_path
    assert out == Path("results/other")
    assert figures is True


def test_executor_and_workers_are_entries_of_the_configuration(study, monkeypatch):
    settings = {}
    monkeypatch.setattr(jax.config, "update", settings.__setitem__)
    study()
    assert "jax_platforms" not in settings
    study("--workers", "3")
    assert settings["jax_platforms"] == "cpu"  # the accelerators are for the workers
    study("--executor", "ray", "--set", "executor.num_gpus=1")
    alone, three, cluster = (call[0].executor for call in study.calls[::2])
    assert (alone.in_process, three.workers) == (True, 3)
    assert (kind_of(cluster), cluster.num_gpus) == ("ray", 1.0)


def test_the_output_directory_can_be_chosen(study, tmp_path):
    study("--out", str(tmp_path / "here"))
    assert study.calls[0][2] == tmp_path / "here"
    assert study.calls[1] is False


def test_failures_are_told_and_set_the_exit_code(study):
    code, out, _ = study(failures=("Two-s0: diverged: loss is nan",))
    assert code == main.FAILED
    assert out.splitlines()[-1] == "failed: Two-s0: diverged: loss is nan"
    assert "report: " in out


def test_an_interrupted_study_says_that_nothing_is_lost(study):
    code, _, err = study(error=KeyboardInterrupt())
    assert code == main.INTERRUPTED
    assert err == "interrupted; what was finished is kept\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "nmae=x"], "unknown key 'nmae'; did you mean 'name'?"),
        (["--set", "name"], "expected the form"),
    ],
)
def test_a_wrong_configuration_is_refused(study, arguments, message):
    code, _, err = study(*arguments)
    assert code == main.REFUSED
    assert message in err
    assert study.calls == []
