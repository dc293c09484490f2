"""This package and its peers, side by side: the same weights, the same structures, in turn.

    .venv/bin/python scripts/benchmarks/compare.py --plan bounds --out results/benchmarks

One command makes an environment for every peer (mace-torch, torch-sim, mlip; mace-jax if its source
is given with ``--mace-jax``), draws weights once and hands them to all, checks that energies and
forces agree, and times each case with all sides taking turns (A B A B ...). An environment that
exists already is named with ``--python``.

Every side of a case is a process of its own, pinned to the same cores, without a cache of compiled
programs. The allocator is tuned for all sides (``tuned``) or left to each (``default``: commands of
this package tell it to keep memory, see ``mlffjax.startup``). On one core the figure is CPU time,
on more it is wall time. The first call includes compilation. Memory is the peak of the process, and
what calls need on top of what was there before them.

``--out`` receives results.json (each case as soon as it is measured; a case that is there is not
measured again), results.md and results.png. Plans: ``quick`` (seconds, this package only),
``bounds`` (what is promised of speed), ``full`` (everything; hours on a slow machine).
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import presentation
from peers import SIDES, Failed, Worker, interpreter

OURS = "mlffjax"
REFERENCE = "mace_torch"  # whose energies and forces the others are compared with
ROUND = 1.5
"""s that a side is measured for before it is another one's turn."""
AGREEMENT = {"float32": 1e-4, "float64": 1e-9}
"""Largest relative deviation of energies and forces: rounding of sums over 1e4 terms."""


class Case(NamedTuple):
    """What is measured; ``key`` names it in the results."""

    work: str
    architecture: str = "medium"
    atoms: int = 136
    dtype: str = "float32"
    cores: int = 1
    malloc: str = "tuned"

    @property
    def key(self) -> str:
        """Unique and readable."""
        return "/".join(str(part) for part in self)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse arguments, measure what is missing, write tables and figure."""
    options = parsed(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "results.json"
    results = json.loads(file.read_text()) if file.exists() else {"cases": {}, "sweep": None}
    cases = [case for case in planned(options.plan) if chosen(case, options)]
    sides = sides_of(options)
    pythons = {side: interpreter(side, options) for side in sides}
    for number, case in enumerate(cases, start=1):
        done = results["cases"].get(case.key, {}).get("sides", {})
        if not options.again and set(sides) <= set(done):
            continue
        print(f"[{number} of {len(cases)}] {case.key}", file=sys.stderr, flush=True)
        found = measured(case, pythons, options)
        results["cases"][case.key] = found
        results["machine"] = machine()
        keep(file, results)
    if options.sweep and (options.again or not results["sweep"]):
        results["sweep"] = sweep(options)
        keep(file, results)
    text = presentation.table(results, OURS)
    (options.out / "results.md").write_text(text + "\n")
    presentation.figure(results, OURS, options.out / "results.png")
    print(text)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plan", choices=["quick", "bounds", "full"], default="bounds")
    parser.add_argument("--quick", action="store_const", dest="plan", const="quick")
    parser.add_argument("--works", nargs="+", help="of the plan, only these")
    parser.add_argument("--atoms", nargs="+", type=int, help="of the plan, only these sizes")
    parser.add_argument(
        "--sides", nargs="+", choices=sorted(SIDES), help="by default all there are"
    )
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    parser.add_argument(
        "--environments", type=Path, default=Path("results/benchmarks/environments")
    )
    parser.add_argument(
        "--python", nargs="*", default=[], metavar="ENVIRONMENT=PYTHON", help="that exists already"
    )
    parser.add_argument("--mace-jax", type=Path, help="a checkout of mace-jax")
    parser.add_argument("--rounds", type=int, default=5, help="turns of every side")
    parser.add_argument("--round-seconds", type=float, default=ROUND, help="of a turn, at least")
    parser.add_argument("--seconds", type=float, default=120, help="for the turns of a case")
    parser.add_argument("--patience", type=float, default=900, help="s to wait for one answer")
    parser.add_argument("--memory", type=float, default=12, help="GB that a side may take")
    parser.add_argument("--again", action="store_true", help="measure what is there already")
    parser.add_argument("--sweep", action="store_true", help="also 8 variants in one program")
    return parser.parse_args(arguments)


def planned(plan: str) -> list[Case]:
    """The cases of a plan, the most telling ones first."""
    if plan == "quick":
        return [Case("energy_forces", "tiny", 16, malloc="default")]
    bounds = [
        Case("energy_forces", malloc="default"),
        Case("energy_forces"),
        Case("energy_forces", atoms=376),
        Case("md", malloc="default"),
        Case("training", atoms=61, malloc="default"),
        Case("band", atoms=61, malloc="default"),
    ]
    if plan == "bounds":
        return bounds
    sizes = [61, 136, 376, 1981]
    more = [
        Case("energy_forces", architecture, atoms, dtype, cores, malloc)
        for malloc in ("tuned", "default")
        for cores in (1, 2)
        for dtype in ("float32", "float64")
        for architecture in ("medium", "small")
        for atoms in sizes
    ]
    more += [
        Case("md", atoms=atoms, malloc=m) for m in ("tuned", "default") for atoms in (136, 376)
    ]
    for work in ("band", "paths", "training", "epoch", "hvp"):
        architecture = "small" if work == "paths" else "medium"
        more += [Case(work, architecture, 61, malloc=malloc) for malloc in ("tuned", "default")]
    more += [Case(work, cores=2) for work in ("md", "training")]
    more += [Case("heat_flux", atoms=atoms) for atoms in (136, 376)]
    return list(dict.fromkeys([*bounds, *more]))


def chosen(case: Case, options: argparse.Namespace) -> bool:
    """Whether the options leave a case in; one that needs more cores than there are is left out."""
    there = len(os.sched_getaffinity(0))
    return (
        case.cores <= there
        and (options.works is None or case.work in options.works)
        and (options.atoms is None or case.atoms in options.atoms)
    )


def sides_of(options: argparse.Namespace) -> list[str]:
    """The sides that take part, this package first."""
    if options.sides:
        wanted = options.sides
    elif options.plan == "quick":
        wanted = [OURS]
    else:
        wanted = [side for side in SIDES if side != "mace_jax" or can_have_mace_jax(options)]
    return [OURS, *(side for side in wanted if side != OURS)]


def can_have_mace_jax(options: argparse.Namespace) -> bool:
    """It is on no package registry."""
    return options.mace_jax is not None or any(p.startswith("mace_jax=") for p in options.python)


def measured(
    case: Case, pythons: Mapping[str, Path], options: argparse.Namespace
) -> dict[str, Any]:
    """All sides of a case: prepared one after the other, then measured in turn."""
    weights = weights_file(case.architecture, pythons, options.out)
    found: dict[str, dict[str, Any]] = {}
    workers: dict[str, Worker] = {}
    before = os.getloadavg()[0]
    try:
        for side, python in pythons.items():
            try:
                workers[side] = Worker(side, python, case._asdict(), options)
                found[side] = workers[side].prepare(case._asdict(), weights)
            except Failed as failure:
                found[side] = {"failed": str(failure)}
                if side in workers:
                    workers.pop(side).stop()
        compare_answers(found, case)
        take_turns(workers, found, options)
        for side, worker in workers.items():
            found[side] |= worker.end()
    finally:
        for worker in workers.values():
            worker.stop()
    load = [before, os.getloadavg()[0]]
    return {"case": case._asdict(), "sides": found, "load": load, "when": time.strftime("%F %T")}


def weights_file(architecture: str, pythons: Mapping[str, Path], out: Path) -> Path:
    """The weights that all sides share; there is no such file if no side has mace-torch."""
    file = out / f"weights-{architecture}.npz"
    if not file.exists() and REFERENCE in pythons:
        part = file.with_suffix(".part.npz")
        script = Path(__file__).with_name("side_mace_torch.py")
        command = [str(pythons[REFERENCE]), str(script), "--weights", architecture, str(part)]
        subprocess.run(command, check=True, capture_output=True)
        part.rename(file)
    return file


def compare_answers(found: Mapping[str, dict[str, Any]], case: Case) -> None:
    """Note how far each side is from the reference; drop the numbers themselves.

    Raises:
        SystemExit: two sides with the same weights do not compute the same.
    """
    answers = {side: entry.pop("answer", None) for side, entry in found.items()}
    expected = answers.get(REFERENCE)
    if expected is None:
        return
    for side, answer in answers.items():
        if side == REFERENCE or answer is None:
            continue
        differences = [
            relative(answer[name], expected[name]) for name in ("energy", "forces") if answer[name]
        ]
        found[side]["difference"] = max(differences)
        if not max(differences) < AGREEMENT[case.dtype]:
            raise SystemExit(f"{case.key}: {side} disagrees with {REFERENCE}: {differences}")


def relative(found: Sequence[Any], expected: Sequence[Any]) -> float:
    """Largest deviation over the largest magnitude."""
    ours, theirs = flat(found), flat(expected)
    if len(ours) != len(theirs):
        raise SystemExit(f"expected {len(theirs)} numbers, got {len(ours)}")
    largest = max(abs(value) for value in theirs)
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) / largest


def flat(values: Iterable[Any]) -> list[float]:
    """Numbers of nested lists."""
    return [x for value in values for x in (flat(value) if isinstance(value, list) else [value])]


def take_turns(
    workers: dict[str, Worker], found: dict[str, dict[str, Any]], options: argparse.Namespace
) -> None:
    """Measure A B A B ...; a first turn of each warms up and says how many calls make a turn."""
    calls, rounds = {}, {side: [] for side in workers}
    for side in list(workers):
        warm = ask(workers, found, side, 1)
        if warm is not None:
            units = found[side].get("units", 1)
            seconds = max(warm["wall_s"] * units, 1e-4)
            calls[side] = max(1, min(1000, round(options.round_seconds / seconds)))
    start = time.monotonic()
    for number in range(options.rounds):
        if number >= 3 and time.monotonic() - start > options.seconds:
            break
        for side in list(workers):
            answer = ask(workers, found, side, calls[side])
            if answer is not None:
                rounds[side].append(answer)
    for side in workers:
        for name in ("wall_s", "cpu_s"):
            found[side][name] = [each[name] for each in rounds[side]]


def ask(
    workers: dict[str, Worker], found: dict[str, dict[str, Any]], side: str, calls: int
) -> dict[str, Any] | None:
    """One turn of a side; one that fails is out."""
    try:
        return workers[side].measure(calls)
    except Failed as failure:
        found[side]["failed"] = str(failure)
        workers.pop(side).stop()
        return None


def sweep(options: argparse.Namespace) -> dict[str, Any]:
    """Eight variants in one program beside eight runs; ``sweep.py`` does it."""
    script, out = Path(__file__).with_name("sweep.py"), options.out / "sweep.json"
    subprocess.run([sys.executable, str(script), "--out", str(out)], check=True)
    return json.loads(out.read_text())["summary"]


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
        "when": time.strftime("%F"),
    }


def keep(file: Path, results: Mapping[str, Any]) -> None:
    """Write the results, whole or not at all."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(results, indent=1) + "\n")
    part.rename(file)


if __name__ == "__main__":
    main()
