"""Every example runs, in a short form, and says what it promises."""

import importlib.util
import json
import sys
from pathlib import Path

import jax
import pytest

from mlffjax.cli import main

FOLDER = Path(__file__).parents[1] / "scripts" / "examples"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="installed without the examples")


@pytest.fixture
def example(monkeypatch, tmp_path):
    """Run an example's ``main`` in an empty directory; returns its module."""
    monkeypatch.chdir(tmp_path)

    def run(name, *arguments, **replaced):
        spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for attribute, value in replaced.items():
            monkeypatch.setattr(module, attribute, value)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        module.main()
        return module

    return run


def in_process(*arguments):
    """Run a command of mlffjax here: starting Python twice takes longer than the work."""
    with pytest.raises(SystemExit) as stop:
        main.main(arguments)
    assert stop.value.code == 0


def test_every_example_is_tested_here():
    text = Path(__file__).read_text()
    for path in FOLDER.glob("*.py"):
        assert f'"{path.stem}"' in text, f"{path.name} has no test"


def test_another_material(example, tmp_path, capsys):
    """Copper from files alone: nothing hangs on the bundled material or on a foundation."""
    probes = [
        {"kind": "accuracy", "name": "accuracy"},
        {"kind": "fixed_path", "name": "hop", "path": "hop"},
    ]
    run = {"name": "Scratch", "strategy": {"kind": "scratch"}}
    pair = {"kind": "lennard_jones", "cutoff": 5.0}  # compiles faster than a MACE
    changes = {"probes": probes, "runs": [run], "model": pair}
    options = [o for k, v in changes.items() for o in ("--set", f"{k}={json.dumps(v)}")]
    example(
        "another_material", "--frames", "6", "--images", "3", "--epochs", "2", *options,
        run=in_process,
    )  # fmt: skip
    out = capsys.readouterr().out
    assert "12 frames of Cu; labels read from REF_energy, REF_forces, REF_stress" in out
    assert "No candidate meets every criterion" in out
    summary = json.loads((tmp_path / "copper" / "results" / "summary.json").read_text())
    assert list(summary["runs"].values()) == ["ok"]
    (row,) = summary["paths"]
    # What the calculator said of its own band came back through the files, to the digits printed.
    told = float(out.split("barrier of the reference ")[1].split(" eV")[0])
    assert row["metrics"]["barrier_reference"]["mean"] == pytest.approx(told, abs=5e-4)
    assert (tmp_path / "copper" / "results" / "report.html").stat().st_size > 1e5


@pytest.mark.slow
def test_thermostat_bias(example, tmp_path, capsys):
    example(
        "thermostat_bias", "--picoseconds", "20", "--replicas", "2", "--repeats", "2",
        "--out", str(tmp_path / "bias.png"),
    )  # fmt: skip
    assert capsys.readouterr().out.count("W/mK") == 2
    curves = json.loads((tmp_path / "bias.json").read_text())["curves"]
    assert all(curve["conductivity"] > 0 for curve in curves.values())


@pytest.mark.slow
def test_differentiable_barrier(example, capsys):
    example("differentiable_barrier", "--frames", "3", "--epochs", "1")
    out = capsys.readouterr().out
    assert "in-gap barrier on fixed images: " in out
    assert out.count("Å") >= 1
    assert jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]
