"""What a stored mace-torch model may be made of; anything else is refused by its name.

A class at a place where ``PARTS`` does not expect it, or a switch that is on and not known here,
means another function; then reading on would give wrong numbers.
"""

import re
import reprlib
from typing import Any

import numpy as np

from mlffjax.errors import CompatibilityError
from mlffjax.potential.convert.inert_pickle import Global, Inert
from mlffjax.potential.convert.read_torch import Module
from mlffjax.potential.mace.config import INTERACTIONS
from mlffjax.potential.mace.irreps import Irrep

CONTRACTION = "products.#.symmetric_contractions.contractions.#"
GATE = "interactions.#.equivariant_nonlin"
NETWORK = {
    "": "FullyConnectedNet RadialMLP",
    ".layer#": "_Layer",
    ".layer#.act": "normalize2mom",
    ".net": "Sequential",
    ".net.#": "Linear LayerNorm SiLU",
}
ACTIVATION = {"": "Activation", ".acts": "ModuleList", ".acts.#": "normalize2mom"}
PARTS = {
    "": "ScaleShiftMACE MACE",
    "node_embedding": "LinearNodeEmbeddingBlock",
    "node_embedding.linear": "Linear",
    "radial_embedding": "RadialEmbeddingBlock",
    "radial_embedding.bessel_fn": "BesselBasis GaussianBasis ChebychevBasis",
    "radial_embedding.cutoff_fn": "PolynomialCutoff",
    "radial_embedding.distance_transform": "AgnesiTransform SoftTransform",
    "pair_repulsion_fn": "ZBLBasis",
    "spherical_harmonics": "SphericalHarmonics",
    "atomic_energies_fn": "AtomicEnergiesBlock",
    "scale_shift": "ScaleShiftBlock",
    "interactions": "ModuleList",
    "interactions.#": " ".join(f"{name}InteractionBlock" for name in INTERACTIONS),
    "interactions.#.linear_up": "Linear",
    "interactions.#.linear": "Linear",
    "interactions.#.linear_#": "Linear",
    "interactions.#.linear_res": "Linear",
    "interactions.#.source_embedding": "Linear",
    "interactions.#.target_embedding": "Linear",
    "interactions.#.conv_tp": "TensorProduct",
    "interactions.#.skip_tp": "FullyConnectedTensorProduct Linear",
    "interactions.#.reshape": "reshape_irreps",
    **{f"interactions.#.conv_tp_weights{place}": kind for place, kind in NETWORK.items()},
    **{f"interactions.#.density_fn{place}": kind for place, kind in NETWORK.items()},
    GATE: "GatedEquivariantBlock Gate",
    f"{GATE}.sc": "_Sortcut",
    f"{GATE}.sc.cut": "Extract",
    f"{GATE}.mul": "ElementwiseTensorProduct",
    **{f"{GATE}.act_scalars{place}": kind for place, kind in ACTIVATION.items()},
    **{f"{GATE}.act_gates{place}": kind for place, kind in ACTIVATION.items()},
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
    "readouts.#": "LinearReadoutBlock NonLinearReadoutBlock NonLinearBiasReadoutBlock",
    "readouts.#.linear": "Linear",
    "readouts.#.linear_#": "Linear",
    "readouts.#.linear_mid": "Linear",
    **{f"readouts.#.non_linearity{place}": kind for place, kind in ACTIVATION.items()},
}
"""Class names by place; # stands for a number."""
KNOWN_SWITCHES = {
    "training", "internal_weights", "shared_weights", "apply_cutoff", "use_sc", "use_reduced_cg",
    "use_so3", "use_agnostic_product", "use_last_readout_only", "use_edge_irreps_first",
    "pair_repulsion",
}  # fmt: skip
"""Attributes of mace's own classes that may be True. Which basis ``use_reduced_cg`` led to is seen
from the stored basis itself, what is sent in the first layer from the irreps there."""
WANTED = {  # attributes that must have this value where they exist; old files lack most of them
    "normalize": True,
    "normalization": "component",
    "cueq_config": None,
    "oeq_config": None,
    "conv_fusion": None,
    "var_in": 1,
    "var_out": 1,
    "eps": 1e-5,
    "elementwise_affine": True,
}


def check_parts(root: Module) -> None:
    """Refuse a model with a part of another class than we compute.

    Raises:
        CompatibilityError: naming place and class.
    """
    for path, module in root.walk():
        expected = PARTS.get(re.sub(r"\d+", "#", path), "")
        if module.kind.name not in expected.split():
            what = f"{path or 'the model'} is {module.kind}"
            wanted = " or ".join(expected.split()) or "nothing"
            raise CompatibilityError(
                f"{what}, which is not supported yet; supported there is {wanted}"
            )
    if root.kind.name == "MACE" and "scale_shift" in root.children:
        raise CompatibilityError(
            f"the model is {root.kind} with a part scale_shift that it does not use, which is not "
            "supported yet"
        )


def check_switches(root: Module, heads: int) -> None:
    """Refuse a model whose attributes ask for something that we do not compute.

    Raises:
        CompatibilityError: naming place, attribute and value.
    """
    wanted = WANTED | {"num_heads": heads}
    for path, module in root.walk():
        for name, value in module.attributes.items():
            unknown = value is True and name not in KNOWN_SWITCHES
            own = module.kind.module.startswith("mace.")
            other = name in wanted and value != wanted[name] and not _is_off(value)
            if (unknown and own) or other:
                raise CompatibilityError(
                    f"{path or 'the model'} has {name} = {brief(value)}, which is not supported yet"
                )


def _is_off(value: Any) -> bool:
    """A configuration of an accelerator that is not used, and e3nn's layout of features."""
    state = value.state if isinstance(value, Inert) else None
    return (
        isinstance(state, dict)
        and state.get("enabled") is False
        and state.get("layout_str", "mul_ir") == "mul_ir"
        and not state.get("conv_fusion")
    )


def activation_scales(root: Module) -> dict[str, list[float]]:
    """Second-moment normalisations of all activations, by the function's name.

    Raises:
        CompatibilityError: a part has other activations than silu, and sigmoid for gates.
    """
    scales: dict[str, list[float]] = {"silu": [], "sigmoid": []}
    for path, module in root.walk():
        found = module.attributes
        if module.kind.name == "normalize2mom":
            wanted = "sigmoid" if ".act_gates." in path else "silu"
            scales[wanted].append(_scale(path, wanted, found.get("f"), found.get("cst")))
        elif module.kind.name == "GatedEquivariantBlock":
            for wanted, which in (("silu", "scalar"), ("sigmoid", "gate")):
                pair = found.get(f"_act_{which}"), found.get(f"_{which}_cst")
                if pair[0] is not None:  # no gates where all is scalar
                    scales[wanted].append(_scale(path, wanted, *pair))
        elif module.kind.name == "Activation" and "act_gates" not in path:
            _check_single(path, part(module, "acts"))
    return scales


def _check_single(path: str, activations: Module) -> None:
    if len(activations.children) != 1:
        raise CompatibilityError(f"{path} has several activations, which is not supported yet")


def _scale(path: str, wanted: str, function: Any, scale: Any) -> float:
    if not isinstance(function, Global) or function.name != wanted:
        raise CompatibilityError(
            f"{path} applies {brief(function)}, which is not supported yet; supported is {wanted}"
        )
    return number(scale)


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
        raise CompatibilityError(f"expected one number in the file, got {brief(value)!r}")
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


def encode_irreps(irreps: list[tuple[int, Irrep]]) -> str:
    """Text of irreps with multiplicities."""
    return " + ".join(f"{mul}x{ir}" for mul, ir in irreps)


def same(what: str, values: list) -> Any:
    """The one value that all layers share.

    Raises:
        CompatibilityError: they differ, or there is none.
    """
    if not values or any(value != values[0] for value in values):
        raise CompatibilityError(
            f"{what} of its layers differ ({', '.join(map(str, values)) or 'none'}), which is not "
            "supported yet"
        )
    return values[0]


def brief(value: Any) -> str:
    """Short text of anything that a file may hold, however its parts contain each other."""
    return value[:80] if isinstance(value, str) else _SHORT.repr(value)[:80]


class _Short(reprlib.Repr):
    """Texts of nested values, which may be longer than any memory, cut while they are made."""

    maxlevel, maxother = 2, 80

    def repr_instance(self, x: Any, level: int) -> str:
        """Names of objects, not what is in them."""
        del level
        if isinstance(x, Inert | Global):
            return str(x.kind if isinstance(x, Inert) else x)
        return repr(x) if isinstance(x, bool | int | float | None) else type(x).__name__


_SHORT = _Short()
