"""Hyper-parameters come back, and whatever we do not compute is refused by its name."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from references import torch_checkpoint

from mlffjax.errors import CompatibilityError
from mlffjax.potential.convert.architecture import architecture, decode_irreps, part
from mlffjax.potential.convert.inert_pickle import Global, Inert
from mlffjax.potential.convert.read_torch import Module
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.irreps import Irrep

MLP = "interactions.1.conv_tp_weights"


def test_hyper_parameters_come_back(root):
    model, neighbors = architecture(root)
    assert model.elements == (24, 51, 52)
    assert model.config == MaceConfig(**torch_checkpoint.SETTINGS)
    assert neighbors == 25.0


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


CUEQ = Inert(Global("mace.modules.wrapper_ops", "CuEquivarianceConfig"), ())
TANH = Global("torch", "tanh")
REFUSED = {
    "without scale and shift": (renamed("", "MACE"), "the model is mace.*MACE, which is not supp"),
    "dipoles": (renamed("", "AtomicDipolesMACE"), "AtomicDipolesMACE"),
    "density": (
        renamed("interactions.0", "RealAgnosticDensityInteractionBlock"),
        "interactions.0 is .*Density",
    ),
    "not residual": (
        renamed("interactions.0", "RealAgnosticInteractionBlock"),
        "RealAgnosticInteractionBlock",
    ),
    "nonlinear": (
        renamed("interactions.1", "RealAgnosticResidualNonLinearInteractionBlock"),
        "NonLinearInter",
    ),
    "gaussians": (renamed("radial_embedding.bessel_fn", "GaussianBasis"), "GaussianBasis"),
    "chebyshev": (renamed("radial_embedding.bessel_fn", "ChebychevBasis"), "ChebychevBasis"),
    "agnesi": (
        added("radial_embedding", "distance_transform", "AgnesiTransform"),
        "AgnesiTransform",
    ),
    "repulsion": (added("", "pair_repulsion_fn", "ZBLBasis"), "pair_repulsion_fn is .*ZBLBasis"),
    "repulsion switch": (switched("", "pair_repulsion", True), "pair_repulsion = True"),
    "embeddings": (added("", "joint_embedding", "GenericJointEmbedding"), "joint_embedding"),
    "biased readout": (
        renamed("readouts.1", "NonLinearBiasReadoutBlock"),
        "NonLinearBiasReadoutBlock",
    ),
    "linear last readout": (renamed("readouts.1", "LinearReadoutBlock"), "readouts"),
    "last readout only": (removed("readouts.0"), "1 of|readouts"),
    "product missing": (removed("products.1"), "1 products"),
    "readouts missing": (removed("readouts"), "no part 'readouts'"),
    "LoRA": (renamed("interactions.0.linear_up", "LoRALinear"), "LoRALinear"),
    "several heads": (
        switched("", "heads", ["pbe", "omat"]),
        "2 heads .pbe, omat.*mace_select_head",
    ),
    "heads of a readout": (switched("readouts.1", "num_heads", 2), "num_heads = 2"),
    "late cutoff": (switched("radial_embedding", "apply_cutoff", False), "apply_cutoff = False"),
    "agnostic product": (
        switched("products.0", "use_agnostic_product", True),
        "use_agnostic_product",
    ),
    "so3": (switched("", "use_so3", True), "use_so3 = True"),
    "a switch of the future": (switched("interactions.0", "use_magic", True), "use_magic = True"),
    "no residual": (switched("products.0", "use_sc", False), "use_sc = False"),
    "cuequivariance": (switched("products.0", "cueq_config", CUEQ), "CuEquivarianceConfig"),
    "other normalisation": (
        switched("spherical_harmonics", "normalization", "norm"),
        "normalization = norm",
    ),
    "even harmonics": (switched("spherical_harmonics", "irreps_out", "1x0e+1x1e+1x2e"), "1x1e"),
    "no irreps": (switched("interactions.0", "hidden_irreps", 7), "irreps of the file"),
    "no scalars": (switched("interactions.0", "hidden_irreps", "4x1o+4x0e"), "4x1o"),
    "kept irreps": (
        switched("interactions.1", "hidden_irreps", "4x0e+4x1o"),
        "scalars, listed first",
    ),
    "edge irreps": (switched("interactions.1", "edge_irreps", "2x0e"), "edge_irreps 2x0e"),
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
        "max_ell 6 with correlation 3 .* 103 GB",
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
        "no irreps", "no neighbours", "other prefactor", "no elements", "other couplings"
    }  # fmt: skip


def test_irreps_are_read_from_text_and_from_records():
    def record_of(name: str, content: tuple) -> Inert:
        return Inert(Global("e3nn.o3._irreps", name), (content,))

    irreps = [record_of("Irrep", (0, 1)), record_of("Irrep", (1, -1))]
    record = record_of("Irreps", tuple(record_of("_MulIr", (4, irrep)) for irrep in irreps))
    expected = [(4, Irrep(0, 1)), (4, Irrep(1, -1))]
    assert decode_irreps(record) == decode_irreps("4x0e+4x1o") == expected
