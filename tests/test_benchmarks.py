"""The driver of the benchmarks: turns, agreement, failures, resuming, tables; and one real case."""

import importlib
import json
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "scripts" / "benchmarks"

PRETENDED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {folder!r})
from measuring import Spent, Work, serve

NAME = sys.argv[1]

def work(case, weights):
    def call():
        with open({log!r}, "a") as file:
            file.write(NAME[1])
        if NAME == "breaks":
            raise ValueError("on purpose")
        if NAME == "grows":
            held = b"x" * 300_000_000
            time.sleep(5)
        return Spent(*({{"mlffjax": (2.0, 1.0)}}.get(NAME, (20.0, 12.0))), 2)
    energy = 1.0 + (NAME == "wrong")
    return Work(call, 2, lambda: {{"energy": [energy], "forces": [[0.5, -0.5, 0.0]]}})

print("an import says something")
serve({{"energy_forces": work}} if NAME != "idle" else {{}}, {{"version": NAME}})
"""


@pytest.fixture(scope="module")
def compare():
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("compare")
    finally:
        sys.path.remove(str(FOLDER))
        for name in ("compare", "peers", "presentation"):
            sys.modules.pop(name, None)


@pytest.fixture
def pretend(compare, tmp_path, monkeypatch):
    """Sides of invented speed; returns a function that compares them and reads the results."""
    peers = sys.modules["peers"]
    script = tmp_path / "side.py"
    script.write_text(PRETENDED.format(folder=str(FOLDER), log=str(tmp_path / "turns")))
    monkeypatch.setattr(compare, "weights_file", lambda *_: tmp_path / "none")
    (tmp_path / "turns").write_text("")

    def run(*names, options=()):
        sides = {name: peers.Side(str(script), name, (name,)) for name in ("mlffjax", *names)}
        for module in (compare, peers):
            monkeypatch.setattr(module, "SIDES", sides)
        given = ["--python", *(f"{name}={sys.executable}" for name in names)]
        arguments = ["--quick", "--sides", *names, *given, "--out", str(tmp_path / "out")]
        compare.main([*arguments, "--rounds", "3", "--round-seconds", "0", *options])
        results = json.loads((tmp_path / "out" / "results.json").read_text())
        (case,) = results["cases"].values()
        return case["sides"], (tmp_path / "out" / "results.md").read_text()

    return run


def test_sides_take_turns_and_ratios_are_of_what_they_measured(pretend, tmp_path):
    sides, text = pretend("mace_torch")
    # Each once to prepare and once to warm up, then three times.
    assert (tmp_path / "turns").read_text() == "la" * 5
    assert sides["mlffjax"]["cpu_s"] == [0.5] * 3  # two units a call
    assert sides["mace_torch"]["wall_s"] == [10.0] * 3
    assert sides["mlffjax"]["difference"] == 0
    assert sides["mlffjax"]["peak_rss_mb"] > 5
    row = next(line for line in text.splitlines() if "| mace_torch |" in line)
    assert "| 6000.0 (6000.0) | 12.0 (12.0-12.0; 12.0) |" in row
    assert (tmp_path / "out" / "results.png").stat().st_size > 1000


def test_what_is_measured_is_not_measured_again(pretend, tmp_path):
    pretend("mace_torch")
    before = (tmp_path / "turns").read_text()
    pretend("mace_torch")
    assert (tmp_path / "turns").read_text() == before
    pretend("mace_torch", options=["--again"])
    assert (tmp_path / "turns").read_text() == 2 * before


def test_failures_are_told_and_stop_nobody_else(pretend):
    sides, text = pretend("breaks", "idle", "grows", "other", options=["--memory", "0.2"])
    assert sides["breaks"]["failed"] == "ValueError: on purpose"
    assert "takes more than 0.2 GB" in sides["grows"]["failed"]
    assert sides["idle"]["failed"] == "offers nothing of the kind"
    assert sides["other"]["cpu_s"] == [6.0] * 3
    assert "failed: ValueError: on purpose" in text
    assert "offers nothing" not in text


def test_a_side_that_computes_something_else_stops_it(pretend):
    with pytest.raises(SystemExit, match="wrong disagrees with mace_torch"):
        pretend("mace_torch", "wrong")


def test_plans_hold_no_case_twice_and_every_bound(compare):
    keys = [case.key for case in compare.planned("full")]
    assert len(keys) == len(set(keys))
    presentation = sys.modules["presentation"]
    assert {bound.key for bound in presentation.BOUNDS} <= {
        case.key for case in compare.planned("bounds")
    }


def test_bounds_are_judged_by_the_fastest_peer_with_equal_weights(compare):
    presentation = sys.modules["presentation"]

    def side(seconds, **more):
        return {
            "cpu_s": [seconds],
            "peak_rss_mb": 10.0 * seconds,
            "versions": more,
            "first_s": 11.0,
        }

    bound = presentation.BOUNDS[0]
    peers = {"mlffjax": side(1.0), "slow": side(30.0), "fast": side(9.0)}
    peers |= {"other": side(2.0, weights="its own"), "broken": {"failed": "no"}}
    found = {"case": {"cores": 1}, "sides": peers}
    results = {"cases": {bound.key: found}}
    assert presentation.judged(results, bound, "mlffjax") == (9.0, "fast")
    assert presentation._met(9.0, bound) == "**no**"
    memory = bound._replace(quantity="peak_rss_mb")
    assert presentation.judged(results, memory, "mlffjax") == (9.0, "fast")
    first = bound._replace(quantity="first", limit=10)
    assert presentation.judged(results, first, "mlffjax") == (11.0, "")
    assert presentation._met(11.0, first) == "**no**"
    assert presentation.judged({"cases": {}}, bound, "mlffjax") == (None, "")


@pytest.mark.slow  # 10 s, most of them for imports and compilation
def test_quick_measures_this_package(compare, tmp_path):
    compare.main(["--quick", "--out", str(tmp_path), "--rounds", "2", "--round-seconds", "0.05"])
    results = json.loads((tmp_path / "results.json").read_text())
    (case,) = results["cases"].values()
    ours = case["sides"]["mlffjax"]
    assert "failed" not in ours, (tmp_path / "mlffjax.log").read_text()
    assert len(ours["cpu_s"]) == 2
    assert 0 < min(ours["cpu_s"]) < ours["first_s"]
