"""mace-jax as a side of the benchmark, its model converted from mace-torch's."""

import os
import warnings
from collections.abc import Mapping
from typing import Any

import crystals
import jax
import jax.numpy as jnp
import numpy as np
import side_mace_torch
import torch
from measuring import Work, serve

Case = Mapping[str, Any]


def energy_forces(case: Case, weights: str) -> Work:
    """Energy and forces of one structure, the neighbour list at hand."""
    from mace.tools.scripts_utils import extract_config_mace_model
    from mace_jax.cli.mace_jax_from_torch import convert_model
    from mace_jax.nnx_utils import state_to_pure_dict

    if case["dtype"] == "float64":
        jax.config.update("jax_enable_x64", True)
    model = side_mace_torch.torch_model(case["architecture"], case["dtype"], weights).eval()
    settings = extract_config_mace_model(model)
    settings["torch_model_class"] = type(model).__name__
    definition, state, _ = convert_model(model, settings)
    params = state_to_pure_dict(state)
    structure = crystals.cell_with_chromium(case["atoms"])
    batch = side_mace_torch.torch_batch([structure], case["architecture"], case["dtype"])
    tensors = {name: batch[name] for name in batch.keys}
    data = {
        name: jnp.asarray(tensor.numpy())
        for name, tensor in tensors.items()
        if isinstance(tensor, torch.Tensor)
    }

    @jax.jit
    def compiled(params: Any, data: Any) -> Any:
        found, _ = definition.apply(params)(data, compute_force=True, compute_stress=False)
        return found["energy"], found["forces"]

    def call() -> Any:
        return jax.block_until_ready(compiled(params, data))

    def answer() -> dict[str, Any]:
        energy, forces = call()
        return {"energy": np.asarray(energy).tolist(), "forces": np.asarray(forces).tolist()}

    return Work(call, answer=answer)


if __name__ == "__main__":
    import mace_jax

    warnings.filterwarnings("ignore")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    version = getattr(mace_jax, "__version__", "from source")
    serve({"energy_forces": energy_forces}, {"mace-jax": version, "jax": jax.__version__})
