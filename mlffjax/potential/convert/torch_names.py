"""Names and layouts of a mace-torch ``ScaleShiftMACE`` with residual interactions.

A torch tensor is flat where e3nn stores blocks one after the other: an equivariant linear map, for
example, is one vector with a [channels in, channels out] block per irrep. An ``Entry`` lists the
blocks of one tensor in order.
"""

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mlffjax import trees
from mlffjax.arrays import PyTree
from mlffjax.errors import CompatibilityError
from mlffjax.potential.mace.contraction import coupled_basis
from mlffjax.potential.mace.model import MaceModel
from mlffjax.potential.mace.plan import LayerPlan


class Entry(NamedTuple):
    """One torch tensor: its shape and the arrays it holds, as ('/'-joined name, shape) pairs."""

    name: str
    shape: tuple[int, ...]
    blocks: tuple[tuple[str, tuple[int, ...]], ...]


def entries(model: MaceModel) -> tuple[Entry, ...]:
    """All weights and constants of a model, as mace-torch names them."""
    constants = {
        "atomic_energies_fn.atomic_energies": ("atomic_energies", (len(model.elements),)),
        "scale_shift.scale": ("scale", ()),
        "scale_shift.shift": ("shift", ()),
        "radial_embedding.bessel_fn.bessel_weights": (
            "bessel_frequencies",
            (model.config.num_bessel,),
        ),
    }
    table = [
        Entry(name, shape, ((f"constants/{ours}", shape),))
        for name, (ours, shape) in constants.items()
    ]
    embedding = (len(model.elements), model.config.channels)
    table.append(_flat("node_embedding.linear.weight", [("weights/embedding", embedding)]))
    for plan in model.plans:
        table += _interaction(plan) + _product(plan) + _readout(plan)
    return tuple(table)


def from_torch(
    arrays: Mapping[str, np.ndarray], model: MaceModel, *, average_neighbors: float
) -> PyTree:
    """Parameters from a state dictionary.

    Args:
        arrays: tensors by torch name; buffers that hold no weights may be absent or present.
        model: the architecture they belong to.
        average_neighbors: ``avg_num_neighbors``, an attribute that state dictionaries lack.

    Raises:
        CompatibilityError: a tensor is missing or has another number of entries.
    """
    named: dict[str, np.ndarray] = {"constants/average_neighbors": np.array(average_neighbors)}
    for entry in entries(model):
        if entry.name not in arrays:
            raise CompatibilityError(
                f"the checkpoint has no tensor {entry.name!r}; it is not a ScaleShiftMACE with "
                f"residual interactions and {model.config}"
            )
        flat = np.asarray(arrays[entry.name]).reshape(-1)
        if flat.size != np.prod(entry.shape, dtype=int):
            raise CompatibilityError(
                f"tensor {entry.name!r} has shape {np.shape(arrays[entry.name])}, expected "
                f"{entry.shape} for {model.config}"
            )
        first = 0
        for name, shape in entry.blocks:
            count = int(np.prod(shape, dtype=int))
            named[name] = flat[first : first + count].reshape(shape)
            first += count
    return trees.from_names(named)


def to_torch(params: PyTree, model: MaceModel) -> dict[str, np.ndarray]:
    """Tensors by torch name: the inverse of ``from_torch``, without ``average_neighbors``."""
    named = trees.names(params)
    return {
        entry.name: np.concatenate(
            [np.asarray(named[name]).reshape(-1) for name, _ in entry.blocks]
        ).reshape(entry.shape)
        for entry in entries(model)
    }


def _flat(name: str, blocks: list[tuple[str, tuple[int, ...]]]) -> Entry:
    size = sum(int(np.prod(shape, dtype=int)) for _, shape in blocks)
    return Entry(name, (size,), tuple(blocks))


def _interaction(plan: LayerPlan) -> list[Entry]:
    torch, ours = f"interactions.{plan.index}", f"weights/layer_{plan.index}/interaction"
    c = plan.channels
    widths = (plan.config.num_bessel, *plan.config.radial_mlp, len(plan.paths) * c)
    table = [
        _flat(
            f"{torch}.linear_up.weight", [(f"{ours}/linear_up_{ir}", (c, c)) for ir in plan.sender]
        ),
        _flat(
            f"{torch}.linear.weight",
            [
                (f"{ours}/linear_{ir}", (plan.path_count(target) * c, c))
                for target, ir in enumerate(plan.target)
            ],
        ),
        _flat(
            f"{torch}.skip_tp.weight",
            [(f"{ours}/skip_{ir}", (c, plan.elements, c)) for ir in plan.kept],
        ),
    ]
    return table + [
        Entry(
            f"{torch}.conv_tp_weights.layer{k}.weight",
            shape,
            ((f"{ours}/radial/layer_{k}", shape),),
        )
        for k, shape in enumerate(itertools.pairwise(widths))
    ]


def _product(plan: LayerPlan) -> list[Entry]:
    torch, ours = f"products.{plan.index}", f"weights/layer_{plan.index}"
    c, correlation = plan.channels, plan.config.correlation
    table = [
        _flat(f"{torch}.linear.weight", [(f"{ours}/linear_{ir}", (c, c)) for ir in plan.hidden])
    ]
    for index, ir in enumerate(plan.hidden):
        for degree in range(1, correlation + 1):
            paths = coupled_basis(plan.target, ir, degree).mixing.shape[1]
            if not paths:
                continue  # mace-torch stores zeros there
            # Degrees descend from the highest, which is stored apart.
            last = f"weights.{correlation - 1 - degree}" if degree < correlation else "weights_max"
            name = f"{torch}.symmetric_contractions.contractions.{index}.{last}"
            shape = (plan.elements, paths, c)
            table.append(Entry(name, shape, ((f"{ours}/contraction_{ir}/degree_{degree}", shape),)))
    return table


def _readout(plan: LayerPlan) -> list[Entry]:
    torch, ours = f"readouts.{plan.index}", f"weights/layer_{plan.index}"
    names = ("linear_1", "linear_2") if len(plan.readout_widths) == 3 else ("linear",)
    shapes = itertools.pairwise(plan.readout_widths)
    return [
        _flat(f"{torch}.{name}.weight", [(f"{ours}/readout_{k}", shape)])
        for k, (name, shape) in enumerate(zip(names, shapes, strict=True))
    ]
