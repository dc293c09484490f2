"""Energy+forces and a training step of MACE, side by side with mace-torch on the same weights.

    bash scripts/test.sh --parity -k nothing      # once: an environment with both
    .venv/bin/python scripts/benchmarks/mace_against_torch.py --cores 1

Both run in one process, in turn (A B A B ...), on the same pinned cores. The figure is process CPU
time per call divided by the number of cores in use when one core is pinned, wall time otherwise;
compile time is apart. Prints a Markdown table and writes JSON with machine and versions.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# glibc's allocator maps and unmaps large buffers on every call; keeping them helps both sides, and
# must be asked for before the process starts.
TUNED_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "1073741824",
}
R_MAX = 6.0
ELEMENTS = (24, 51, 52)
AVERAGE_NEIGHBORS = 25.0
REPEATS = {61: 2, 136: 3, 376: 5}
HIDDEN = {"small": "128x0e", "medium": "128x0e + 128x1o", "large": "128x0e + 128x1o + 128x2e"}


def main() -> None:
    """Parse arguments, pin, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, nargs="+", choices=sorted(REPEATS), default=[136])
    parser.add_argument("--architecture", choices=sorted(HIDDEN), default="medium")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--work", choices=["energy_forces", "training", "both"], default="both")
    parser.add_argument("--default-malloc", action="store_true", help="do not tune the allocator")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    if not arguments.default_malloc and any(
        os.environ.get(k) != v for k, v in TUNED_MALLOC.items()
    ):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **TUNED_MALLOC})
    cores = sorted(os.sched_getaffinity(0))[: arguments.cores]
    os.sched_setaffinity(0, cores)

    import jax
    import torch

    jax.config.update("jax_enable_x64", True)
    torch.set_num_threads(len(cores))
    rows = []
    if arguments.work != "training":
        rows += [energy_forces(arguments, atoms) for atoms in arguments.atoms]
    if arguments.work != "energy_forces":
        rows.append(training_step(arguments))
    result = {"rows": rows, "machine": machine(cores), "settings": vars(arguments) | {"out": None}}
    print(table(rows))
    print(json.dumps(result["machine"]))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1))


def energy_forces(arguments: argparse.Namespace, atoms: int) -> dict:
    """One structure: energy, forces and stress on our side; energy and forces on theirs."""
    import jax
    import numpy as np

    from mlffjax import trees
    from mlffjax.graphs.batching import build
    from mlffjax.potential.derivatives import predict
    from mlffjax.structures.system import from_ase

    structure = cell_with_chromium(atoms)
    theirs = torch_model(arguments.architecture, arguments.dtype)
    potential = trees.cast(our_potential(theirs, arguments.architecture), arguments.dtype)
    batch = torch_batch([structure], arguments.dtype)
    system = from_ase(structure)
    graph = build([system], ELEMENTS, R_MAX, dtype=np.dtype(arguments.dtype).type)
    graph = jax.device_put(graph)
    start = time.perf_counter()
    compiled = jax.jit(predict).lower(potential, graph).compile()
    compile_seconds = time.perf_counter() - start

    def ours() -> tuple[float, np.ndarray]:
        out = jax.block_until_ready(compiled(potential, graph))
        return float(out.energy[0]) + potential.reference_energy(system), np.asarray(out.forces)

    def peer() -> tuple[float, np.ndarray]:
        out = theirs(batch.to_dict(), compute_force=True, compute_stress=False)
        return out["energy"].item(), out["forces"].detach().numpy()

    (energy, forces), (peer_energy, peer_forces) = ours(), peer()
    check = float(np.abs(forces[:atoms] - peer_forces).max() / np.abs(peer_forces).max())
    if not check < 1e-4 or abs(energy / peer_energy - 1) > 1e-4:
        raise SystemExit(f"the two models disagree: relative force difference {check:.1e}")
    return compare(
        "energy+forces", arguments, atoms, ours, peer, compile_seconds, force_difference=check
    )


def training_step(arguments: argparse.Namespace) -> dict:
    """Batch of 4 x 61 atoms: loss of energies and forces, gradient, clipping, Adam, EMA."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax
    import torch
    from mace import modules  # isort: skip  (it prepares torch.load for e3nn)
    from mace.tools.train import take_step
    from torch_ema import ExponentialMovingAverage

    from mlffjax import trees
    from mlffjax.graphs.batching import build
    from mlffjax.potential.derivatives import energies_and_forces
    from mlffjax.structures.system import from_ase

    random = np.random.default_rng(0)
    structures = [cell_with_chromium(61, seed=s, rattle=0.1) for s in range(4)]
    for atoms in structures:
        atoms.info["REF_energy"] = float(random.normal())
        atoms.arrays["REF_forces"] = random.normal(size=(len(atoms), 3))
    theirs = torch_model(arguments.architecture, arguments.dtype)
    potential = trees.cast(our_potential(theirs, arguments.architecture), arguments.dtype)
    dtype = np.dtype(arguments.dtype).type
    graph = jax.device_put(build([from_ase(a) for a in structures], ELEMENTS, R_MAX, dtype=dtype))
    targets = (
        jnp.array([a.info["REF_energy"] for a in structures], dtype),
        jnp.array(np.concatenate([a.arrays["REF_forces"] for a in structures]), dtype),
    )
    optimizer = optax.chain(optax.clip_by_global_norm(10.0), optax.amsgrad(0.01))
    weights = potential.params["weights"]

    def loss(weights, graph, targets):
        params = {**potential.params, "weights": weights}
        energy, forces = energies_and_forces(potential.replace(params=params), graph)
        per_atom = (energy - targets[0]) / 61
        return (per_atom**2).mean() + 100 * ((forces - targets[1]) ** 2).mean()

    @jax.jit
    def step(weights, state, average, graph, targets):
        value, gradient = jax.value_and_grad(loss)(weights, graph, targets)
        updates, state = optimizer.update(gradient, state)
        weights = optax.apply_updates(weights, updates)
        average = jax.tree.map(lambda a, w: 0.99 * a + 0.01 * w, average, weights)
        return weights, state, average, value

    state = optimizer.init(weights)
    start = time.perf_counter()
    compiled = step.lower(weights, state, weights, graph, targets).compile()
    compile_seconds = time.perf_counter() - start
    batch = torch_batch(structures, arguments.dtype)
    theirs.train()
    for parameter in theirs.parameters():
        parameter.requires_grad_(True)
    peer_optimizer = torch.optim.Adam(theirs.parameters(), lr=0.01, amsgrad=True)
    peer_average = ExponentialMovingAverage(theirs.parameters(), decay=0.99)
    peer_loss = modules.WeightedEnergyForcesLoss(energy_weight=1.0, forces_weight=100.0)

    def ours() -> None:
        jax.block_until_ready(compiled(weights, state, weights, graph, targets))

    def peer() -> None:
        take_step(
            model=theirs,
            loss_fn=peer_loss,
            batch=batch,
            optimizer=peer_optimizer,
            ema=peer_average,
            max_grad_norm=10.0,
            device=torch.device("cpu"),
            output_args={"forces": True, "virials": False, "stress": False},
        )

    return compare("training step", arguments, 4 * 61, ours, peer, compile_seconds)


def compare(
    work: str,
    arguments: argparse.Namespace,
    atoms: int,
    ours: Callable[[], object],
    peer: Callable[[], object],
    compile_seconds: float,
    **extra: float,
) -> dict:
    """Time both in turn after one warm-up; medians and the spread of the pairwise ratios."""
    ours(), peer()
    clock = time.process_time if arguments.cores == 1 else time.perf_counter
    pairs = []
    for _ in range(arguments.repeats):
        times = []
        for function in (ours, peer):
            start = clock()
            function()
            times.append(clock() - start)
        pairs.append(times)
    ratios = sorted(theirs / mine for mine, theirs in pairs)
    return {
        "work": work,
        "architecture": arguments.architecture,
        "atoms": atoms,
        "dtype": arguments.dtype,
        "cores": arguments.cores,
        "mlffjax_s": statistics.median(mine for mine, _ in pairs),
        "mlffjax_min_s": min(mine for mine, _ in pairs),
        "mace_torch_s": statistics.median(theirs for _, theirs in pairs),
        "mace_torch_min_s": min(theirs for _, theirs in pairs),
        "ratio": statistics.median(ratios),
        "ratio_min": ratios[0],
        "ratio_max": ratios[-1],
        "compile_s": compile_seconds,
        **extra,
    }


def cell_with_chromium(atoms: int, *, seed: int = 0, rattle: float = 0.05) -> Any:
    """n x n x 1 hexagonal Sb2Te3 cells with one Cr in the gap, rattled."""
    from ase import Atoms
    from ase.spacegroup import crystal

    cell = crystal(
        ["Te", "Sb", "Te"],
        [(0, 0, 0), (0, 0, 0.3988), (0, 0, 0.2128)],
        spacegroup=166,
        cellpar=[4.264, 4.264, 30.458, 90, 90, 120],
    )
    middle = 0.5 * cell.cell.array[2]
    structure = cell.repeat((REPEATS[atoms], REPEATS[atoms], 1)) + Atoms("Cr", positions=[middle])
    structure.rattle(rattle, seed=seed)
    return structure


def torch_model(architecture: str, dtype: str) -> Any:
    """A MACE-MP-0 architecture with random weights in mace-torch."""
    import numpy as np
    import torch
    from mace import modules  # isort: skip  (it prepares torch.load for e3nn)
    from e3nn import o3  # isort: skip

    torch.manual_seed(0)
    torch.set_default_dtype(getattr(torch, dtype))
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    return modules.ScaleShiftMACE(
        r_max=R_MAX,
        num_bessel=10,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=len(ELEMENTS),
        hidden_irreps=o3.Irreps(HIDDEN[architecture]),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.array([-5.1, -3.2, -2.9]),
        avg_num_neighbors=AVERAGE_NEIGHBORS,
        atomic_numbers=list(ELEMENTS),
        correlation=3,
        gate=torch.nn.functional.silu,
        use_reduced_cg=False,
        atomic_inter_scale=0.8,
        atomic_inter_shift=0.16,
    )


def torch_batch(structures: list, dtype: str) -> Any:
    """Structures as mace-torch's data loader gives them."""
    import torch
    from mace import data
    from mace.data.utils import KeySpecification, config_from_atoms
    from mace.tools import AtomicNumberTable, torch_geometric

    torch.set_default_dtype(getattr(torch, dtype))
    keys = KeySpecification(
        info_keys={"energy": "REF_energy"}, arrays_keys={"forces": "REF_forces"}
    )
    table_of_numbers = AtomicNumberTable(list(ELEMENTS))
    graphs = [
        data.AtomicData.from_config(
            config_from_atoms(a, key_specification=keys), z_table=table_of_numbers, cutoff=R_MAX
        )
        for a in structures
    ]
    loader = torch_geometric.dataloader.DataLoader(graphs, batch_size=len(graphs), shuffle=False)
    return next(iter(loader))


def our_potential(model: Any, architecture: str) -> Any:
    """The same weights here."""
    from mlffjax.potential.base import Potential
    from mlffjax.potential.convert.torch_names import from_torch
    from mlffjax.potential.mace.config import MaceConfig
    from mlffjax.potential.mace.model import MaceModel

    ours = MaceModel(ELEMENTS, MaceConfig(r_max=R_MAX, hidden_irreps=HIDDEN[architecture]))
    arrays = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    return Potential(from_torch(arrays, ours, average_neighbors=AVERAGE_NEIGHBORS), ours)


def machine(cores: list[int]) -> dict:
    """What the figures were taken on."""
    import jax
    import mace
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": len(cores),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "jax": jax.__version__,
        "torch": torch.__version__,
        "mace": mace.__version__,
    }


def table(rows: list[dict]) -> str:
    """The rows in Markdown; milliseconds."""
    lines = [
        "| work | architecture | atoms | dtype | mlffjax ms (min) | mace-torch ms (min) "
        "| ratio (range; of minima) "
        "| compile s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['work']} | {r['architecture']} | {r['atoms']} | {r['dtype']} "
        f"| {1e3 * r['mlffjax_s']:.1f} ({1e3 * r['mlffjax_min_s']:.1f}) "
        f"| {1e3 * r['mace_torch_s']:.1f} ({1e3 * r['mace_torch_min_s']:.1f}) "
        f"| {r['ratio']:.1f} ({r['ratio_min']:.1f}-{r['ratio_max']:.1f}; "
        f"{r['mace_torch_min_s'] / r['mlffjax_min_s']:.1f}) | {r['compile_s']:.1f} |"
        for r in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
