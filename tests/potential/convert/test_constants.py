"""Every tensor that is no weight is compared with what we compute; the rest is named."""

import numpy as np
import pytest
from ase.data import covalent_radii

from mlffjax.errors import CompatibilityError
from mlffjax.potential.convert.architecture import architecture
from mlffjax.potential.convert.constants import check_constants
from mlffjax.potential.mace.irreps import coupling_coefficients

CONTRACTION = "products.0.symmetric_contractions.contractions.1"


@pytest.fixture
def checkpoint(root):
    return root.named_tensors(), architecture(root).model


def rounded(tensors, dtype):
    return {k: v.astype(dtype) if v.dtype == np.float64 else v for k, v in tensors.items()}


def test_those_of_mace_torch_pass_in_both_precisions(checkpoint):
    tensors, model = checkpoint
    check_constants(tensors, model)
    check_constants(rounded(tensors, np.float32), model)


def test_a_float64_basis_must_be_exact(checkpoint):
    tensors, model = checkpoint
    truncated = rounded(rounded(tensors, np.float32), np.float64)
    truncated |= {k: v.astype(np.float64) for k, v in truncated.items() if v.dtype == np.float32}
    with pytest.raises(CompatibilityError, match=r"U_matrix_\d spans another basis"):
        check_constants(truncated, model)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_another_basis_is_refused(checkpoint, degree):
    tensors, model = checkpoint
    name = f"{CONTRACTION}.U_matrix_{degree}"
    stored = tensors[name]
    turned = stored.copy()
    turned[..., 0] *= -1
    with pytest.raises(CompatibilityError, match=f"U_matrix_{degree} spans another basis"):
        check_constants(tensors | {name: turned}, model)
    with pytest.raises(CompatibilityError, match="spans another basis"):
        check_constants(tensors | {name: stored[..., :-1]}, model)


def test_the_order_of_factors_is_free(checkpoint):
    """Components of one vector are multiplied, so a basis with its axes exchanged is the same."""
    tensors, model = checkpoint
    name = f"{CONTRACTION}.U_matrix_3"
    check_constants(tensors | {name: tensors[name].transpose(0, 3, 1, 2, 4)}, model)


COUPLING = "interactions.1.conv_tp._compiled_main_left_right._w3j_1_2_1"
BAD = {
    "new.weight": (np.ones(3), "new.weight"),
    "interactions.0.linear.bias": (np.ones(3), "biases"),
    "interactions.0.linear.output_mask": (np.array([1, 0.5]), "no mask"),
    f"{CONTRACTION}.weights_0_zeroed": (np.ones(2), "no flag"),
    f"{CONTRACTION}.weights.2": (np.zeros((3, 1, 4)), "weights.2 is more than"),
    "radial_embedding.distance_transform.covalent_radii": (np.ones(119), "differs from ASE's"),
    "pair_repulsion_fn.covalent_radii": (covalent_radii[:52], "one radius an element"),
    "pair_repulsion_fn.p": (np.array(6), "supported is that of the cutoff, 5"),
    "radial_embedding.bessel_fn.n": (np.array([[1, 2, 4, 3]]), "count degrees"),
    COUPLING: (-coupling_coefficients(1, 2, 1), "Clebsch-Gordan"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_has_no_meaning_here_is_refused(checkpoint, name):
    tensors, model = checkpoint
    tensor, message = BAD[name]
    with pytest.raises(CompatibilityError, match=message):
        check_constants(tensors | {name: tensor}, model)


def test_tables_may_be_rounded(checkpoint):
    tensors, model = checkpoint
    name = "radial_embedding.distance_transform.covalent_radii"
    check_constants(tensors | {name: covalent_radii.astype(np.float32)}, model)
    other = covalent_radii.copy()
    other[6] = 9.9  # of carbon, which the model does not know
    check_constants(tensors | {name: other}, model)


def test_coupling_coefficients_may_be_stored(checkpoint):
    tensors, model = checkpoint
    check_constants(tensors | {COUPLING: coupling_coefficients(1, 2, 1).astype(np.float32)}, model)
