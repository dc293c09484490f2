"""Tensors of a mace-torch model that carry no weights: each is checked to be what we compute.

A checkpoint stores the coupled basis (``U_matrix``), masks, copies of hyper-parameters and empty
biases. We compute them from the hyper-parameters, and weights mean the same only if both agree.
"""

import re
from collections.abc import Callable, Mapping

import numpy as np

from mlffjax.errors import CompatibilityError
from mlffjax.potential.convert.torch_names import entries
from mlffjax.potential.mace.contraction import coupled_basis
from mlffjax.potential.mace.irreps import coupling_coefficients
from mlffjax.potential.mace.model import MaceModel

CONTRACTION = r"products\.(\d+)\.symmetric_contractions\.contractions\.(\d+)"


def check_constants(tensors: Mapping[str, np.ndarray], model: MaceModel) -> None:
    """Account for every tensor of a checkpoint: a weight, or a constant that is as it should be.

    Raises:
        CompatibilityError: a constant differs from ours, or a tensor has no meaning here.
    """
    if missing := [name for name in _bases(model) if name not in tensors]:
        raise CompatibilityError(
            f"the model has no {missing[0]}, so what its weights mean is unknown; models converted "
            "to another program's layout are not supported yet"
        )
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


def _bases(model: MaceModel) -> list[str]:
    """Names of the coupled bases, by which it is known what the weights multiply."""
    return [
        f"products.{plan.index}.symmetric_contractions.contractions.{index}.U_matrix_{degree}"
        for plan in model.plans
        for index in range(len(plan.hidden))
        for degree in range(1, model.config.correlation + 1)
    ]


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
    """The coupled basis, up to the order of its factors, which are components of one vector."""
    target, ir = model.plans[int(layer)].target, model.plans[int(layer)].hidden.irreps[int(out)]
    basis = coupled_basis(target, ir, int(degree))
    components, paths = target.dim ** int(degree), basis.mixing.shape[1]
    if not paths and not tensor.any():
        return  # mace-torch stores zeros where nothing couples
    if tensor.size != ir.dim * components * paths:
        raise CompatibilityError(
            f"{name} has {tensor.shape[-1]} paths, expected {paths}: a reduced basis "
            "(use_reduced_cg with cuequivariance) is not supported yet"
        )
    stored = tensor.reshape(ir.dim, components, paths).astype(np.float64)
    indices = np.indices((target.dim,) * int(degree)).reshape(int(degree), -1).T
    order = {tuple(row): k for k, row in enumerate(basis.monomials.tolist())}
    monomial = np.array([order[tuple(row)] for row in np.sort(indices, axis=1).tolist()])
    symmetric = np.zeros((len(order), ir.dim, paths))
    np.add.at(symmetric, monomial, stored.swapaxes(0, 1))
    ours = (basis.independent @ basis.mixing).swapaxes(0, 1)
    if _differ(tensor, ours, symmetric):
        raise CompatibilityError(
            f"{name} spans another basis than ours, by up to {np.abs(symmetric - ours).max():.1e}, "
            "which is not supported yet"
        )


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


def _differ(stored: np.ndarray, ours: np.ndarray, value: np.ndarray | None = None) -> bool:
    """Whether entries of order one differ by more than the rounding of how they are stored."""
    tolerance = 1e-10 if stored.dtype == np.float64 else 1e-6
    return bool(np.abs((stored if value is None else value) - ours).max(initial=0) > tolerance)


CHECKS: dict[str, Callable[..., None]] = {
    r"atomic_numbers|num_interactions|r_max": _is_hyper_parameter,
    r"radial_embedding\.(?:bessel_fn|cutoff_fn)\.(?:r_max|prefactor|p)": _is_hyper_parameter,
    r".*\.output_mask": _is_mask,
    r".*\.bias|.*\.conv_tp\.weight": _is_empty,
    CONTRACTION.replace("(", "(?:") + r"\.weights_\w+_zeroed": _is_flag,
    r".*\._w3j_(\d+)_(\d+)_(\d+)": _is_coupling,
    CONTRACTION + r"\.U_matrix_(\d+)": _is_basis,
    CONTRACTION + r"\.(weights\.\d+|weights_max)": _is_dead,
}
"""What may be stored beside the weights, by a pattern of its name, and how it is checked."""
