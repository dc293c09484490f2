"""Tensors of a mace-torch model that carry no weights: each is checked to be what we compute.

A checkpoint stores masks, tables, copies of hyper-parameters and empty biases. We compute them from
the hyper-parameters, and weights mean the same only if both agree.
"""

import re
from collections.abc import Callable, Mapping

import numpy as np
from ase.data import covalent_radii

from mlffjax.errors import CompatibilityError
from mlffjax.potential.convert.bases import is_our_basis
from mlffjax.potential.convert.torch_names import entries
from mlffjax.potential.mace.contraction import coupled_basis
from mlffjax.potential.mace.irreps import coupling_coefficients
from mlffjax.potential.mace.model import MaceModel

CONTRACTION = r"products\.(\d+)\.symmetric_contractions\.contractions\.(\d+)"


def check_constants(tensors: Mapping[str, np.ndarray], model: MaceModel) -> None:
    """Account for every tensor of a checkpoint: a weight, or a constant that is as it should be.

    A stored basis of products has to be ours here; ``bases.in_our_basis`` comes before.

    Raises:
        CompatibilityError: a constant differs from ours, or a tensor has no meaning here.
    """
    weights = {entry.name for entry in entries(model)}
    unknown = []
    for name, tensor in tensors.items():
        if name in weights:
            continue
        for pattern, check in CHECKS.items():
            if match := re.fullmatch(pattern, name):
                check(name, tensor, model, *match.groups())
                break
        else:
            unknown.append(name)
    if unknown:
        raise CompatibilityError(
            "the model has tensors that are not supported yet, so it would not be computed as it "
            f"is: {', '.join(unknown[:8])}" + (", ..." if len(unknown) > 8 else "")
        )


def _is_hyper_parameter(name: str, tensor: np.ndarray, model: MaceModel) -> None:
    """Copies of what ``architecture`` has read and compared."""
    del name, tensor, model


def _is_mask(name: str, tensor: np.ndarray, model: MaceModel) -> None:
    del model
    if tensor.ndim != 1 or not np.isin(tensor, (0, 1)).all():
        raise CompatibilityError(f"{name} is no mask of zeros and ones, which is not supported yet")


def _is_empty(name: str, tensor: np.ndarray, model: MaceModel) -> None:
    del model
    if tensor.size:
        raise CompatibilityError(
            f"{name} has {tensor.size} entries, expected none: biases are not supported yet"
        )


def _is_flag(name: str, tensor: np.ndarray, model: MaceModel) -> None:
    """Says that mace-torch stores zeros as weights; the weights are read in any case."""
    del model
    if tensor.size != 1 or tensor.dtype != bool:
        raise CompatibilityError(f"{name} is no flag, which is not supported yet")


def _is_coupling(name: str, tensor: np.ndarray, model: MaceModel, *degrees: str) -> None:
    del model
    ours = coupling_coefficients(*map(int, degrees))
    if tensor.shape != ours.shape or _differ(tensor, ours):
        raise CompatibilityError(f"{name} differs from e3nn's Clebsch-Gordan coefficients")


def _is_basis(
    name: str, tensor: np.ndarray, model: MaceModel, layer: str, out: str, degree: str
) -> None:
    plan = model.plans[int(layer)]
    if not is_our_basis(name, tensor, plan, plan.hidden.irreps[int(out)], int(degree)):
        raise CompatibilityError(f"{name} spans another basis than ours, which is not supported")


def _is_table_of_radii(name: str, tensor: np.ndarray, model: MaceModel) -> None:
    """Covalent radii, by atomic number; those of elements unknown to the model do not matter."""
    numbers = list(model.elements)
    if tensor.ndim != 1 or len(tensor) <= max(numbers):
        raise CompatibilityError(f"{name} has shape {tensor.shape}, expected one radius an element")
    if _differ(tensor[numbers], covalent_radii[numbers]):
        raise CompatibilityError(f"{name} differs from ASE's, which is not supported yet")


def _is_power(name: str, tensor: np.ndarray, model: MaceModel) -> None:
    power = model.config.num_polynomial_cutoff
    if tensor.size != 1 or int(tensor.reshape(())) != power:
        raise CompatibilityError(
            f"{name} is {tensor}, which is not supported yet; supported is that of the cutoff, "
            f"{power}"
        )


def _is_range(name: str, tensor: np.ndarray, model: MaceModel) -> None:
    if tensor.reshape(-1).tolist() != list(range(1, model.config.num_bessel + 1)):
        raise CompatibilityError(f"{name} does not count degrees, which is not supported yet")


def _is_dead(
    name: str, tensor: np.ndarray, model: MaceModel, layer: str, out: str, which: str
) -> None:
    """Weights of a degree at which nothing couples: they multiply zeros."""
    del tensor
    plan, correlation = model.plans[int(layer)], model.config.correlation
    degree = (
        correlation if which == "weights_max" else correlation - 1 - int(which[len("weights.") :])
    )
    if degree < 1 or coupled_basis(plan.target, plan.hidden.irreps[int(out)], degree).mixing.size:
        raise CompatibilityError(f"{name} is more than the model has use for")


def _differ(stored: np.ndarray, ours: np.ndarray) -> bool:
    """Whether entries of order one differ by more than the rounding of how they are stored."""
    tolerance = 1e-10 if stored.dtype == np.float64 else 1e-6
    return bool(np.abs(stored - ours).max(initial=0) > tolerance)


CHECKS: dict[str, Callable[..., None]] = {
    r"atomic_numbers|num_interactions|r_max": _is_hyper_parameter,
    r"radial_embedding\.(?:bessel_fn|cutoff_fn)\.(?:r_max|prefactor|p)": _is_hyper_parameter,
    r".*\.output_mask": _is_mask,
    r".*\.bias|.*\.(?:conv_tp|equivariant_nonlin\.mul)\.weight": _is_empty,
    r"(?:radial_embedding\.distance_transform|pair_repulsion_fn)\.covalent_radii": (
        _is_table_of_radii
    ),
    r"pair_repulsion_fn\.p": _is_power,
    r"radial_embedding\.bessel_fn\.n": _is_range,
    CONTRACTION.replace("(", "(?:") + r"\.weights_\w+_zeroed": _is_flag,
    r".*\._w3j_(\d+)_(\d+)_(\d+)": _is_coupling,
    CONTRACTION + r"\.U_matrix_(\d+)": _is_basis,
    CONTRACTION + r"\.(weights\.\d+|weights_max)": _is_dead,
}
"""What may be stored beside the weights, by a pattern of its name, and how it is checked."""
