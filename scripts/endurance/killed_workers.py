"""A study of many runs on a Ray cluster whose workers are killed at random.

    python scripts/endurance/killed_workers.py --runs 200 --kills 40 --out killed_workers.json

Argon; every run is a fine-tuning of its own seed. While the study runs, the worker of a random run
that is being trained gets SIGKILL, until there were so many kills. Afterwards every run must have
an outcome, none may have failed, and weights must equal those of the same study in one process (to
the bit where runs are trained alone in both). Ends with an error if not.
"""

import argparse
import contextlib
import importlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from mlffjax import startup
from mlffjax.config import validate
from mlffjax.study.config import StudyConfig
from mlffjax.study.execute import execute
from mlffjax.study.lock import FILE
from mlffjax.study.progress import Event

TOLERANCE = 1e-9
"""Of weights in float64, relative: runs of one process are trained together."""


def argon() -> Any:
    """Inputs of the tests; to be imported when jax is set to 64 bits."""
    tests = str(Path(__file__).parents[2] / "tests")
    if tests not in sys.path:
        sys.path.insert(0, tests)
    return importlib.import_module("study.small")


def configuration(runs: int, executor: dict[str, Any]) -> StudyConfig:
    """A study of so many short runs."""
    tuned = {
        "name": "tuned", "strategy": {"kind": "finetune"}, "seeds": list(range(runs)),
        "data": {"config_types": ["hot"], "count": 4},
    }  # fmt: skip
    training = {"epochs": 400, "patience": 400, "buckets": 1, "learning_rate": 1e-4,
                "precision": "float64", "checkpoint_seconds": 0.2}  # fmt: skip
    settings = argon().settings(
        runs=[tuned], training=training, executor=executor,
        probes=[{"kind": "fixed_path", "name": "hop", "path": "hop"}],
    )  # fmt: skip
    return validate(settings, StudyConfig, where="endurance")


class Killer:
    """An observer that kills workers; the seed decides whom and when."""

    def __init__(self, out: Path, kills: int, runs: int) -> None:
        self.out, self.kills = out, kills
        self.random = random.Random(0)
        self.share = min(1.0, 2.0 * kills / runs)
        self.killed: list[str] = []
        self.seen: set[str] = set()
        self.retries = 0

    def __call__(self, event: Event) -> None:
        """Hear of progress; kill the worker of a run the first time that it is heard of."""
        self.retries += "trying again" in event.text
        if event.stage != "train" or ": epoch " not in event.text or event.subject in self.seen:
            return
        self.seen.add(event.subject)
        if len(self.killed) < self.kills and self.random.random() < self.share:
            with contextlib.suppress(OSError, IndexError, ValueError):
                text = (self.out / "runs" / event.subject / FILE).read_text()
                worker = int(text.split()[1])
                if worker != os.getpid():
                    os.kill(worker, signal.SIGKILL)
                    self.killed.append(event.subject)


def compared(out: Path, whole: Path) -> float:
    """The largest relative difference of weights between two outputs."""
    worst = 0.0
    for file in sorted(whole.glob("runs/*/weights.safetensors")):
        other = load_file(out / file.relative_to(whole))
        for name, array in load_file(file).items():
            scale = np.maximum(np.abs(array), 1e-300)
            worst = max(worst, float((np.abs(other[name] - array) / scale).max(initial=0.0)))
    return worst


def main() -> None:
    """Read the command line, run both studies, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kind", default="ray", choices=("ray", "local"))
    parser.add_argument("--out", type=Path, default=Path("killed_workers.json"))
    options = parser.parse_args()
    startup.set_up()
    executor = {"kind": options.kind, "workers": options.workers, "retries": 5}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        argon().write_inputs(folder)
        killer = Killer(folder / "killed", options.kills, options.runs)
        start = time.monotonic()
        config = configuration(options.runs, executor)
        records = execute(config, folder, folder / "killed", observe=killer)
        seconds = time.monotonic() - start
        execute(configuration(options.runs, {"kind": "local"}), folder, folder / "whole")
        worst = compared(folder / "killed", folder / "whole")
    found = {
        "runs": len(records.runs),
        "ok": sum(run.info.status == "ok" for run in records.runs),
        "probed": sum("hop" in run.probes for run in records.runs),
        "failures": list(records.failures()),
        "kills": len(killer.killed),
        "retries": killer.retries,
        "seconds": seconds,
        "largest_relative_difference": worst,
    }
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    complete = found["ok"] == found["probed"] == options.runs and not found["failures"]
    sys.exit(0 if complete and worst <= TOLERANCE and killer.killed else 1)


if __name__ == "__main__":
    main()
