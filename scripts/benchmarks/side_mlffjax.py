"""This package as a side of the benchmark; see ``compare.py``."""

import functools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import crystals
import jax
import numpy as np
from measuring import Spent, Work, serve

import mlffjax
from mlffjax import startup, trees
from mlffjax.dynamics.evaluation import prepared
from mlffjax.graphs.batching import build
from mlffjax.pathways import profiles
from mlffjax.pathways.mapping import mapped
from mlffjax.potential import derivatives
from mlffjax.potential.base import Potential
from mlffjax.potential.convert.torch_names import from_torch
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.model import MaceModel
from mlffjax.structures.system import from_ase

Case = Mapping[str, Any]


def model_of(architecture: str) -> MaceModel:
    """The architecture of ``crystals``."""
    sizes = crystals.ARCHITECTURES[architecture]
    config = MaceConfig(
        r_max=sizes.r_max,
        hidden_irreps=sizes.hidden,
        num_bessel=sizes.num_bessel,
        max_ell=sizes.max_ell,
        correlation=sizes.correlation,
        radial_mlp=sizes.radial,
    )
    return MaceModel(crystals.ELEMENTS, config)


def potential_of(case: Case, weights: str) -> Potential:
    """With the weights that all sides share; random ones if no side needs them."""
    if Path(weights).exists():
        with np.load(weights) as arrays:
            potential = from_arrays(arrays, case["architecture"])
    else:
        model = model_of(case["architecture"])
        potential = Potential(model.init(key=jax.random.key(0)), model)
    return trees.cast(potential, case["dtype"])


def from_arrays(arrays: Mapping[str, np.ndarray], architecture: str) -> Potential:
    """With the weights of mace-torch, by their names there."""
    model = model_of(architecture)
    neighbors = crystals.AVERAGE_NEIGHBORS
    return Potential(from_torch(dict(arrays), model, average_neighbors=neighbors), model)


def inputs(case: Case, weights: str) -> tuple[Potential, Any, Any]:
    """Potential with its parameters folded, the structure, and its graph on the device."""
    dtype = np.dtype(case["dtype"]).type
    system = from_ase(crystals.cell_with_chromium(case["atoms"]))
    potential = potential_of(case, weights)
    graph = build([system], potential.elements, potential.cutoff, dtype=dtype)
    return potential, system, jax.device_put(graph)


def energy_forces(case: Case, weights: str) -> Work:
    """Energy and forces of one structure, the neighbour list at hand."""
    potential, system, graph = inputs(case, weights)
    folded = prepared(potential, np.dtype(case["dtype"]).type, None)
    compiled = jax.jit(derivatives.energies_and_forces)

    def call() -> Any:
        return jax.block_until_ready(compiled(folded, graph))

    def answer() -> dict[str, Any]:
        energy, forces = call()
        total = float(energy[0]) + potential.reference_energy(system)
        return {"energy": [total], "forces": np.asarray(forces)[: case["atoms"]].tolist()}

    return Work(call, answer=answer)


def hvp(case: Case, weights: str) -> Work:
    """Hessian times a direction."""
    potential, _, graph = inputs(case, weights)
    folded = prepared(potential, np.dtype(case["dtype"]).type, None)
    compiled = jax.jit(derivatives.hessian_vector_product)
    direction = direction_of(case, graph.positions.shape[0])
    call = functools.partial(_waited, compiled, folded, graph, direction)
    return Work(
        call, answer=lambda: {"energy": [], "forces": np.asarray(call())[: case["atoms"]].tolist()}
    )


def direction_of(case: Case, rows: int) -> np.ndarray:
    """The direction that all sides take, zero for padded atoms."""
    direction = np.random.default_rng(0).normal(size=(case["atoms"], 3))
    return np.pad(direction, ((0, rows - case["atoms"]), (0, 0))).astype(case["dtype"])


def heat_flux(case: Case, weights: str) -> Work:
    """Heat flux of one structure with velocities."""
    from mlffjax.dynamics.heat_flux import heat_flux as flux

    potential, _, graph = inputs(case, weights)
    folded = prepared(potential, np.dtype(case["dtype"]).type, None)
    velocities = direction_of(case, graph.positions.shape[0])
    masses = np.full(len(velocities), 100.0, case["dtype"])
    return Work(functools.partial(_waited, jax.jit(flux), folded, graph, velocities, masses))


def batch(case: Case, weights: str) -> Work:
    """Energies and forces of many structures in one graph."""
    potential, dtype = potential_of(case, weights), np.dtype(case["dtype"]).type
    systems = [
        from_ase(crystals.cell_with_chromium(case["atoms"], seed=seed))
        for seed in range(case["batch"])
    ]
    graph = build(systems, potential.elements, potential.cutoff, dtype=dtype)
    compiled = jax.jit(derivatives.energies_and_forces)
    return Work(functools.partial(_waited, compiled, potential, jax.device_put(graph)))


def variants(case: Case, weights: str) -> Work:
    """Energy and forces of one structure by many potentials of one architecture."""
    potential, _, graph = inputs(case, weights)
    stack = trees.stack([potential] * case["variants"])

    def each(stack: Potential, graph: Any) -> Any:
        return mapped(lambda one: derivatives.energies_and_forces(one, graph), stack)

    return Work(functools.partial(_waited, jax.jit(each), stack, graph))


def band(case: Case, weights: str, paths: int = 1) -> Work:
    """Energies and forces of the images of paths, lists at hand."""
    potential, dtype = potential_of(case, weights), np.dtype(case["dtype"]).type
    count = case.get("images", 9)
    images = [
        image
        for seed in range(paths)
        for image in crystals.band(case["atoms"], images=count, seed=seed)
    ]
    systems = [from_ase(image) for image in images]
    graphs = jax.device_put(
        profiles.band(systems, potential.elements, potential.cutoff, dtype=dtype)
    )
    call = functools.partial(_waited, jax.jit(profiles.profile), potential, graphs)

    def answer() -> dict[str, Any]:
        found = call()
        alone = potential.reference_energy(systems[0])
        forces = np.asarray(found.forces)[:count, : case["atoms"]].reshape(-1, 3)
        return {
            "energy": (np.asarray(found.energy)[:count] + alone).tolist(),
            "forces": forces.tolist(),
        }

    return Work(call, units=paths, answer=answer)


def paths(case: Case, weights: str) -> Work:
    """A hundred paths in one program; the unit is one path."""
    return band(case, weights, case["paths"])


def md(case: Case, weights: str) -> Work:
    """Steps of NVE at 300 K, samples and neighbour lists included; start and compilation apart."""
    from mlffjax.dynamics.config import Intervals, MdConfig
    from mlffjax.dynamics.ensembles.nve import Config
    from mlffjax.dynamics.run import run

    potential = potential_of(case, weights)
    system = from_ase(crystals.cell_with_chromium(case["atoms"]))
    part = 10
    settings = MdConfig(
        temperature_k=300,
        ensemble=Config(),
        steps=4 * part,
        precision=case["dtype"],
        intervals=Intervals(thermo=part, positions=part),
        checkpoint_every=part,  # it is then that progress is told
    )

    def call() -> Spent:
        marks: list[tuple[int, float, float]] = []

        def mark(_: str, step: int, __: int) -> None:
            marks.append((step, time.perf_counter(), time.process_time()))

        result = run(potential, system, settings, progress=mark)
        if not result.ok:
            raise RuntimeError(result.lanes[0].reason)
        first, last = marks[0], marks[-1]
        return Spent(last[1] - first[1], last[2] - first[2], last[0] - first[0])

    return Work(call)


def training(case: Case, weights: str) -> Work:
    """A batch of four: loss of energies and forces, gradient, clipping, AMSGrad, average."""
    from mlffjax.training import fit
    from mlffjax.training.config import TrainingConfig
    from mlffjax.training.recipe import all_weights, standard

    recipe_parts = all_weights(potential_of(case, weights))
    config = _training_config(case, TrainingConfig)
    recipe = standard(*recipe_parts, config)
    frames = [_frame(atoms, index) for index, atoms in enumerate(crystals.labelled(61, 4))]
    kept: list[Any] = []
    original = fit._advance

    def caught(*args: Any, **kwargs: Any) -> Any:
        kept.append((args, kwargs))
        return args[0]

    fit._advance = caught  # the step with what the training loop gives it
    try:
        fit.fit(recipe, frames, frames, config, seed=0)
    finally:
        fit._advance = original
    args, kwargs = kept[0]
    return Work(lambda: jax.block_until_ready(original(*args, **kwargs)))


def epoch(case: Case, weights: str) -> Work:
    """From 32 frames to weights validated on 4 frames: lists, 8 steps, two validations."""
    from mlffjax.training.config import TrainingConfig
    from mlffjax.training.fit import fit
    from mlffjax.training.recipe import all_weights, standard

    config = _training_config(case, TrainingConfig)
    recipe = standard(*all_weights(potential_of(case, weights)), config)
    frames = [_frame(atoms, index) for index, atoms in enumerate(crystals.labelled(61, 36))]
    return Work(lambda: fit(recipe, frames[4:], frames[:4], config, seed=0))


def _training_config(case: Case, kind: Any) -> Any:
    return kind(
        epochs=1,
        batch=4,
        learning_rate=0.01,
        precision=case["dtype"],
        devices=case.get("devices", 1),
        ema=0.99,
        optimizer="amsgrad",
        clip=10.0,
        loss={"energy": 1.0, "forces": 100.0, "stress": 0.0},
    )


def _frame(atoms: Any, index: int) -> Any:
    from mlffjax.structures.system import Frame

    return Frame(
        system=from_ase(atoms),
        energy=atoms.info["REF_energy"],
        forces=atoms.arrays["REF_forces"],
        stress=None,
        config_type="made",
        trajectory="made",
        order=float(index),
        identifier=f"made_{index}",
        source="",
        info={},
    )


def _waited(function: Any, *args: Any) -> Any:
    return jax.block_until_ready(function(*args))


WORKS = {
    "energy_forces": energy_forces,
    "md": md,
    "band": band,
    "batch": batch,
    "variants": variants,
    "paths": paths,
    "training": training,
    "epoch": epoch,
    "hvp": hvp,
    "heat_flux": heat_flux,
}

if __name__ == "__main__":
    startup.set_up()  # as the commands do; the environment switches the cache off
    serve(WORKS, {"mlffjax": mlffjax.__version__, "jax": jax.__version__})
