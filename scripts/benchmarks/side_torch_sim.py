"""torch-sim with mace-torch's model as a side of the benchmark."""

import os
import warnings
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import crystals
import side_mace_torch
import torch
import torch_sim
from measuring import Work, serve
from torch_sim.models.mace import MaceModel

Case = Mapping[str, Any]
CPU = torch.device("cpu")


def simulated(case: Case, weights: str) -> tuple[Any, Any]:
    """The wrapped model and its precision."""
    kind = getattr(torch, case["dtype"])
    model = side_mace_torch.torch_model(case["architecture"], case["dtype"], weights)
    wrapped = MaceModel(
        model=model, device=CPU, dtype=kind, compute_forces=True, compute_stress=False
    )
    return wrapped, kind


def energy_forces(case: Case, weights: str) -> Work:
    """Energy and forces of one structure; the model makes its neighbour list."""
    return _evaluated(case, weights, [crystals.cell_with_chromium(case["atoms"])], units=1)


def band(case: Case, weights: str) -> Work:
    """All images as one state."""
    return _evaluated(case, weights, crystals.band(case["atoms"]), units=1)


def paths(case: Case, weights: str) -> Work:
    """Two paths as one state; the unit is one."""
    images = [image for seed in range(2) for image in crystals.band(case["atoms"], seed=seed)]
    return _evaluated(case, weights, images, units=2)


def _evaluated(case: Case, weights: str, structures: list[Any], *, units: int) -> Work:
    model, kind = simulated(case, weights)
    state = torch_sim.io.atoms_to_state(structures, CPU, kind)
    kept = min(len(structures), 9)

    def answer() -> dict[str, Any]:
        found = model(state)
        return {
            "energy": found["energy"].detach()[:kept].tolist(),
            "forces": found["forces"].detach()[: kept * case["atoms"]].tolist(),
        }

    return Work(lambda: model(state), units=units, answer=answer)


def md(case: Case, weights: str) -> Work:
    """Steps of NVE."""
    from torch_sim.integrators import nve
    from torch_sim.units import MetalUnits

    model, kind = simulated(case, weights)
    step_time = torch.tensor(0.001 * MetalUnits.time, dtype=kind)
    temperature = torch.tensor(300 * MetalUnits.temperature, dtype=kind)
    start, step = nve(model, dt=step_time, kT=temperature, seed=0)
    structure = crystals.cell_with_chromium(case["atoms"])
    held = [start(torch_sim.io.atoms_to_state([structure], CPU, kind))]
    steps = 5

    def call() -> None:
        for _ in range(steps):
            held[0] = step(held[0], step_time)

    return Work(call, units=steps)


WORKS = {"energy_forces": energy_forces, "md": md, "band": band, "paths": paths}

if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    version = metadata.version("torch-sim-atomistic")
    serve(WORKS, {"torch-sim": version, "torch": torch.__version__})
