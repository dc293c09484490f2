"""Names and layouts of mace-torch's ``ScaleShiftMACE`` with one head, for every kind we compute.

A torch tensor is flat where e3nn stores blocks one after the other: an equivariant linear map, for
example, is one vector with a [channels in, channels out] block per irrep. An ``Entry`` lists the
blocks of one tensor in order. The table is read in both directions.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mlffjax import trees
from mlffjax.arrays import PyTree
from mlffjax.errors import CompatibilityError
from mlffjax.potential.mace.contraction import coupled_basis
from mlffjax.potential.mace.interaction import up_irreps
from mlffjax.potential.mace.model import MaceModel
from mlffjax.potential.mace.plan import DENSITY_WIDTH, LayerPlan
from mlffjax.potential.mace.radial import radial_constants
from mlffjax.potential.mace.repulsion import CONSTANTS
from mlffjax.potential.mace.transforms import TRANSFORMS

Block = tuple[str, tuple[int, ...]]
READOUTS = {
    0: (),
    1: ("linear",),
    2: ("linear_1", "linear_2"),
    3: ("linear_1", "linear_mid", "linear_2"),
}
"""Names of the maps of a readout, by their number."""


class Entry(NamedTuple):
    """One torch tensor: its shape and the arrays it holds, as ('/'-joined name, shape) pairs.

    A ``transposed`` tensor is a matrix [fan out, fan in] of ``torch.nn.Linear`` and holds one array
    [fan in, fan out].
    """

    name: str
    shape: tuple[int, ...]
    blocks: tuple[Block, ...]
    transposed: bool = False


def entries(model: MaceModel) -> tuple[Entry, ...]:
    """All weights and constants of a model, as mace-torch names them."""
    table = _constants(model)
    embedding = (len(model.elements), model.config.channels)
    table.append(_flat("node_embedding.linear.weight", [("weights/embedding", embedding)]))
    for plan in model.plans:
        kind = _gated_interaction if plan.kind.is_gated else _interaction
        table += kind(plan) + _product(plan) + _readout(plan)
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
                f"the checkpoint has no tensor {entry.name!r}; it is not a MACE with {model.config}"
            )
        tensor = np.asarray(arrays[entry.name])
        flat = (tensor.T if entry.transposed else tensor).reshape(-1)
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
    arrays = {}
    for entry in entries(model):
        parts = [np.asarray(named[name]) for name, _ in entry.blocks]
        parts = [part.T if entry.transposed else part for part in parts]
        flat = np.concatenate([part.reshape(-1) for part in parts])
        arrays[entry.name] = flat.reshape(entry.shape)
    return arrays


def _one(name: str, ours: str, shape: Sequence[int], *, transposed: bool = False) -> Entry:
    """A tensor that is one array of ours."""
    stored = tuple(shape[::-1] if transposed else shape)
    return Entry(name, stored, ((ours, tuple(shape)),), transposed)


def _flat(name: str, blocks: Sequence[Block]) -> Entry:
    """A vector with one block after the other."""
    size = sum(int(np.prod(shape, dtype=int)) for _, shape in blocks)
    return Entry(name, (size,), tuple(blocks))


def _constants(model: MaceModel) -> list[Entry]:
    config, embedding = model.config, "radial_embedding"
    radial = {
        "bessel_frequencies": f"{embedding}.bessel_fn.bessel_weights",
        "gaussian_centers": f"{embedding}.bessel_fn.gaussian_weights",
    }
    count = (len(model.elements),)
    table = [
        _one("atomic_energies_fn.atomic_energies", "constants/atomic_energies", count),
        _one("scale_shift.scale", "constants/scale", ()),
        _one("scale_shift.shift", "constants/shift", ()),
    ]
    for ours, value in radial_constants(config).items():
        table.append(_one(radial[ours], f"constants/{ours}", value.shape))
    if config.distance_transform:
        for name in TRANSFORMS[config.distance_transform].constants:
            torch = f"{embedding}.distance_transform.{name}"
            table.append(_one(torch, f"constants/distance_transform/{name}", ()))
    if config.pair_repulsion:
        for name, value in CONSTANTS.items():
            torch = f"pair_repulsion_fn.{name}"
            table.append(_one(torch, f"constants/pair_repulsion/{name}", np.shape(value)))
    return table


def _places(plan: LayerPlan) -> tuple[str, str]:
    """Where an interaction is, in mace-torch and here."""
    return f"interactions.{plan.index}", f"weights/layer_{plan.index}/interaction"


def _up(plan: LayerPlan) -> Entry:
    torch, ours = _places(plan)
    c = plan.channels
    maps = [(f"{ours}/linear_up_{ir}", (c, plan.sent[ir])) for ir in up_irreps(plan)]
    return _flat(f"{torch}.linear_up.weight", maps)


def _interaction(plan: LayerPlan) -> list[Entry]:
    torch, ours = _places(plan)
    c, inputs = plan.channels, plan.config.num_bessel
    down = [
        (f"{ours}/linear_{ir}", (plan.stored_rows(target), c))
        for target, ir in enumerate(plan.target)
    ]
    mapped = plan.kept if plan.kind.is_residual else plan.target
    skip = [(f"{ours}/skip_{ir}", (c, plan.elements, c)) for ir in mapped]
    widths = (inputs, *plan.config.radial_mlp, sum(plan.stored_widths))
    networks = {"conv_tp_weights": ("radial", widths)}
    if plan.kind.has_density:
        networks["density_fn"] = ("density", (inputs, 1))
    table = [
        _up(plan),
        _flat(f"{torch}.linear.weight", down),
        _flat(f"{torch}.skip_tp.weight", skip),
    ]
    return table + [
        _one(f"{torch}.{theirs}.layer{k}.weight", f"{ours}/{name}/layer_{k}", shape)
        for theirs, (name, sizes) in networks.items()
        for k, shape in enumerate(itertools.pairwise(sizes))
    ]


def _gated_interaction(plan: LayerPlan) -> list[Entry]:
    torch, ours = _places(plan)
    c, inputs = plan.channels, plan.config.num_bessel + 2 * plan.channels
    maps = {
        "source_embedding": [("source_embedding", (plan.elements, c))],
        "target_embedding": [("target_embedding", (plan.elements, c))],
        "linear_1": [
            (f"linear_{ir}", (plan.stored_rows(target), plan.message_width(ir)))
            for target, ir in enumerate(plan.target)
        ],
        "linear_2": [(f"mix_{ir}", (c, c)) for ir in plan.target],
        "linear_res": [
            (f"own_{ir}", (width, plan.message_width(ir)))
            for ir, width in plan.sent.items()
            if ir in plan.target
        ],
        "skip_tp": [(f"skip_{ir}", (c, c)) for ir in plan.kept],
    }
    table = [
        _flat(f"{torch}.{name}.weight", [(f"{ours}/{own}", shape) for own, shape in blocks])
        for name, blocks in maps.items()
    ]
    table += [_up(plan), *(_one(f"{torch}.{x}", f"{ours}/{x}", ()) for x in ("alpha", "beta"))]
    widths = (inputs, *plan.config.radial_mlp, sum(plan.stored_widths))
    table += _normalised_mlp(f"{torch}.conv_tp_weights", f"{ours}/radial", widths)
    return table + _normalised_mlp(
        f"{torch}.density_fn", f"{ours}/density", (inputs, DENSITY_WIDTH, 1)
    )


def _normalised_mlp(torch: str, ours: str, widths: Sequence[int]) -> list[Entry]:
    """A sequence of linear map, norm and activation; the activation has a number as well."""
    table = []
    for k, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        linear, norm = f"{torch}.net.{3 * k}", f"{torch}.net.{3 * k + 1}"
        table.append(
            _one(f"{linear}.weight", f"{ours}/layer_{k}", (fan_in, fan_out), transposed=True)
        )
        table.append(_one(f"{linear}.bias", f"{ours}/bias_{k}", (fan_out,)))
        if k < len(widths) - 2:
            table.append(_one(f"{norm}.weight", f"{ours}/gain_{k}", (fan_out,)))
            table.append(_one(f"{norm}.bias", f"{ours}/offset_{k}", (fan_out,)))
    return table


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
            name = f"{contraction_name(plan.index, index)}.{degree_name(degree, correlation)}"
            shape = (plan.product_elements, paths, c)
            table.append(_one(name, f"{ours}/contraction_{ir}/degree_{degree}", shape))
    return table


def contraction_name(layer: int, out: int) -> str:
    """The contraction to one irrep."""
    return f"products.{layer}.symmetric_contractions.contractions.{out}"


def degree_name(degree: int, correlation: int) -> str:
    """Weights of one degree: they descend from the highest, which is stored apart."""
    return f"weights.{correlation - 1 - degree}" if degree < correlation else "weights_max"


def _readout(plan: LayerPlan) -> list[Entry]:
    torch, ours = f"readouts.{plan.readout_index}", f"weights/layer_{plan.index}"
    shapes = list(itertools.pairwise(plan.readout_widths))
    table = []
    for k, (name, shape) in enumerate(zip(READOUTS[len(shapes)], shapes, strict=True)):
        table.append(_flat(f"{torch}.{name}.weight", [(f"{ours}/readout_{k}", shape)]))
        if plan.has_biases and k:
            table.append(_one(f"{torch}.{name}.bias", f"{ours}/readout_bias_{k}", shape[1:]))
    return table
