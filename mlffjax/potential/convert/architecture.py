"""Hyper-parameters of a stored mace-torch model, and refusal by name of what we do not compute.

What is supported is the architecture of MACE-MP-0 (arXiv:2401.00096) with any sizes:
``ScaleShiftMACE`` with residual interactions, Bessel functions under a polynomial envelope, one
head. A class at a place where ``PARTS`` does not expect it, or a switch that is on and not known
here, means another function; then reading on would give wrong numbers.
"""

import re
from typing import Any, NamedTuple

import numpy as np

from mlffjax.errors import CompatibilityError
from mlffjax.potential.convert.inert_pickle import Global, Inert
from mlffjax.potential.convert.read_torch import Module
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.irreps import Irrep, Layout
from mlffjax.potential.mace.model import MaceModel

CONTRACTION = "products.#.symmetric_contractions.contractions.#"
PARTS = {
    "": "ScaleShiftMACE",
    "node_embedding": "LinearNodeEmbeddingBlock",
    "node_embedding.linear": "Linear",
    "radial_embedding": "RadialEmbeddingBlock",
    "radial_embedding.bessel_fn": "BesselBasis",
    "radial_embedding.cutoff_fn": "PolynomialCutoff",
    "spherical_harmonics": "SphericalHarmonics",
    "atomic_energies_fn": "AtomicEnergiesBlock",
    "scale_shift": "ScaleShiftBlock",
    "interactions": "ModuleList",
    "interactions.#": "RealAgnosticResidualInteractionBlock",
    "interactions.#.linear_up": "Linear",
    "interactions.#.linear": "Linear",
    "interactions.#.conv_tp": "TensorProduct",
    "interactions.#.conv_tp_weights": "FullyConnectedNet",
    "interactions.#.conv_tp_weights.layer#": "_Layer",
    "interactions.#.conv_tp_weights.layer#.act": "normalize2mom",
    "interactions.#.skip_tp": "FullyConnectedTensorProduct",
    "interactions.#.reshape": "reshape_irreps",
    "products": "ModuleList",
    "products.#": "EquivariantProductBasisBlock",
    "products.#.linear": "Linear",
    "products.#.symmetric_contractions": "SymmetricContraction",
    "products.#.symmetric_contractions.contractions": "ModuleList",
    CONTRACTION: "Contraction",
    f"{CONTRACTION}.weights": "ParameterList",
    f"{CONTRACTION}.graph_opt_main": "reduce_graph_module",
    f"{CONTRACTION}.contractions_weighting": "ModuleList",
    f"{CONTRACTION}.contractions_weighting.#": "reduce_graph_module",
    f"{CONTRACTION}.contractions_features": "ModuleList",
    f"{CONTRACTION}.contractions_features.#": "reduce_graph_module",
    "readouts": "ModuleList",
    "readouts.#": "LinearReadoutBlock NonLinearReadoutBlock",
    "readouts.#.linear": "Linear",
    "readouts.#.linear_#": "Linear",
    "readouts.#.non_linearity": "Activation",
    "readouts.#.non_linearity.acts": "ModuleList",
    "readouts.#.non_linearity.acts.#": "normalize2mom",
}
"""Class names by place; # stands for a number."""
KNOWN_SWITCHES = {
    "training", "internal_weights", "shared_weights", "apply_cutoff", "use_sc", "use_reduced_cg",
}  # fmt: skip
"""Attributes of mace's own classes that may be True. Which basis ``use_reduced_cg`` led to is seen
from the stored basis itself."""
LARGEST_BASIS = 4 * 1024**3
"""Bytes of all coupled products of the highest degree; published models need 0.1 GB."""
WANTED = {  # attributes that must have this value where they exist; old files lack most of them
    "apply_cutoff": True,
    "use_sc": True,
    "normalize": True,
    "normalization": "component",
    "cueq_config": None,
    "oeq_config": None,
    "conv_fusion": None,
    "var_in": 1,
    "var_out": 1,
    "num_heads": 1,
}


class Architecture(NamedTuple):
    """What a stored model computes, without its weights; ``average_neighbors`` divides messages."""

    model: MaceModel
    average_neighbors: float


def architecture(root: Module) -> Architecture:
    """Recover the hyper-parameters of a stored model.

    Raises:
        CompatibilityError: it has a part, a switch or a size that we do not compute; the message
            names it.
    """
    _check_parts(root)
    _check_switches(root)
    interactions = list(part(root, "interactions").children.values())
    products = list(part(root, "products").children.values())
    _check_readouts(root, len(interactions), len(products))
    settings = {
        **_radial(root),
        "radial_mlp": _same("the radial MLPs", [_widths(block) for block in interactions]),
        "max_ell": _max_ell(root),
        "correlation": _same("the correlation orders", _correlations(products)),
        "num_interactions": _same(
            "the numbers of interactions",
            [len(interactions), int(number(root.tensors.get("num_interactions")))],
        ),
        "hidden_irreps": _text(_hidden(interactions)),
    }
    if len(interactions) > 1:
        hidden_layer = _attribute(root, f"readouts.{len(interactions) - 1}", "hidden_irreps")
        settings["mlp_irreps"] = _text(decode_irreps(hidden_layer))
    if scales := _activations(root):
        settings["activation_scale"] = _same("the scales of the activations", scales)
    try:
        model = MaceModel(_elements(root), MaceConfig(**settings))
    except ValueError as error:  # pydantic's
        raise CompatibilityError(f"its hyper-parameters are not supported yet: {error}") from error
    _check_basis_size(model)
    _check_couplings(model, interactions)
    neighbors = [number(block.attributes.get("avg_num_neighbors")) for block in interactions]
    return Architecture(model, _same("the average numbers of neighbours", neighbors))


def part(root: Module, path: str) -> Module:
    """The module of a dotted name.

    Raises:
        CompatibilityError: there is none.
    """
    for name in path.split("."):
        if name not in root.children:
            raise CompatibilityError(f"the model has no part {path!r}; it is not supported yet")
        root = root.children[name]
    return root


def number(value: Any) -> float:
    """A number that may be stored as such or in a tensor with one entry."""
    if not isinstance(value, int | float | np.ndarray) or np.size(value) != 1:
        raise CompatibilityError(f"expected one number in the file, got {str(value)[:80]!r}")
    return float(np.asarray(value).reshape(()))


def decode_irreps(value: Any) -> list[tuple[int, Irrep]]:
    """Multiplicities and irreps of a stored ``e3nn.o3.Irreps`` or of its text."""
    try:
        if isinstance(value, str):
            found = re.findall(r"(\d+)x(\d+)([eo])", value)
            return [
                (int(mul), Irrep(int(degree), 1 if parity == "e" else -1))
                for mul, degree, parity in found
            ]
        pairs = [item.arguments[0] for item in value.arguments[0]]
        return [(int(mul), Irrep(*map(int, ir.arguments[0]))) for mul, ir in pairs]
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise CompatibilityError(f"irreps of the file cannot be read: {error}") from error


def _check_parts(root: Module) -> None:
    for path, module in root.walk():
        expected = PARTS.get(re.sub(r"\d+", "#", path), "")
        if module.kind.name not in expected.split():
            what = f"{path or 'the model'} is {module.kind}"
            wanted = " or ".join(expected.split()) or "nothing"
            raise CompatibilityError(
                f"{what}, which is not supported yet; supported there is {wanted}"
            )


def _check_switches(root: Module) -> None:
    for path, module in root.walk():
        for name, value in module.attributes.items():
            unknown = value is True and name not in KNOWN_SWITCHES
            own = module.kind.module.startswith("mace.")
            if (unknown and own) or (name in WANTED and value != WANTED[name]):
                raise CompatibilityError(
                    f"{path or 'the model'} has {name} = {_brief(value)}, which is not supported "
                    "yet"
                )
    heads = root.attributes.get("heads") or ["Default"]
    if len(heads) != 1:
        raise CompatibilityError(
            f"the model has {len(heads)} heads ({', '.join(map(str, heads))}); several heads are "
            "not supported yet: select one with mace-torch's mace_select_head"
        )


def _check_readouts(root: Module, interactions: int, products: int) -> None:
    found = [block.kind.name for block in part(root, "readouts").children.values()]
    linear, last = ["LinearReadoutBlock"], ["NonLinearReadoutBlock"]
    expected = linear if interactions == 1 else linear * (interactions - 1) + last
    if found != expected or products != interactions:
        raise CompatibilityError(
            f"the model has {interactions} interactions, {products} products and the readouts "
            f"{', '.join(found) or 'none'}, which is not supported yet; supported is one of each "
            "per interaction, the last of several readouts nonlinear"
        )


def _radial(root: Module) -> dict[str, Any]:
    bessel = part(root, "radial_embedding.bessel_fn").tensors
    cutoff = part(root, "radial_embedding.cutoff_fn").tensors
    radii = [number(tensors.get("r_max")) for tensors in (root.tensors, bessel, cutoff)]
    r_max = _same("the cutoff radii", radii)
    # Stored with the precision of the model: 1e-6 tells a rounded factor from another one.
    if not np.isclose(number(bessel.get("prefactor")), (2 / r_max) ** 0.5, rtol=1e-6):
        raise CompatibilityError("the Bessel functions are not normalised by sqrt(2 / r_max)")
    return {
        "r_max": r_max,
        "num_bessel": np.size(bessel.get("bessel_weights", ())),
        "num_polynomial_cutoff": int(number(cutoff.get("p"))),
    }


def _max_ell(root: Module) -> int:
    irreps = decode_irreps(_attribute(root, "spherical_harmonics", "irreps_out"))
    if irreps != [(1, ir) for ir in Layout.harmonics(len(irreps) - 1)]:
        raise CompatibilityError(
            f"its spherical harmonics are {_text(irreps)}, which are not supported yet; supported "
            "are all degrees up to the highest, with their natural parity"
        )
    return len(irreps) - 1


def _widths(interaction: Module) -> tuple[int, ...]:
    """Hidden widths of the radial MLP; every layer but the last must have an activation."""
    layers = part(interaction, "conv_tp_weights").children
    names = [f"layer{k}" for k in range(len(layers))]
    active = [bool(layer.children) for layer in layers.values()]
    if list(layers) != names or active != [True] * (len(layers) - 1) + [False]:
        raise CompatibilityError("a radial MLP without activations is not supported yet")
    shapes = [layer.tensors["weight"].shape for layer in layers.values()]
    return tuple(shape[1] for shape in shapes[:-1])


def _activations(root: Module) -> list[float]:
    scales = []
    for path, module in root.walk():
        if module.kind.name == "normalize2mom":
            function = module.attributes.get("f")
            if not isinstance(function, Global) or function.name != "silu":
                raise CompatibilityError(
                    f"{path} applies {_brief(function)}, which is not supported yet; supported is "
                    "silu"
                )
            scales.append(number(module.attributes.get("cst")))
        elif module.kind.name == "Activation" and len(part(module, "acts").children) != 1:
            raise CompatibilityError(f"{path} has several activations, which is not supported yet")
    return scales


def _correlations(products: list[Module]) -> list[int]:
    blocks = [part(block, "symmetric_contractions.contractions").children for block in products]
    return [
        int(number(contraction.attributes.get("correlation")))
        for contractions in blocks
        for contraction in contractions.values()
    ]


def _hidden(interactions: list[Module]) -> list[tuple[int, Irrep]]:
    """Irreps of the node features; the last of several interactions must keep scalars only."""
    layers = [decode_irreps(block.attributes.get("hidden_irreps")) for block in interactions]
    expected = [layers[0]] * (len(layers) - 1) + [layers[0][:1]]
    if layers != expected or not layers[0] or layers[0][0][1] != Irrep(0, 1):
        raise CompatibilityError(
            f"its layers give {'; '.join(map(_text, layers))}, which is not supported yet; "
            "supported is the same in all but the last, which keeps the scalars, listed first"
        )
    for index, block in enumerate(interactions):
        edge = block.attributes.get("edge_irreps")
        sender = layers[0] if index else layers[0][:1]
        if edge is not None and decode_irreps(edge) != sender:
            raise CompatibilityError(
                f"interactions.{index} has edge_irreps {_text(decode_irreps(edge))}, which are not "
                f"supported yet; supported are those of the node features, {_text(sender)}"
            )
    return layers[0]


def _check_basis_size(model: MaceModel) -> None:
    """Refuse before memory is asked for: a file of a few kB may declare any degree."""
    dimension = max(plan.target.dim for plan in model.plans)
    size = 8 * dimension ** (2 * model.config.correlation)
    if size > LARGEST_BASIS:
        raise CompatibilityError(
            f"max_ell {model.config.max_ell} with correlation {model.config.correlation} is not "
            f"supported yet: all coupled products would take {size / 1024**3:.0f} GB"
        )


def _check_couplings(model: MaceModel, interactions: list[Module]) -> None:
    """Radial weights are sliced in the order of the couplings, so that order must be ours."""
    for plan, block in zip(model.plans, interactions, strict=True):
        stored = part(block, "conv_tp").attributes.get("instructions")
        found = [item.arguments for item in stored or () if isinstance(item, Inert)]
        expected = [(path.sender, path.edge, k, "uvu", True) for k, path in enumerate(plan.paths)]
        norms = [plan.target.irreps[path.target].dim ** 0.5 for path in plan.paths]
        if [arguments[:5] for arguments in found] != expected or not np.allclose(
            [number(arguments[5]) for arguments in found], norms, rtol=1e-6
        ):
            raise CompatibilityError(
                f"interactions.{plan.index}.conv_tp couples irreps in another way than "
                f"{model.config.hidden_irreps} with max_ell {model.config.max_ell} implies"
            )


def _elements(root: Module) -> tuple[int, ...]:
    numbers = np.asarray(root.tensors.get("atomic_numbers", ())).reshape(-1).tolist()
    if not numbers or len(set(numbers)) != len(numbers) or not all(0 < z < 119 for z in numbers):
        raise CompatibilityError(f"atomic_numbers of the file are no elements: {_brief(numbers)}")
    return tuple(int(z) for z in numbers)


def _attribute(root: Module, path: str, name: str) -> Any:
    return part(root, path).attributes.get(name)


def _same(what: str, values: list) -> Any:
    if not values or any(value != values[0] for value in values):
        raise CompatibilityError(
            f"{what} of its layers differ ({', '.join(map(str, values)) or 'none'}), which is not "
            "supported yet"
        )
    return values[0]


def _text(irreps: list[tuple[int, Irrep]]) -> str:
    return " + ".join(f"{mul}x{ir}" for mul, ir in irreps)


def _brief(value: Any) -> str:
    text = str(value.kind) if isinstance(value, Inert) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
