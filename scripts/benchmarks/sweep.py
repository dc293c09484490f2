"""Eight variants of a fine-tuning in one program beside eight separate runs, compilation included.

    .venv/bin/python scripts/benchmarks/sweep.py --model small --out sweep.json

The bundled data and the run FT-MultiT of the quickstart: four learning rates times two weights of
the forces. Sides, each in fresh processes without a cache of compiled programs:

    fleet       all variants in one program
    alone       one after the other in one process, which compiles a step once for all of them
    processes   each in a process of its own, one after the other

Models: ``quickstart`` (the bundled generalist, 48x0e + 48x1o) and ``small`` (8x0e + 8x1o, drawn at
random). Everything on one pinned core. CPU seconds are those of whole processes, start-up and data
included; sides take turns and the least of the repetitions counts. Prints a line of JSON per
process and a summary; ends with an error if the sides do not agree.

A model so small that compilation outweighs its steps gains nothing over one process: there all
runs share a compilation as well.
"""

import argparse
import itertools
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RATES = (2e-4, 5e-4, 1e-3, 2e-3)
FORCES = (10.0, 100.0)
SIDES = ("fleet", "alone", "processes")
SMALL = {"hidden_irreps": "8x0e + 8x1o", "mlp_irreps": "8x0e", "radial_mlp": [16]}
AGREEMENT = 1e-3
"""Relative; training in float32 magnifies rounding from step to step."""


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=["quickstart", "small"], default="small")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument(
        "--processes", type=int, default=8, help="of the side processes; 8 are extrapolated from it"
    )
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--child", choices=["together", "alone"], help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--last", type=int, default=8, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:1]
    os.sched_setaffinity(0, cores)
    if arguments.child:
        print(json.dumps(work(arguments)))
        return
    rows = [measured(arguments, side) for _ in range(arguments.repeats) for side in arguments.sides]
    summary = summarised(rows, arguments)
    print(json.dumps(summary))
    if arguments.out:
        arguments.out.write_text(json.dumps({"rows": rows, "summary": summary}, indent=1) + "\n")


def study(model: str, epochs: int) -> tuple[Any, Path]:
    """The quickstart with the variants as its runs, and its directory."""
    from mlffjax.config import dump, locate, read, validate
    from mlffjax.study.config import StudyConfig

    path = locate("quickstart")
    data = dump(read(path, StudyConfig))
    (base,) = (run for run in data["runs"] if run["name"] == "FT-MultiT")
    if model == "small":
        data["model"] |= SMALL
        base["strategy"] = {"kind": "scratch"}
    runs = []
    for number, (forces, rate) in enumerate(itertools.product(FORCES, RATES)):
        training = {"learning_rate": rate, "loss": {"forces": forces}}
        runs.append(base | {"name": f"variant{number}", "training": training, "seeds": [0]})
    data |= {"runs": runs, "paths": {}, "probes": data["probes"][:1]}
    data["training"] |= {"epochs": epochs, "patience": epochs}
    return validate(data, StudyConfig, where="benchmark"), path.parent


def work(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train variants ``first`` to ``last`` in this process."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from mlffjax.study import runs
    from mlffjax.study.plan import make_plan
    from mlffjax.study.progress import Meter
    from mlffjax.study.records import read_json

    if arguments.child == "alone":
        runs.MOST = 1
    config, folder = study(arguments.model, arguments.epochs)
    plan = make_plan(config, folder)
    chosen = plan.runs[arguments.first : arguments.last]
    meter = Meter(None)
    for run in chosen:
        meter.plan(run.id, 1.0)
    start, cpu = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory() as out:
        runs.train(chosen, plan, Path(out), meter, {})
        cpu, wall = time.process_time() - cpu, time.monotonic() - start
        found = [read_json(Path(out) / "runs" / run.id / "history.json", []) for run in chosen]
    errors = [history["validation_force_mae"][-1] for history in found if history]
    return {"training_cpu_s": cpu, "training_wall_s": wall, "errors": errors}


def measured(arguments: argparse.Namespace, side: str) -> dict[str, Any]:
    """One side, from the start of its first process to the end of its last one."""
    count = len(RATES) * len(FORCES)
    parts = [(0, count)] if side != "processes" else [(i, i + 1) for i in range(count)]
    parts = parts[: arguments.processes]
    mode = "together" if side == "fleet" else "alone"
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = [child(arguments, mode, *part) for part in parts]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    factor = count / sum(last - first for first, last in parts)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    row = {
        "side": side,
        "cpu_s": factor * cpu,
        "wall_s": factor * (time.monotonic() - start),
        "training_cpu_s": factor * sum(each["training_cpu_s"] for each in done),
        "extrapolated_by": factor,
        "errors": [error for each in done for error in each["errors"]],
    }
    print(json.dumps(row), flush=True)
    return row


def child(arguments: argparse.Namespace, mode: str, first: int, last: int) -> dict[str, Any]:
    """One fresh process without a cache of compiled programs."""
    settings = {"model": arguments.model, "epochs": arguments.epochs, "child": mode}
    settings |= {"first": first, "last": last}
    options = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    command = [sys.executable, __file__, *options]
    answer = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(answer.stdout.splitlines()[-1])


def summarised(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> dict[str, Any]:
    """Least seconds of each side, and what the fleet costs of the others."""
    import jax

    best = {
        side: min((row for row in rows if row["side"] == side), key=lambda row: row["cpu_s"])
        for side in arguments.sides
    }
    reference = best.get("alone", rows[0])["errors"]
    for row in rows:
        for ours, theirs in zip(row["errors"], reference, strict=False):
            if not abs(ours - theirs) <= AGREEMENT * theirs:
                raise SystemExit(f"{row['side']} disagrees: force MAE {ours} and {theirs} eV/Å")
    ratios = {
        f"fleet_over_{side}": {
            name: best["fleet"][name] / best[side][name] for name in ("cpu_s", "wall_s")
        }
        for side in arguments.sides
        if "fleet" in best and side != "fleet"
    }
    return {
        "model": arguments.model,
        "epochs": arguments.epochs,
        "cpu_s": {side: row["cpu_s"] for side, row in best.items()},
        "wall_s": {side: row["wall_s"] for side, row in best.items()},
        "ratios": ratios,
        "repeats": arguments.repeats,
        "jax": jax.__version__,
        "machine": f"{platform.machine()}, one core, load {os.getloadavg()[0]:.1f}",
    }


if __name__ == "__main__":
    main()
