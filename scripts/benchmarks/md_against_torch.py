"""Molecular dynamics of MACE, side by side with ASE + mace-torch on the same weights.

    bash scripts/test.sh --parity -k nothing      # once: an environment with both
    .venv/bin/python scripts/benchmarks/md_against_torch.py --atoms 136

NVE at 300 K, 1 fs, in one process and in turn (A B C A B C ...) on one pinned core: our engine, the
bare compiled energy and forces that it must evaluate at every step, and ASE's velocity Verlet with
mace-torch's calculator (without ``--bare``). The figure is process CPU time per step; compilation
is apart. Prints a Markdown table and writes JSON with machine and versions.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mace_against_torch as shared


def main() -> None:
    """Parse arguments, pin, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, nargs="+", default=[136])
    parser.add_argument("--model", choices=["generalist", "small", "medium"], default="medium")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--steps", type=int, default=100, help="of one measurement of ours")
    parser.add_argument("--torch-steps", type=int, default=5, help="of one measurement of theirs")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--bare", action="store_true", help="leave mace-torch out")
    parser.add_argument("--default-malloc", action="store_true", help="do not tune the allocator")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    tuned = shared.TUNED_MALLOC
    if not arguments.default_malloc and any(os.environ.get(k) != v for k, v in tuned.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **tuned})
    cores = sorted(os.sched_getaffinity(0))[:1]
    os.sched_setaffinity(0, cores)

    import jax

    jax.config.update("jax_enable_x64", True)
    if arguments.model == "generalist" and not arguments.bare:
        raise SystemExit("the generalist exists here only; add --bare")
    rows = [measured(arguments, atoms) for atoms in arguments.atoms]
    print(table(rows))
    about = {"cores": 1, "load": os.getloadavg()[0], "jax": jax.__version__}
    about = about if arguments.bare else shared.machine(cores)
    print(json.dumps(about))
    if arguments.out:
        settings = {key: str(value) for key, value in vars(arguments).items()}
        arguments.out.write_text(
            json.dumps({"rows": rows, "machine": about, "settings": settings}, indent=1)
        )


def measured(arguments: argparse.Namespace, atoms: int) -> dict[str, Any]:
    """One size: seconds per step of each."""
    structure = cell_with_chromium(atoms)
    theirs = None if arguments.bare else shared.torch_model(arguments.model, arguments.dtype)
    potential = our_potential(arguments, theirs)
    start = time.perf_counter()
    engine, warm = our_engine(arguments, potential, structure)
    engine()
    compile_seconds = time.perf_counter() - start
    bare = bare_forces(arguments, potential, warm())
    sides: dict[str, Callable[[], float]] = {
        "mlffjax": engine,
        "bare": timed(bare, calls=20, steps=1),
    }
    if theirs is not None:
        steps = arguments.torch_steps
        sides["torch"] = timed(ase_engine(theirs, structure, arguments), calls=1, steps=steps)
    pairs = in_turn(sides, arguments)
    row = {
        "model": arguments.model,
        "atoms": atoms,
        "dtype": arguments.dtype,
        "overhead": statistics.median(p["mlffjax"] / p["bare"] for p in pairs) - 1,
        "compile_and_first_s": compile_seconds,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    for name in sides:
        row[f"{name}_s"] = statistics.median(p[name] for p in pairs)
        row[f"{name}_min_s"] = min(p[name] for p in pairs)
    row["overhead_of_minima"] = row["mlffjax_min_s"] / row["bare_min_s"] - 1
    if theirs is not None:
        row["ratio"] = statistics.median(p["torch"] / p["mlffjax"] for p in pairs)
        row["ratio_of_minima"] = row["torch_min_s"] / row["mlffjax_min_s"]
    return row


def in_turn(
    sides: dict[str, Callable[[], float]], arguments: argparse.Namespace
) -> list[dict[str, float]]:
    """CPU seconds per step of each side, measured in turn after one warm-up."""
    for function in sides.values():
        function()
    return [
        {name: function() for name, function in sides.items()} for _ in range(arguments.repeats)
    ]


def timed(function: Callable[[], object], *, calls: int, steps: int) -> Callable[[], float]:
    """Calls of a function as CPU seconds per step."""

    def seconds() -> float:
        start = time.process_time()
        for _ in range(calls):
            function()
        return (time.process_time() - start) / (calls * steps)

    return seconds


def our_engine(
    arguments: argparse.Namespace, potential: Any, structure: Any
) -> tuple[Callable[[], float], Callable[[], Any]]:
    """CPU seconds per step of a run, its first quarter apart, and the structure after it."""
    from mlffjax.dynamics.config import Intervals, MdConfig
    from mlffjax.dynamics.ensembles.nve import Config
    from mlffjax.dynamics.run import run
    from mlffjax.structures.system import from_ase, to_ase

    quarter = max(arguments.steps // 4, 1)
    settings = MdConfig(
        temperature_k=300,
        ensemble=Config(),
        steps=5 * quarter,
        precision=arguments.dtype,
        intervals=Intervals(thermo=min(10, quarter), positions=min(50, quarter)),
        checkpoint_every=quarter,  # it is then that progress is told
    )
    last = [structure]

    def seconds() -> float:
        marks: list[tuple[int, float]] = []
        result = run(
            potential,
            from_ase(structure),
            settings,
            progress=lambda _, step, __: marks.append((step, time.process_time())),
        )
        if not result.ok:
            raise SystemExit(result.lanes[0].reason)
        last[0] = to_ase(result.lanes[0].system)
        (first, began), (step, ended) = marks[0], marks[-1]
        return (ended - began) / (step - first)

    return seconds, lambda: last[0]


def bare_forces(arguments: argparse.Namespace, potential: Any, structure: Any) -> Callable[[], Any]:
    """Energy and forces of one structure of the run, compiled, parameters folded."""
    import jax
    import numpy as np

    from mlffjax.dynamics.evaluation import prepared
    from mlffjax.graphs.batching import build
    from mlffjax.potential.derivatives import energies_and_forces
    from mlffjax.structures.system import from_ase

    dtype = np.dtype(arguments.dtype).type
    folded = prepared(potential, dtype, None)
    elements, cutoff = potential.elements, potential.cutoff
    graph = jax.device_put(build([from_ase(structure)], elements, cutoff, dtype=dtype))
    compiled = jax.jit(energies_and_forces).lower(folded, graph).compile()
    return lambda: jax.block_until_ready(compiled(folded, graph))


def ase_engine(model: Any, structure: Any, arguments: argparse.Namespace) -> Callable[[], Any]:
    """ASE's velocity Verlet with mace-torch's calculator."""
    import numpy as np
    from ase import units
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
    from ase.md.verlet import VelocityVerlet
    from mace.calculators import MACECalculator

    atoms = structure.copy()
    atoms.calc = MACECalculator(models=[model], device="cpu", default_dtype=arguments.dtype)
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(0))
    dynamics = VelocityVerlet(atoms, timestep=1.0 * units.fs)
    return lambda: dynamics.run(arguments.torch_steps)


def our_potential(arguments: argparse.Namespace, theirs: Any) -> Any:
    """The same weights as theirs, the bundled generalist, or random weights."""
    import jax

    import mlffjax
    from mlffjax.potential.base import Potential
    from mlffjax.potential.mace.config import MaceConfig
    from mlffjax.potential.mace.model import MaceModel

    if arguments.model == "generalist":
        return mlffjax.load("bundled:generalist")[0]
    if theirs is not None:
        return shared.our_potential(theirs, arguments.model)
    config = MaceConfig(r_max=shared.R_MAX, hidden_irreps=shared.HIDDEN[arguments.model])
    model = MaceModel(shared.ELEMENTS, config)
    return Potential(model.init(key=jax.random.key(0)), model)


def cell_with_chromium(atoms: int) -> Any:
    """Hexagonal Sb2Te3 cells with one Cr in the gap, rattled; the nearest size there is."""
    from ase import Atoms
    from ase.spacegroup import crystal

    cell = crystal(
        ["Te", "Sb", "Te"],
        [(0, 0, 0), (0, 0, 0.3988), (0, 0, 0.2128)],
        spacegroup=166,
        cellpar=[4.264, 4.264, 30.458, 90, 90, 120],
    )
    repeats = round(((atoms - 1) / len(cell)) ** 0.5)
    structure = cell.repeat((repeats, repeats, 1))
    structure += Atoms("Cr", positions=[0.5 * cell.cell.array[2]])
    if len(structure) != atoms:
        sizes = [15 * n * n + 1 for n in range(1, 13)]
        raise SystemExit(f"expected one of {sizes} atoms, got {atoms}")
    structure.rattle(0.05, seed=0)
    return structure


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown; milliseconds per step."""
    lines = [
        "| model | atoms | dtype | MD ms/step (min) | bare E+F ms (min) | overhead (of minima) "
        "| ASE + mace-torch ms/step (min) | ratio (of minima) | compile + first run s | RSS MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        torch, ratio = "-", "-"
        if "torch_s" in r:
            torch = f"{1e3 * r['torch_s']:.1f} ({1e3 * r['torch_min_s']:.1f})"
            ratio = f"{r['ratio']:.1f} ({r['ratio_of_minima']:.1f})"
        lines.append(
            f"| {r['model']} | {r['atoms']} | {r['dtype']} "
            f"| {1e3 * r['mlffjax_s']:.2f} ({1e3 * r['mlffjax_min_s']:.2f}) "
            f"| {1e3 * r['bare_s']:.2f} ({1e3 * r['bare_min_s']:.2f}) "
            f"| {100 * r['overhead']:.1f} % ({100 * r['overhead_of_minima']:.1f} %) "
            f"| {torch} | {ratio} | {r['compile_and_first_s']:.1f} | {r['peak_rss_mb']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
