"""Hyper-parameters come back, and whatever we do not compute is refused by its name."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from references import torch_checkpoint

from mlffjax.errors import CompatibilityError
from mlffjax.potential.convert.architecture import architecture
from mlffjax.potential.convert.inert_pickle import Global, Inert
from mlffjax.potential.convert.parts import part
from mlffjax.potential.convert.read_torch import Module
from mlffjax.potential.mace.config import MaceConfig

MLP = "interactions.1.conv_tp_weights"


def test_hyper_parameters_come_back(root):
    model, neighbors, heads = architecture(root)
    assert model.elements == (24, 51, 52)
    assert model.config == MaceConfig(**torch_checkpoint.SETTINGS)
    assert (neighbors, heads) == (25.0, ("Default",))


def renamed(path: str, kind: str):
    """Give a part another class."""

    def change(root: Module) -> None:
        module = part(root, path) if path else root
        module.kind = replace(module.kind, name=kind)

    return change


def added(path: str, name: str, kind: str):
    """Add a part."""

    def change(root: Module) -> None:
        (part(root, path) if path else root).children[name] = Module(Global("mace.modules", kind))

    return change


def switched(path: str, name: str, value: Any):
    """Set an attribute, or a tensor by that name."""

    def change(root: Module) -> None:
        module = part(root, path) if path else root
        (module.tensors if isinstance(value, np.ndarray) else module.attributes)[name] = value

    return change


def removed(path: str):
    """Take a part away."""

    def change(root: Module) -> None:
        parent, _, name = path.rpartition(".")
        del (part(root, parent) if parent else root).children[name]

    return change


def configured(**state: Any) -> Inert:
    """How a file holds the settings of an accelerator."""
    return Inert(Global("mace.modules.wrapper_ops", "CuEquivarianceConfig"), (), state)


TANH = Global("torch", "tanh")
REFUSED = {
    "dipoles": (renamed("", "AtomicDipolesMACE"), "AtomicDipolesMACE"),
    "scale and shift unused": (renamed("", "MACE"), "MACE with a part scale_shift"),
    "attention": (
        renamed("interactions.0", "RealAgnosticAttResidualInteractionBlock"),
        "interactions.0 is .*AttResidual.*supported there is RealAgnosticInteractionBlock or",
    ),
    "three kinds": (
        lambda root: part(root, "interactions").children.update(
            {"2": Module(Global("mace.modules.blocks", "RealAgnosticInteractionBlock"))}
        ),
        "3 interactions and 2 products",
    ),
    "other functions": (renamed("radial_embedding.bessel_fn", "SplineBasis"), "SplineBasis"),
    "other gaussians": (
        lambda root: (
            renamed("radial_embedding.bessel_fn", "GaussianBasis")(root),
            switched("radial_embedding.bessel_fn", "gaussian_weights", np.ones(4))(root),
            switched("radial_embedding.bessel_fn", "coeff", -1.0)(root),
        ),
        "not as wide",
    ),
    "other transform": (
        added("radial_embedding", "distance_transform", "SquareTransform"),
        "SquareTransform",
    ),
    "repulsion unused": (added("", "pair_repulsion_fn", "ZBLBasis"), "but no pair_repulsion,"),
    "repulsion missing": (switched("", "pair_repulsion", True), "no pair_repulsion_fn"),
    "embeddings": (added("", "joint_embedding", "GenericJointEmbedding"), "joint_embedding"),
    "other readout": (renamed("readouts.1", "LinearDipoleReadoutBlock"), "DipoleReadoutBlock"),
    "linear last readout": (renamed("readouts.1", "LinearReadoutBlock"), "readouts"),
    "readout missing": (removed("readouts.0"), "2 interactions and the readouts NonLinear"),
    "readouts missing": (removed("readouts"), "no part 'readouts'"),
    "product missing": (removed("products.1"), "1 products"),
    "unknown updates": (renamed("interactions.0.linear_up", "LoRALinear"), "LoRALinear"),
    "heads without readouts": (switched("", "heads", ["pbe", "omat"]), "num_heads = 1"),
    "heads of a readout": (switched("readouts.1", "num_heads", 2), "num_heads = 2"),
    "heads without names": (switched("", "heads", [1, 2]), "heads are"),
    "one agnostic product": (
        switched("products.0", "use_agnostic_product", True),
        "agnostic products .*True, False",
    ),
    "a switch of the future": (switched("interactions.0", "use_magic", True), "use_magic = True"),
    "no residual": (switched("products.0", "use_sc", False), "use_sc = False"),
    "cuequivariance": (
        switched("products.0", "cueq_config", configured(enabled=True, layout_str="mul_ir")),
        "CuEquivarianceConfig",
    ),
    "another layout": (
        switched("products.0", "cueq_config", configured(enabled=False, layout_str="ir_mul")),
        "CuEquivarianceConfig",
    ),
    "other normalisation": (
        switched("spherical_harmonics", "normalization", "norm"),
        "normalization = norm",
    ),
    "other harmonics": (switched("spherical_harmonics", "irreps_out", "1x0e+1x2e"), "1x0e"),
    "other parities": (switched("spherical_harmonics", "irreps_out", "1x0e+1x1e+1x2e"), "couples"),
    "no irreps": (switched("interactions.0", "hidden_irreps", 7), "irreps of the file"),
    "no scalars": (switched("interactions.0", "hidden_irreps", "4x1o+4x0e"), "4x1o"),
    "kept irreps": (
        switched("interactions.1", "hidden_irreps", "4x0e+4x1o"),
        "scalars, listed first",
    ),
    "other edge irreps": (switched("interactions.1", "edge_irreps", "2x0e"), "couples irreps"),
    "no edge scalars": (switched("interactions.1", "edge_irreps", "2x1o"), "must contain 0e"),
    "other neighbours": (
        switched("interactions.1", "avg_num_neighbors", 24.0),
        "neighbours .*25.0, 24.0",
    ),
    "no neighbours": (switched("interactions.1", "avg_num_neighbors", None), "one number"),
    "tanh": (switched(f"{MLP}.layer0.act", "f", TANH), "torch.tanh"),
    "other scales": (switched(f"{MLP}.layer0.act", "cst", 1.7), "scales of the activations"),
    "linear MLP": (removed(f"{MLP}.layer0.act"), "without activations"),
    "other widths": (switched(f"{MLP}.layer0", "weight", np.ones((4, 5))), "radial MLPs"),
    "other radii": (switched("radial_embedding.cutoff_fn", "r_max", np.array(4.5)), "cutoff radii"),
    "other prefactor": (
        switched("radial_embedding.bessel_fn", "prefactor", np.array(1.0)),
        "normalised",
    ),
    "other correlation": (
        switched("products.1.symmetric_contractions.contractions.0", "correlation", 2),
        "correlation orders",
    ),
    "no elements": (switched("", "atomic_numbers", np.array([24, 24, 0])), "no elements"),
    "huge basis": (
        switched("spherical_harmonics", "irreps_out", "1x0e+1x1o+1x2e+1x3o+1x4e+1x5o+1x6e"),
        "products of 3 features of 49 components .* 103 GB",
    ),
    "other couplings": (switched("interactions.1.conv_tp", "instructions", []), "couples irreps"),
    "impossible sizes": (
        switched("radial_embedding.cutoff_fn", "p", np.array(1)),
        "hyper-parameters",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_we_do_not_compute_is_refused_by_name(root, case):
    change, message = REFUSED[case]
    change(root)
    with pytest.raises(CompatibilityError, match=message) as caught:
        architecture(root)
    assert "not supported yet" in str(caught.value) or case in {
        "no irreps", "no neighbours", "other prefactor", "no elements", "other couplings",
        "other gaussians", "other parities", "other edge irreps", "heads without names",
    }  # fmt: skip


def test_an_accelerator_may_be_off(root):
    expected = architecture(root)
    off = configured(enabled=False, layout="mul_ir", layout_str="mul_ir", conv_fusion=False)
    for name in ("products.0", "interactions.1"):
        part(root, name).attributes["cueq_config"] = off
    assert architecture(root) == expected
