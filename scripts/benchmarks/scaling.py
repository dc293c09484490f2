"""Time and memory of this package along every axis that can grow: atoms, batch, images, variants.

    .venv/bin/python scripts/benchmarks/scaling.py --out results/scaling

Each point is a process of its own on one core, without a cache of compiled programs; the time is
CPU time per call, the memory what a call needs on top of what was there before it. ``devices``
compares the wall time of an epoch on one and on two forced CPU devices, with two cores both times.
Writes scaling.json (a point that is there is not measured again) and scaling.png, and prints a
table with the exponent of each axis between its two largest points: 1 is linear.
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import compare
import peers

AXES = {
    "atoms": [{"work": "energy_forces", "atoms": n} for n in (61, 136, 376, 1981, 4321, 10141)],
    "batch": [{"work": "batch", "atoms": 61, "batch": n} for n in (1, 2, 4, 8, 16, 32)],
    "images": [{"work": "band", "atoms": 61, "images": n} for n in (3, 9, 17, 33, 65)],
    "variants": [{"work": "variants", "atoms": 61, "variants": n} for n in (1, 2, 4, 8, 16)],
    "devices": [{"work": "epoch", "atoms": 61, "devices": n, "cores": 2} for n in (1, 2)],
}
FEW = 2
"""Points of an axis that ``--quick`` takes."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse arguments, measure what is missing, write table and figure."""
    options = parsed(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "scaling.json"
    results = json.loads(file.read_text()) if file.exists() else {"points": {}}
    for axis in options.axes:
        for point in AXES[axis][: FEW if options.quick else None]:
            case = case_of(point, options.architecture)
            key = f"{axis}/{options.architecture}/{point[axis]}"
            if key in results["points"] and "failed" not in results["points"][key]:
                continue
            print(key, file=sys.stderr, flush=True)
            results["points"][key] = point | {"axis": axis} | measured(case, options)
            results["machine"] = compare.machine()
            compare.keep(file, results)
    print(table(results))
    figure(results, options.out / "scaling.png")


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--axes", nargs="+", choices=list(AXES), default=list(AXES))
    parser.add_argument("--architecture", choices=["tiny", "small", "medium"], default="medium")
    parser.add_argument("--quick", action="store_true", help=f"only {FEW} points of each axis")
    parser.add_argument("--calls", type=int, default=3, help="of which the median counts")
    parser.add_argument("--patience", type=float, default=900, help="s to wait for one answer")
    parser.add_argument("--memory", type=float, default=14, help="GB that a point may take")
    parser.add_argument("--out", type=Path, default=Path("results/scaling"))
    return parser.parse_args(arguments)


def case_of(point: Mapping[str, Any], architecture: str) -> dict[str, Any]:
    """A point with everything that it does not change."""
    fixed = {"architecture": architecture, "dtype": "float32", "cores": 1, "malloc": "default"}
    return fixed | dict(point)


def measured(case: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Times of single calls, memory, and the first call."""
    try:
        worker = peers.Worker("mlffjax", Path(sys.executable), case, options)
    except peers.Failed as failure:
        return {"failed": str(failure)}
    try:
        found = worker.prepare(case, options.out / "none")
        found.pop("answer")
        turns = [worker.measure(1) for _ in range(options.calls)]
        times = {name: [turn[name] for turn in turns] for name in ("wall_s", "cpu_s")}
        return found | times | worker.end() | {"when": time.strftime("%F %T")}
    except peers.Failed as failure:
        return {"failed": str(failure)}
    finally:
        worker.stop()


def lines_of(results: Mapping[str, Any]) -> dict[str, list[tuple[int, float, float]]]:
    """By axis and architecture: size, seconds, MB of a call; points that failed are left out."""
    found: dict[str, list[tuple[int, float, float]]] = {}
    for key, point in results["points"].items():
        if "failed" in point:
            continue
        axis, name, size = key.split("/")
        clock = "wall_s" if axis == "devices" else "cpu_s"
        row = int(size), statistics.median(point[clock]), point["call_mb"] or math.nan
        found.setdefault(f"{axis}, {name}", []).append(row)
    return {name: sorted(rows) for name, rows in found.items()}


def exponent(first: tuple[int, float], last: tuple[int, float]) -> float:
    """Of the power law through two points."""
    return math.log(last[1] / first[1]) / math.log(last[0] / first[0])


def table(results: Mapping[str, Any]) -> str:
    """All points in Markdown, with the exponents of the last step of each axis."""
    lines = ["| axis | size | s | of the first (per unit) | MB of a call | exponents |"]
    lines.append("|---|---|---|---|---|---|")
    for name, rows in lines_of(results).items():
        size, seconds, _ = rows[0]
        for index, (n, s, megabytes) in enumerate(rows):
            last = ""
            if index and index == len(rows) - 1 and not name.startswith("devices"):
                before = rows[-2]
                grown = [
                    exponent((before[0], before[k]), (n, (s, megabytes)[k - 1])) for k in (1, 2)
                ]
                last = f"time {grown[0]:.2f}, memory {grown[1]:.2f}"
            relative = s / seconds if name.startswith("devices") else (s / n) / (seconds / size)
            lines.append(f"| {name} | {n} | {s:.4g} | {relative:.2f} | {megabytes:.0f} | {last} |")
    for key, point in results["points"].items():
        if "failed" in point:
            lines.append(f"| {key} | failed: {point['failed'][:90]} | | | | |")
    return "\n".join(lines)


def figure(results: Mapping[str, Any], target: Path) -> None:
    """Time and memory over size, a panel for each axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = lines_of(results)
    if not found:
        return
    drawn, panels = pyplot.subplots(
        2, len(found), figsize=(3 * len(found), 5.5), layout="constrained", squeeze=False
    )
    for column, (name, rows) in enumerate(found.items()):
        sizes = [row[0] for row in rows]
        for place, label in ((1, "s per call"), (2, "MB of a call")):
            axes = panels[place - 1, column]
            values = [row[place] for row in rows]
            axes.plot(sizes, values, "o-")
            if not name.startswith("devices"):
                axes.plot(sizes, [values[-1] * n / sizes[-1] for n in sizes], "--", color="0.6")
                axes.set(xscale="log", yscale="log")
            axes.set(xlabel=name.split(",")[0], ylabel=label if column == 0 else "")
        panels[0, column].set_title(name, fontsize="medium")
    drawn.savefig(target, dpi=150)
    pyplot.close(drawn)


if __name__ == "__main__":
    main()
