"""Hyper-parameters of a stored mace-torch model.

``parts`` has refused what we do not compute; here the numbers are found, in attributes and in the
shapes of tensors, and compared where a file has them more than once.
"""

from typing import Any, NamedTuple

import numpy as np

from mlffjax.errors import CompatibilityError
from mlffjax.potential.convert.inert_pickle import Inert
from mlffjax.potential.convert.parts import (
    activation_scales,
    brief,
    check_parts,
    check_switches,
    decode_irreps,
    encode_irreps,
    number,
    part,
    same,
)
from mlffjax.potential.convert.read_torch import Module
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.contraction import check_size
from mlffjax.potential.mace.irreps import Irrep, Layout
from mlffjax.potential.mace.model import MaceModel
from mlffjax.potential.mace.plan import KINDS

RADIAL = {
    "BesselBasis": ("bessel", "bessel_weights"),
    "GaussianBasis": ("gaussian", "gaussian_weights"),
    "ChebychevBasis": ("chebyshev", "n"),
}
"""Radial functions by class: our name of them, and the tensor that has one number of each."""


class Architecture(NamedTuple):
    """What a stored model computes, without its weights; ``average_neighbors`` divides messages.

    The model is that of one head.
    """

    model: MaceModel
    average_neighbors: float
    heads: tuple[str, ...]


def architecture(root: Module) -> Architecture:
    """Recover the hyper-parameters of a stored model.

    Raises:
        CompatibilityError: it has a part, a switch or a size that we do not compute; the message
            names it.
    """
    check_parts(root)
    heads = _heads(root)
    check_switches(root, len(heads))
    interactions = list(part(root, "interactions").children.values())
    products = list(part(root, "products").children.values())
    settings = {
        **_kinds(interactions, products),
        **_radial(root),
        **_harmonics(root),
        **_features(interactions),
        **_readouts(root, len(interactions), len(heads)),
        **_scales(root),
        "radial_mlp": same("the radial MLPs", [_widths(block) for block in interactions]),
        "correlation": same("the correlation orders", _correlations(products)),
        "num_interactions": same(
            "the numbers of interactions",
            [len(interactions), int(number(root.tensors.get("num_interactions")))],
        ),
        "pair_repulsion": _has_repulsion(root),
    }
    try:
        model = MaceModel(_elements(root), MaceConfig(**settings))
    except ValueError as error:  # pydantic's
        raise CompatibilityError(f"its hyper-parameters are not supported yet: {error}") from error
    for plan in model.plans:
        check_size(plan.target, model.config.correlation)
    _check_couplings(model, interactions)
    neighbors = [number(block.attributes.get("avg_num_neighbors")) for block in interactions]
    return Architecture(model, same("the average numbers of neighbours", neighbors), heads)


def _heads(root: Module) -> tuple[str, ...]:
    heads = root.attributes.get("heads") or ["Default"]
    if not all(isinstance(head, str) for head in heads) or len(set(heads)) != len(heads):
        raise CompatibilityError(f"its heads are {brief(heads)}, expected distinct names")
    return tuple(heads)


def _kinds(interactions: list[Module], products: list[Module]) -> dict[str, Any]:
    """Kinds of interactions, and whether the products tell elements apart."""
    names = [block.kind.name.removesuffix("InteractionBlock") for block in interactions]
    if len(products) != len(names):
        raise CompatibilityError(
            f"the model has {len(names)} interactions and {len(products)} products, which is not "
            "supported yet"
        )
    others = same("the kinds of interactions behind the first", names[1:] or names)
    for index, (name, product) in enumerate(zip(names, products, strict=True)):
        use_sc = product.attributes.get("use_sc", True)
        if KINDS[name].is_residual and use_sc is not True:
            raise CompatibilityError(
                f"products.{index} has use_sc = {brief(use_sc)} behind a residual interaction, "
                "which is not supported yet"
            )
    agnostic = [bool(product.attributes.get("use_agnostic_product")) for product in products]
    return {
        "interaction": others,
        "interaction_first": None if names[0] == others else names[0],
        "use_agnostic_product": same("the agnostic products", agnostic),
    }


def _radial(root: Module) -> dict[str, Any]:
    block = part(root, "radial_embedding")
    functions, cutoff = part(block, "bessel_fn"), part(block, "cutoff_fn").tensors
    name, numbers = RADIAL[functions.kind.name]
    count = np.size(functions.tensors.get(numbers, ()))
    radii = [number(tensors.get("r_max")) for tensors in (root.tensors, cutoff)]
    stored = functions.tensors.get("r_max", functions.attributes.get("r_max"))
    r_max = same("the cutoff radii", radii + ([] if stored is None else [number(stored)]))
    # Stored with the precision of the model: 1e-6 tells a rounded factor from another one.
    if name == "bessel" and not np.isclose(
        number(functions.tensors.get("prefactor")), (2 / r_max) ** 0.5, rtol=1e-6
    ):
        raise CompatibilityError("the Bessel functions are not normalised by sqrt(2 / r_max)")
    if name == "gaussian" and not np.isclose(
        number(functions.attributes.get("coeff")), -0.5 * ((count - 1) / r_max) ** 2, rtol=1e-6
    ):
        raise CompatibilityError("the Gaussians are not as wide as their centres are apart")
    transform = block.children.get("distance_transform")
    return {
        "r_max": r_max,
        "radial_type": name,
        "num_bessel": count,
        "num_polynomial_cutoff": int(number(cutoff.get("p"))),
        "distance_transform": transform and transform.kind.name.removesuffix("Transform"),
        "apply_cutoff": bool(block.attributes.get("apply_cutoff", True)),
    }


def _has_repulsion(root: Module) -> bool:
    """mace-torch asks for the attribute, so a part without it would have no effect."""
    asked, present = "pair_repulsion" in root.attributes, "pair_repulsion_fn" in root.children
    if asked != present:
        raise CompatibilityError(
            f"the model has {'no ' * (not present)}pair_repulsion_fn but "
            f"{'no ' * (not asked)}pair_repulsion, which is not supported yet"
        )
    return present


def _harmonics(root: Module) -> dict[str, Any]:
    irreps = decode_irreps(part(root, "spherical_harmonics").attributes.get("irreps_out"))
    for even in (False, True):
        if irreps == [(1, ir) for ir in Layout.harmonics(len(irreps) - 1, even=even)]:
            return {"max_ell": len(irreps) - 1, "use_so3": even and len(irreps) > 1}
    raise CompatibilityError(
        f"its spherical harmonics are {encode_irreps(irreps)}, which are not supported yet; "
        "supported are all degrees up to the highest, with their natural parity or all even"
    )


def _widths(interaction: Module) -> tuple[int, ...]:
    """Hidden widths of the radial MLP; every layer but the last must have an activation."""
    network = part(interaction, "conv_tp_weights")
    if network.kind.name == "RadialMLP":
        return _normalised_widths(part(network, "net"))
    layers = network.children
    names = [f"layer{k}" for k in range(len(layers))]
    active = [bool(layer.children) for layer in layers.values()]
    if list(layers) != names or active != [True] * (len(layers) - 1) + [False]:
        raise CompatibilityError("a radial MLP without activations is not supported yet")
    shapes = [layer.tensors["weight"].shape for layer in layers.values()]
    return tuple(shape[1] for shape in shapes[:-1])


def _normalised_widths(sequence: Module) -> tuple[int, ...]:
    found = [layer.kind.name for layer in sequence.children.values()]
    if found[-1:] != ["Linear"] or found[:-1] != ["Linear", "LayerNorm", "SiLU"] * (
        len(found) // 3
    ):
        raise CompatibilityError(
            f"a radial MLP of {', '.join(found) or 'nothing'} is not supported yet"
        )
    linear = list(sequence.children.values())[:-1:3]
    return tuple(layer.tensors["weight"].shape[0] for layer in linear)


def _correlations(products: list[Module]) -> list[int]:
    blocks = [part(block, "symmetric_contractions.contractions").children for block in products]
    return [
        int(number(contraction.attributes.get("correlation")))
        for contractions in blocks
        for contraction in contractions.values()
    ]


def _features(interactions: list[Module]) -> dict[str, Any]:
    """Irreps of the node features; the last of several interactions must keep scalars only."""
    layers = [decode_irreps(block.attributes.get("hidden_irreps")) for block in interactions]
    expected = [layers[0]] * (len(layers) - 1) + [layers[0][:1]]
    if layers != expected or not layers[0] or layers[0][0][1] != Irrep(0, 1):
        raise CompatibilityError(
            f"its layers give {'; '.join(map(encode_irreps, layers))}, which is not supported "
            "yet; supported is the same in all but the last, which keeps the scalars, listed first"
        )
    sent = []
    for index, block in enumerate(interactions):
        own = encode_irreps(layers[0] if index else layers[0][:1])
        edge = block.attributes.get("edge_irreps")
        text = own if edge is None else encode_irreps(decode_irreps(edge))
        sent.append(None if text == own else text)
    return {
        "hidden_irreps": encode_irreps(layers[0]),
        "edge_irreps_first": sent[0],
        "edge_irreps": same("the edge irreps", sent[1:] or [None]),
    }


def _readouts(root: Module, interactions: int, heads: int) -> dict[str, Any]:
    blocks = list(part(root, "readouts").children.values())
    found = [block.kind.name for block in blocks]
    linear, last = ["LinearReadoutBlock"], found[-1:]
    if interactions == 1 and found == linear:
        return {}
    nonlinear = last in (["NonLinearReadoutBlock"], ["NonLinearBiasReadoutBlock"])
    only = root.attributes.get("use_last_readout_only") is True and found == last
    if not nonlinear or not (only or found == linear * (interactions - 1) + last):
        raise CompatibilityError(
            f"the model has {interactions} interactions and the readouts "
            f"{', '.join(found) or 'none'}, which is not supported yet; supported is one per "
            "interaction, or one for the last of several, which must be nonlinear"
        )
    irreps = decode_irreps(blocks[-1].attributes.get("hidden_irreps"))
    if len(irreps) != 1 or irreps[0][0] % heads:
        raise CompatibilityError(
            f"the last readout has hidden irreps {encode_irreps(irreps)} for {heads} heads, which "
            "is not supported yet"
        )
    return {
        "mlp_irreps": encode_irreps([(irreps[0][0] // heads, irreps[0][1])]),
        "use_last_readout_only": only,
        "readout": last[0].removesuffix("ReadoutBlock"),
    }


def _scales(root: Module) -> dict[str, float]:
    found = activation_scales(root)
    names = {"silu": "activation_scale", "sigmoid": "sigmoid_scale"}
    return {
        names[function]: same("the scales of the activations", values)
        for function, values in found.items()
        if values
    }


def _check_couplings(model: MaceModel, interactions: list[Module]) -> None:
    """Radial weights are sliced in the order of the couplings, so that order must be ours."""
    for plan, block in zip(model.plans, interactions, strict=True):
        stored = part(block, "conv_tp").attributes.get("instructions")
        found = [item.arguments for item in stored or () if isinstance(item, Inert)]
        paths = plan.stored_paths
        expected = [(path.sender, path.edge, k, "uvu", True) for k, path in enumerate(paths)]
        norms = [plan.target.irreps[path.target].dim ** 0.5 for path in paths]
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
        raise CompatibilityError(f"atomic_numbers of the file are no elements: {brief(numbers)}")
    return tuple(int(z) for z in numbers)
