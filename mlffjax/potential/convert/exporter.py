"""From a potential to a model file of mace-torch, the way back of ``importer``.

What is written is mace-torch's own model object with our weights, so everything that takes such a
file takes this one: ``MACECalculator``, ``mace_create_lammps_model``, torch-sim. The object is made
from our hyper-parameters, then every one of its tensors must be a weight of ``torch_names`` or a
constant that ``constants`` knows; a tensor that is neither stops the export. Needs the extra
``torch``; nothing else in this package does.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from e3nn_jax import Irreps

from mlffjax.durable import write_bytes
from mlffjax.errors import CompatibilityError, InputError, MissingExtra
from mlffjax.potential.base import Potential
from mlffjax.potential.convert.constants import check_constants
from mlffjax.potential.convert.torch_names import to_torch
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.model import MaceModel


def export(path: str | Path, potential: Potential, *, dtype: str | None = None) -> Path:
    """Write a potential as a model file of mace-torch, whole or not at all.

    Args:
        path: the file, by custom with the suffix ``.model``.
        potential: a MACE of this package.
        dtype: ``"float64"`` or ``"float32"``; by default the weights keep their precision, and
            then importing the file again gives them back bit by bit.

    Raises:
        MissingExtra: torch or mace-torch is not installed.
        CompatibilityError: the potential is no MACE, or the installed mace-torch builds another
            model from its settings.
    """
    path, buffer = Path(path), io.BytesIO()
    module = to_module(potential, dtype=dtype)
    _torch().save(module, buffer)
    write_bytes(path, buffer.getvalue())
    return path


def to_module(potential: Potential, *, dtype: str | None = None) -> Any:
    """The potential as a model object of mace-torch (``torch.nn.Module``), on the CPU.

    Raises:
        MissingExtra, CompatibilityError: see ``export``.
    """
    torch, model = _torch(), potential.model
    if not isinstance(model, MaceModel):
        raise CompatibilityError(f"expected a MACE of this package to export, got {model}")
    params = jax.tree.map(np.asarray, potential.params)
    precision = _precision(params["weights"], dtype)
    tensors = {
        name: np.asarray(array, precision) for name, array in to_torch(params, model).items()
    }
    with _default_dtype(torch, precision):
        module = _build(model, params["constants"])
    _fill(module, tensors)
    check_constants(
        {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}, model
    )
    return module.eval()


def _torch() -> Any:
    try:
        import mace.modules  # noqa: F401  # pyright: ignore[reportMissingImports]
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtra(
            f"writing a model of mace-torch needs torch and mace-torch ({error}); "
            "pip install 'mlffjax[torch]'"
        ) from error
    return torch


def _precision(weights: Any, wanted: str | None) -> np.dtype:
    if wanted not in (None, "float32", "float64"):
        raise InputError(f"expected dtype 'float64' or 'float32', got {wanted!r}")
    found = np.result_type(np.float32, *(leaf.dtype for leaf in jax.tree.leaves(weights)))
    return np.dtype(wanted or found)


@contextmanager
def _default_dtype(torch: Any, precision: np.dtype) -> Iterator[None]:
    """Constants of a new module are made in torch's default precision, which is global."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, precision.name))
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _build(model: MaceModel, constants: Mapping[str, np.ndarray]) -> Any:
    """A model object with the right architecture and random weights."""
    import torch  # pyright: ignore[reportMissingImports]
    from e3nn import o3  # pyright: ignore[reportMissingImports]
    from mace import modules  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]

    config = model.config
    kinds = [modules.interaction_classes[f"{kind}InteractionBlock"] for kind in config.interactions]
    module = modules.ScaleShiftMACE(
        r_max=config.r_max,
        num_bessel=config.num_bessel,
        num_polynomial_cutoff=config.num_polynomial_cutoff,
        max_ell=config.max_ell,
        interaction_cls=kinds[-1],
        interaction_cls_first=kinds[0],
        num_interactions=config.num_interactions,
        num_elements=len(model.elements),
        hidden_irreps=o3.Irreps(config.hidden_irreps),
        MLP_irreps=o3.Irreps(config.mlp_irreps),
        radial_MLP=list(config.radial_mlp),
        # mace-torch's training program stores a leading axis of heads in all three.
        atomic_energies=np.zeros((1, len(model.elements))),
        atomic_inter_scale=[1.0],
        atomic_inter_shift=[0.0],
        heads=["Default"],
        avg_num_neighbors=float(constants["average_neighbors"]),
        atomic_numbers=list(model.elements),
        correlation=config.correlation,
        gate=torch.nn.functional.silu,
        radial_type=config.radial_type,
        distance_transform=config.distance_transform or "None",
        pair_repulsion=config.pair_repulsion,
        apply_cutoff=config.apply_cutoff,
        edge_irreps=o3.Irreps(config.edge_irreps) if config.edge_irreps else None,
        use_edge_irreps_first=_narrows_first(config),
        use_so3=config.use_so3,
        use_agnostic_product=config.use_agnostic_product,
        use_last_readout_only=config.use_last_readout_only,
        use_reduced_cg=False,
        readout_cls=getattr(modules.blocks, f"{config.readout}ReadoutBlock"),
    )
    scales = {"silu": config.activation_scale, "sigmoid": config.sigmoid_scale}
    for part in module.modules():
        if type(part).__name__ == "normalize2mom":
            part.cst = scales[part.f.__name__]
    return module


def _narrows_first(config: MaceConfig) -> bool:
    """Whether the first interaction sends the scalars of ``edge_irreps``; mace-torch has no other.

    Raises:
        CompatibilityError: it sends something else.
    """
    if config.edge_irreps_first is None:
        return False
    scalars = Irreps(config.edge_irreps or "").filter(lambda each: str(each.ir) == "0e")
    if scalars != Irreps(config.edge_irreps_first):
        raise CompatibilityError(
            "mace-torch can send only the scalars of edge_irreps in the first interaction, not "
            f"{config.edge_irreps_first!r} with edge_irreps {config.edge_irreps!r}"
        )
    return True


def _fill(module: Any, tensors: Mapping[str, np.ndarray]) -> None:
    """Copy our weights into the module; what else could be trained multiplies zeros and is zero."""
    import torch  # pyright: ignore[reportMissingImports]

    state = module.state_dict()
    odd = [n for n, array in tensors.items() if n not in state or state[n].numel() != array.size]
    if odd:
        raise CompatibilityError(
            f"the installed mace-torch builds a model without {odd[0]} of {tensors[odd[0]].size} "
            "numbers; mlffjax is known to work with mace-torch 0.3.14 to 0.3.16"
        )
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name not in tensors:
                parameter.zero_()
        for name, array in tensors.items():
            state[name].copy_(torch.from_numpy(array.copy()).reshape(state[name].shape))
