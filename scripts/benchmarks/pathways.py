"""Paths with MACE: bands beside ASE + mace-torch and torch-sim, fixed paths, a relaxed band.

    bash scripts/test.sh --parity -k nothing      # once: an environment with mace-torch
    .venv/bin/python scripts/benchmarks/pathways.py --work band

Works:

    band       energy and forces of 9 images of 61 atoms, the same weights everywhere, in turn
    batch      the same images as a band and as one large batch
    many       many fixed paths of 9 images of 21 atoms with many models (``--paths``, ``--models``)
    relaxed    the bundled in-gap path relaxed by the bundled generalist, ends included

Everything on one pinned core and in process CPU time; compilation is apart. Peers that cannot be
imported are left out and named. Prints a line of JSON per work and, with ``--out``, writes them.
"""

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import compare
import crystals
import peers
import side_mace_torch

IMAGES, ATOMS = 9, 61
HOP = 2.0  # Å along which the Cr atom is moved over the band


def main() -> None:
    """Parse arguments, pin, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", choices=[*WORKS, "all"], default="all")
    parser.add_argument("--architecture", choices=sorted(crystals.ARCHITECTURES), default="medium")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--paths", type=int, default=100)
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--default-malloc", action="store_true", help="do not tune the allocator")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    tuned = peers.TUNED_MALLOC
    if not arguments.default_malloc and any(os.environ.get(k) != v for k, v in tuned.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **tuned})
    cores = sorted(os.sched_getaffinity(0))[:1]
    os.sched_setaffinity(0, cores)

    import jax

    jax.config.update("jax_enable_x64", True)
    rows = []
    for name in WORKS if arguments.work == "all" else [arguments.work]:
        rows.append({"work": name} | WORKS[name](arguments))
        print(json.dumps(rows[-1]), flush=True)
    about = {"load": os.getloadavg()[0], "jax": jax.__version__} | compare.machine()
    print(json.dumps(about))
    if arguments.out:
        settings = {key: str(value) for key, value in vars(arguments).items()}
        result = {"rows": rows, "machine": about, "settings": settings}
        arguments.out.write_text(json.dumps(result, indent=1))


def images() -> list[Any]:
    """The images: one atom moves, the others are rattled alike."""
    made = []
    for index in range(IMAGES):
        atoms = crystals.cell_with_chromium(ATOMS)
        atoms.positions[-1, 0] += HOP * index / (IMAGES - 1)
        made.append(atoms)
    return made


def band(arguments: argparse.Namespace) -> dict[str, Any]:
    """Energy and forces of a band, beside whatever peer can be imported."""
    import numpy as np
    import side_mlffjax

    if importlib.util.find_spec("mace") is None:
        raise SystemExit("work band needs mace-torch; --work batch, many, relaxed do without")
    structures = images()
    theirs = side_mace_torch.torch_model(arguments.architecture, arguments.dtype)
    arrays = {name: tensor.detach().numpy() for name, tensor in theirs.state_dict().items()}
    potential = side_mlffjax.from_arrays(arrays, arguments.architecture)
    ours, with_lists, compile_seconds = our_band(potential, structures, arguments.dtype)
    sides = {
        "mlffjax": ours,
        "mlffjax_with_lists": with_lists,
        "ase_mace_torch": ase_band(theirs, structures, arguments.dtype),
    }
    missing = []
    if importlib.util.find_spec("torch_sim") is not None:
        sides["torch_sim"] = torch_sim_band(theirs, structures, arguments.dtype)
    else:
        missing.append("torch_sim")
    forces = {name: function() for name, function in sides.items()}
    largest = abs(forces["ase_mace_torch"]).max()
    for name, found in forces.items():
        error = float(np.abs(found - forces["ase_mace_torch"]).max() / largest)
        if not error < 1e-4:
            raise SystemExit(f"{name} disagrees: relative force difference {error:.1e}")
    return {
        "images": IMAGES,
        "atoms": ATOMS,
        "architecture": arguments.architecture,
        "dtype": arguments.dtype,
        "compile_s": compile_seconds,
        "missing": missing,
    } | in_turn(sides, arguments.repeats)


def our_band(
    potential: Any, structures: list[Any], dtype: str
) -> tuple[Callable[[], Any], Callable[[], Any], float]:
    """Forces of all images with lists at hand, the same with new lists, and compile seconds."""
    import jax
    import numpy as np

    from mlffjax import trees
    from mlffjax.pathways import profiles
    from mlffjax.structures.system import from_ase

    kind = np.dtype(dtype).type
    potential = trees.cast(potential, dtype)
    systems = [from_ase(atoms) for atoms in structures]

    def lists() -> Any:
        return profiles.band(systems, potential.elements, potential.cutoff, dtype=kind)

    graphs = jax.device_put(lists())
    start = time.perf_counter()
    compiled = jax.jit(profiles.profile).lower(potential, graphs).compile()
    seconds = time.perf_counter() - start
    atoms = len(structures[0])
    return (
        lambda: np.asarray(compiled(potential, graphs).forces)[:, :atoms],
        lambda: np.asarray(compiled(potential, lists()).forces)[:, :atoms],
        seconds,
    )


def ase_band(model: Any, structures: list[Any], dtype: str) -> Callable[[], Any]:
    """Image by image, as ASE's band does; the calculator makes its lists."""
    import numpy as np
    from mace.calculators import MACECalculator

    calculator = MACECalculator(models=[model], device="cpu", default_dtype=dtype)

    def forces() -> Any:
        found = []
        for atoms in structures:
            calculator.calculate(atoms, properties=["energy", "forces"])
            found.append(calculator.results["forces"])
        return np.array(found)

    return forces


def torch_sim_band(model: Any, structures: list[Any], dtype: str) -> Callable[[], Any]:
    """All images as one state; the model makes its lists."""
    import torch
    import torch_sim
    from torch_sim.models.mace import MaceModel

    kind = getattr(torch, dtype)
    device = torch.device("cpu")
    wrapped = MaceModel(
        model=model, device=device, dtype=kind, compute_forces=True, compute_stress=False
    )
    state = torch_sim.io.atoms_to_state(structures, device, kind)
    shape = (len(structures), len(structures[0]), 3)
    return lambda: wrapped(state)["forces"].detach().numpy().reshape(shape)


def batch(arguments: argparse.Namespace) -> dict[str, Any]:
    """Throughput of a band against that of one large batch of the same images."""
    import jax
    import numpy as np
    import side_mlffjax

    from mlffjax import trees
    from mlffjax.graphs.batching import build
    from mlffjax.potential import derivatives
    from mlffjax.potential.base import Potential
    from mlffjax.structures.system import from_ase

    structures = images()
    model = side_mlffjax.model_of(arguments.architecture)
    potential = trees.cast(Potential(model.init(key=jax.random.key(0)), model), arguments.dtype)
    ours, _, compile_seconds = our_band(potential, structures, arguments.dtype)
    kind = np.dtype(arguments.dtype).type
    systems = [from_ase(atoms) for atoms in structures]
    graph = jax.device_put(build(systems, potential.elements, potential.cutoff, dtype=kind))
    compiled = jax.jit(derivatives.energies_and_forces).lower(potential, graph).compile()

    def large() -> Any:
        return np.asarray(compiled(potential, graph)[1])[: IMAGES * ATOMS]

    if not np.allclose(ours().reshape(-1, 3), large(), atol=1e-3):
        raise SystemExit("band and batch disagree")
    found = in_turn({"band": ours, "batch": large}, arguments.repeats)
    found["throughput_of_batch"] = found.pop("batch_over_band")
    return {"architecture": arguments.architecture, "compile_s": compile_seconds} | found


def many(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fixed paths with different models in one program: rattled copies, altered weights."""
    import jax
    import numpy as np

    import mlffjax
    from mlffjax import trees
    from mlffjax.pathways import profiles
    from mlffjax.pathways.mapping import mapped

    potential, path = mlffjax.load("bundled:generalist")[0], bundled_path()
    potentials = trees.stack([altered(potential, seed) for seed in range(arguments.models)])
    random = np.random.default_rng(0)
    start = time.process_time()
    bands = []
    for _ in range(arguments.paths):
        moved = random.normal(scale=0.02, size=path.frames[0].system.positions.shape)
        systems = [f.system._replace(positions=f.system.positions + moved) for f in path.frames]
        bands += systems
    graphs = profiles.band(bands, potential.elements, potential.cutoff, dtype=np.float32)
    lists_seconds = time.process_time() - start

    def heights(potentials: Any, graphs: Any) -> Any:
        def one(model: Any) -> Any:
            energy = profiles.profile(model, graphs).energy.reshape(arguments.paths, -1)
            return (energy - energy[:, :1]).max(axis=1)

        return mapped(one, potentials)

    graphs = jax.device_put(graphs)
    start = time.perf_counter()
    compiled = jax.jit(heights).lower(potentials, graphs).compile()
    compile_seconds = time.perf_counter() - start
    start = time.process_time()
    barriers = np.asarray(compiled(potentials, graphs))
    seconds = time.process_time() - start
    if barriers.shape != (arguments.models, arguments.paths) or not np.isfinite(barriers).all():
        raise SystemExit("some barriers are missing")
    return {
        "paths": arguments.paths,
        "models": arguments.models,
        "images": len(path.frames),
        "atoms": len(path.frames[0].system.numbers),
        "lists_s": lists_seconds,
        "compile_s": compile_seconds,
        "seconds": seconds,
        "ms_per_path_and_model": 1e3 * seconds / barriers.size,
    }


def altered(potential: Any, seed: int) -> Any:
    """Another model: single precision, weights changed by one per cent."""
    import jax
    import numpy as np

    from mlffjax import trees

    random = np.random.default_rng(seed)
    weights = jax.tree.map(
        lambda leaf: leaf * (1 + 0.01 * random.normal(size=leaf.shape)),
        potential.params["weights"],
    )
    params = {**potential.params, "weights": weights}
    return trees.cast(potential.replace(params=params), np.float32)


def relaxed(arguments: argparse.Namespace) -> dict[str, Any]:
    """Ends and band, first with compilation, then again."""
    import mlffjax
    from mlffjax.pathways import bands
    from mlffjax.pathways.elastic import relax_bands

    del arguments  # the path and the model are fixed
    potential, start = mlffjax.load("bundled:generalist")[0], bands.from_path(bundled_path())
    walls, cpu = [], []
    for _ in range(2):
        clocks = time.perf_counter(), time.process_time()
        outcome = relax_bands([potential], [start])[0][0]
        walls.append(time.perf_counter() - clocks[0])
        cpu.append(time.process_time() - clocks[1])
    return {
        "status": outcome.status,
        "barrier": outcome.barrier,
        "iterations": outcome.iterations,
        "first_wall_s": walls[0],
        "first_cpu_s": cpu[0],
        "again_wall_s": walls[1],
        "again_cpu_s": cpu[1],
    }


def bundled_path() -> Any:
    """The in-gap path of the package."""
    from mlffjax.config import resolve_path
    from mlffjax.structures.paths import read_path

    return read_path(resolve_path("bundled:cr_sb2te3_pbe/neb_in_gap.xyz", Path()), "in_gap")


def in_turn(sides: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """CPU seconds of each side, measured in turn after one warm-up, and ratios to the first."""
    for function in sides.values():
        function()
    rounds = [{name: cpu_seconds(run) for name, run in sides.items()} for _ in range(repeats)]
    first, *others = sides
    found: dict[str, float] = {}
    for name in sides:
        found[f"{name}_s"] = statistics.median(r[name] for r in rounds)
        found[f"{name}_min_s"] = min(r[name] for r in rounds)
    for name in others:
        found[f"{name}_over_{first}"] = statistics.median(r[name] / r[first] for r in rounds)
    return found


def cpu_seconds(function: Callable[[], Any]) -> float:
    """Process CPU time of one call."""
    start = time.process_time()
    function()
    return time.process_time() - start


WORKS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "band": band,
    "batch": batch,
    "many": many,
    "relaxed": relaxed,
}

if __name__ == "__main__":
    main()
