"""Weights of the product basis, in the basis that we compute.

A checkpoint stores the coupled products (``U_matrix``) that its weights multiply. Usually they are
ours, and weights are copied. A reduced basis (``use_reduced_cg`` with cuequivariance installed)
spans the same functions with fewer, independent products; then the shortest weights that give the
same function in our basis are taken, which exist because ours spans all symmetric products.
"""

from collections.abc import Mapping

import numpy as np

from mlffjax.errors import CompatibilityError
from mlffjax.potential.convert.torch_names import contraction_name, degree_name
from mlffjax.potential.mace.contraction import coupled_basis
from mlffjax.potential.mace.irreps import Irrep
from mlffjax.potential.mace.model import MaceModel
from mlffjax.potential.mace.plan import LayerPlan


def in_our_basis(tensors: Mapping[str, np.ndarray], model: MaceModel) -> dict[str, np.ndarray]:
    """Tensors with the weights of all contractions in our basis, and without the stored bases.

    Raises:
        CompatibilityError: a basis is missing, or holds what is no symmetric coupled product.
    """
    found = dict(tensors)
    for plan in model.plans:
        for out, ir in enumerate(plan.hidden):
            for degree in range(1, model.config.correlation + 1):
                _convert(found, plan, (out, ir), degree)
    return found


def is_our_basis(name: str, stored: np.ndarray, plan: LayerPlan, out: Irrep, degree: int) -> bool:
    """Whether stored products are ours, up to the order of their factors.

    Raises:
        CompatibilityError: they have a shape that products of this degree cannot have.
    """
    basis = coupled_basis(plan.target, out, degree)
    if not basis.mixing.shape[1]:
        return not stored.any()  # mace-torch stores zeros where nothing couples
    symmetric = _symmetric(name, stored, plan.target.dim, out, degree)
    ours = (basis.independent @ basis.mixing).swapaxes(0, 1)
    difference = symmetric - ours if symmetric.shape == ours.shape else np.array(np.inf)
    return bool(np.abs(difference).max(initial=0) <= _tolerance(stored))


def _convert(
    tensors: dict[str, np.ndarray], plan: LayerPlan, out: tuple[int, Irrep], degree: int
) -> None:
    """One degree of one contraction, in place."""
    where = contraction_name(plan.index, out[0])
    name = f"{where}.U_matrix_{degree}"
    if name not in tensors:
        raise CompatibilityError(
            f"the model has no {name}, so what its weights mean is unknown; models in the layout "
            "of an accelerator are not supported yet: convert them back with mace-torch first"
        )
    stored = tensors.pop(name)
    if is_our_basis(name, stored, plan, out[1], degree):
        return
    symmetric = _symmetric(name, stored, plan.target.dim, out[1], degree)
    basis = coupled_basis(plan.target, out[1], degree)
    independent = basis.independent.swapaxes(0, 1).reshape(-1, basis.mixing.shape[0])
    flat = symmetric.reshape(len(independent), -1)
    coordinates = np.linalg.lstsq(independent, flat, rcond=None)[0]
    worst = np.abs(independent @ coordinates - flat).max(initial=0)
    if worst > 10 * _tolerance(stored):  # of sums over the orders of three factors
        raise CompatibilityError(
            f"{name} has products that are no symmetric coupled products, by up to {worst:.1e}, "
            "which is not supported yet"
        )
    weights = f"{where}.{degree_name(degree, plan.config.correlation)}"
    if weights in tensors and basis.mixing.size:
        lift = np.linalg.pinv(basis.mixing) @ coordinates
        tensors[weights] = _lifted(weights, tensors[weights], lift)


def _lifted(name: str, weights: np.ndarray, lift: np.ndarray) -> np.ndarray:
    if weights.ndim != 3 or weights.shape[1] != lift.shape[1]:
        raise CompatibilityError(
            f"{name} has shape {weights.shape}, expected one row for each of {lift.shape[1]} "
            "products"
        )
    return np.einsum("pk,zkc->zpc", lift, weights).astype(weights.dtype)


def _tolerance(stored: np.ndarray) -> float:
    """Entries are of order one and rounded as they are stored."""
    return 1e-10 if stored.dtype == np.float64 else 1e-6


def _symmetric(name: str, stored: np.ndarray, dim: int, out: Irrep, degree: int) -> np.ndarray:
    """Stored products, summed over the order of their factors: [monomials, components, paths]."""
    paths = stored.shape[-1] if stored.ndim else 0
    if stored.size != out.dim * dim**degree * paths:
        raise CompatibilityError(f"{name} has shape {stored.shape}, which is not supported yet")
    tensor = stored.reshape(out.dim, dim**degree, paths).astype(np.float64)
    indices = np.sort(np.indices((dim,) * degree).reshape(degree, -1), axis=0)
    flat = np.ravel_multi_index(tuple(indices), (dim,) * degree)
    monomials, place = np.unique(flat, return_inverse=True)
    symmetric = np.zeros((len(monomials), out.dim, paths))
    np.add.at(symmetric, place.ravel(), tensor.swapaxes(0, 1))
    return symmetric
