"""Studies in a row in one process: no file, process, thread, device buffer or memory is left.

    python scripts/endurance/many_studies.py --studies 24 --out many_studies.json

Each study is new (other seeds, another output folder): argon, a fine-tuning with two seeds and the
foundation as it is, two probes, a report. Every fourth is computed by two worker processes. What
is open is counted after each; the first four warm up. Ends with an error if anything grows
afterwards: open files, child processes, threads and buffers not at all, memory by at most GROWTH a
study.
"""

import argparse
import gc
import importlib
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import jax

from mlffjax import startup
from mlffjax.config import validate
from mlffjax.report.document import write_report
from mlffjax.study.config import StudyConfig
from mlffjax.study.execute import execute

WARM = 4
GROWTH = 1.0
"""MB a study that the heap may drift by without a leak."""


def argon() -> Any:
    """Inputs of the tests; to be imported when jax is set to 64 bits."""
    tests = str(Path(__file__).parents[2] / "tests")
    if tests not in sys.path:
        sys.path.insert(0, tests)
    return importlib.import_module("study.small")


def configuration(number: int) -> StudyConfig:
    """The study of a number."""
    tuned = {
        "name": "tuned", "strategy": {"kind": "finetune"}, "seeds": [2 * number, 2 * number + 1],
        "data": {"config_types": ["hot"], "count": 4},
    }  # fmt: skip
    settings = argon().settings(
        runs=[tuned, {"name": "zero", "strategy": {"kind": "zero_shot"}}],
        probes=[{"kind": "accuracy", "name": "accuracy"},
                {"kind": "fixed_path", "name": "hop", "path": "hop"}],
        executor={"workers": 2 if number % 4 == 3 else 1},
    )  # fmt: skip
    return validate(settings, StudyConfig, where="endurance")


def census() -> dict[str, float]:
    """What this process holds."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {
        "files": len(os.listdir("/proc/self/fd")),
        "processes": len(children),
        "threads": threading.active_count(),
        "buffers": len(jax.live_arrays()),
        "maps": Path("/proc/self/maps").read_bytes().count(b"\n"),
        "mb": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
    }


def judged(counts: list[dict[str, float]]) -> list[str]:
    """What grew after the warm-up."""
    first, last = counts[WARM - 1], counts[-1]
    grown = [
        f"{name}: {first[name]:g} after {WARM} studies, {last[name]:g} after {len(counts)}"
        for name in ("files", "processes", "threads", "buffers")
        if last[name] > first[name]
    ]
    rate = (last["mb"] - first["mb"]) / (len(counts) - WARM)
    return grown + ([f"memory: {rate:.2f} MB a study"] if rate > GROWTH else [])


def main() -> None:
    """Read the command line, run the studies, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=24)
    parser.add_argument("--out", type=Path, default=Path("many_studies.json"))
    options = parser.parse_args()
    startup.set_up()
    counts: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        argon().write_inputs(folder)
        for number in range(options.studies):
            start = time.process_time()
            records = execute(configuration(number), folder, folder / f"out{number}")
            write_report(folder / f"out{number}")
            if records.failures():
                sys.exit("\n".join(records.failures()))
            del records
            counts.append(census() | {"cpu_seconds": time.process_time() - start})
    options.out.write_text(json.dumps(counts, indent=1) + "\n")
    grown = judged(counts)
    sys.stdout.write(f"{counts[WARM - 1]}\n{counts[-1]}\n" + "\n".join(grown or ["no leak"]) + "\n")
    sys.exit(1 if grown else 0)


if __name__ == "__main__":
    main()
