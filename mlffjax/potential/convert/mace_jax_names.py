"""Between the parameters of our MACE and those of mace-jax's.

The names of mace-torch are the common ground: ``torch_names`` leads to them, and mace-jax's modules
are called almost the same. Only the product basis differs (``mace_jax_basis``).
"""

import re
from collections.abc import Mapping

import jax
import numpy as np

from mlffjax import trees
from mlffjax.arrays import PyTree
from mlffjax.errors import CompatibilityError
from mlffjax.potential import mace_jax_model
from mlffjax.potential.base import Potential
from mlffjax.potential.convert.mace_jax_basis import degrees, from_mace_jax, to_mace_jax
from mlffjax.potential.convert.torch_names import (
    contraction_name,
    degree_name,
    entries,
    from_torch,
    to_torch,
)
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.model import MaceModel
from mlffjax.potential.mace.repulsion import CONSTANTS
from mlffjax.potential.mace.transforms import TRANSFORMS
from mlffjax.potential.mace_jax_model import PINNED, MaceJaxConfig, MaceJaxModel

RENAMED = (
    (r"\.conv_tp_weights\.layer(\d+)\.", r".conv_tp_weights.layers.\1."),
    (r"\.density_fn\.layer(\d+)\.", r".density_fn.layers.\1."),
    (r"\.bessel_fn\.bessel_weights", r".basis_fn._bessel_weights"),
)
"""Where mace-jax calls a tensor otherwise than mace-torch."""
FORMULAS = ("radial_embedding.distance_transform.", "pair_repulsion_fn.")
"""Beginnings of mace-torch's names of tensors that are fixed numbers in mace-jax."""


def from_mace(potential: Potential, *, reduced: bool = True) -> Potential:
    """A MACE of this package as one of mace-jax.

    Raises:
        CompatibilityError: the potential is no MACE, or mace-jax has no such model.
    """
    model = potential.model
    if not isinstance(model, MaceModel):
        raise CompatibilityError(f"expected a MACE of this package, got {model}")
    config = MaceJaxConfig(**model.config.model_dump(), use_reduced_cg=reduced)
    mace_jax_model.bundle_config(model.elements, config)
    params = jax.tree.map(np.asarray, potential.params)
    tensors = to_torch(params, model)
    _check_formulas(tensors, model)
    weights = {
        _their_name(name): _flattened(name, array)
        for name, array in tensors.items()
        if ".contractions." not in name
        and not name.startswith(FORMULAS)
        and _their_name(name) not in PINNED
    }
    for plan in model.plans:
        layouts, order = (plan.target, plan.hidden), config.correlation
        matrix = to_mace_jax(*layouts, order, reduced)
        parts = [
            tensors[_contraction(plan.index, index, degree, order)]
            for index, degree, _ in degrees(*layouts, order)
        ]
        weights[_product(plan.index)] = _apply(matrix, np.concatenate(parts, axis=1))
    constants = {
        name: np.asarray(params["constants"][name])
        for name in (*PINNED.values(), "average_neighbors")
    }
    theirs = MaceJaxModel(model.elements, config)
    found = {"weights": trees.from_names(weights), "constants": constants}
    return Potential(fitting(found, theirs), theirs)


def to_mace(potential: Potential) -> Potential:
    """A MACE of mace-jax as one of this package, the same function.

    Raises:
        CompatibilityError: the potential is of another kind.
    """
    theirs = require_mace_jax(potential)
    config = MaceConfig(**theirs.config.model_dump(exclude={"use_reduced_cg"}))
    model, order = MaceModel(theirs.elements, config), config.correlation
    params = jax.tree.map(np.asarray, potential.params)
    constants = params["constants"]
    named = {**trees.names(params["weights"]), **{t: constants[o] for t, o in PINNED.items()}}
    tensors = _formulas(model, precision_of(params["weights"]))
    for plan in model.plans:
        layouts, first = (plan.target, plan.hidden), 0
        matrix = from_mace_jax(*layouts, order, theirs.config.use_reduced_cg)
        joined = _apply(matrix, named.pop(_product(plan.index)))
        for index, degree, paths in degrees(*layouts, order):
            part = joined[:, first : first + paths]
            tensors[_contraction(plan.index, index, degree, order)] = part
            first += paths
    for entry in entries(model):
        if entry.name not in tensors:
            tensors[entry.name] = named[_their_name(entry.name)].reshape(entry.shape)
    found = from_torch(tensors, model, average_neighbors=float(constants["average_neighbors"]))
    return Potential(found, model)


def fitting(params: PyTree, model: MaceJaxModel) -> PyTree:
    """The parameters, if they are those of the model, shape by shape, and finite.

    Raises:
        CompatibilityError: one is not.
    """
    wanted = trees.names(jax.eval_shape(lambda: model.init(key=jax.random.key(0))))
    found = trees.names(params)
    odd = [
        n
        for n in wanted.keys() | found.keys()
        if n not in wanted or n not in found or wanted[n].shape != np.shape(found[n])
    ]
    if odd:
        name = min(odd)
        raise CompatibilityError(
            f"mace-jax's {name} does not fit: "
            f"expected {wanted[name].shape if name in wanted else 'nothing'}, "
            f"got {np.shape(found[name]) if name in found else 'nothing'}"
        )
    if broken := [name for name, leaf in found.items() if not np.isfinite(leaf).all()]:
        raise CompatibilityError(f"{broken[0]} holds numbers that are not finite")
    return params


def precision_of(weights: PyTree) -> np.dtype:
    """The precision that holds all weights."""
    return np.result_type(
        np.float32, *(np.asarray(leaf).dtype for leaf in jax.tree.leaves(weights))
    )


def require_mace_jax(potential: Potential) -> MaceJaxModel:
    """The model of a potential of kind mace_jax.

    Raises:
        CompatibilityError: it is of another kind.
    """
    if not isinstance(potential.model, MaceJaxModel):
        raise CompatibilityError(f"expected a MACE of mace-jax, got {potential.model}")
    return potential.model


def _their_name(name: str) -> str:
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return name.replace(".", "/")


def _flattened(name: str, array: np.ndarray) -> np.ndarray:
    """Equivariant maps have a leading axis in mace-jax; layers of an MLP do not."""
    return array if array.ndim == 2 or not name.endswith(".weight") else array.reshape(1, -1)


def _product(layer: int) -> str:
    return f"products/{layer}/symmetric_contractions/weight"


def _contraction(layer: int, index: int, degree: int, correlation: int) -> str:
    return f"{contraction_name(layer, index)}.{degree_name(degree, correlation)}"


def _apply(matrix: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weights [elements, functions, channels] of another basis, in the same precision."""
    return np.einsum("ab,zbc->zac", matrix, weights).astype(weights.dtype)


def _formulas(model: MaceModel, precision: np.dtype) -> dict[str, np.ndarray]:
    """What mace-jax fixes and mace-torch stores, by mace-torch's names."""
    config = model.config
    constants: dict[str, PyTree] = {}
    if config.distance_transform:
        constants["distance_transform"] = TRANSFORMS[config.distance_transform].constants
    if config.pair_repulsion:
        constants["pair_repulsion"] = {name: np.array(value) for name, value in CONSTANTS.items()}
    values = {f"constants/{name}": value for name, value in trees.names(constants).items()}
    return {
        entry.name: np.asarray(values[entry.blocks[0][0]], precision)
        for entry in entries(model)
        if entry.name.startswith(FORMULAS)
    }


def _check_formulas(tensors: Mapping[str, np.ndarray], model: MaceModel) -> None:
    for name, expected in _formulas(model, np.dtype(np.float64)).items():
        if not np.allclose(tensors[name], expected, rtol=1e-6):  # float32 at worst
            raise CompatibilityError(
                f"{name} differs from the number in mace-jax, so the model cannot be written for it"
            )
