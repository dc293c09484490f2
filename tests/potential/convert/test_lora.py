"""Low-rank updates are added to the maps they update. (Live, with mace-torch: test_variants.)"""

import numpy as np
import pytest

from mlffjax.errors import CompatibilityError
from mlffjax.potential.convert.inert_pickle import Global, Inert
from mlffjax.potential.convert.lora import merge_updates
from mlffjax.potential.convert.read_torch import Module

INSTRUCTION = Global("e3nn.o3._linear", "Instruction")


def wrapper(kind, *, children=None, tensors=None, base=None):
    return Module(
        Global("mace.modules.lora", kind),
        attributes={"scaling": 0.5},
        tensors=tensors or {},
        children={"base": base, **(children or {})},
    )


def linear(weight, instructions=None, bias=None):
    attributes = {} if instructions is None else {"instructions": instructions}
    tensors = {"weight": weight} | ({} if bias is None else {"bias": bias})
    return Module(Global("e3nn.o3._linear", "Linear"), attributes, tensors)


def merged(module):
    """Through a parent, as in a model."""
    parent = Module(Global("mace.modules.blocks", "Block"), children={"map": module})
    result = merge_updates(parent)
    assert parent.children["map"] is module  # the original is left alone
    return result.children["map"]


def test_dense_and_layered_maps(rng):
    base, low, high = rng.normal(size=(4, 3)), rng.normal(size=(2, 3)), rng.normal(size=(4, 2))
    dense = wrapper(
        "LoRADenseLinear",
        base=linear(base, bias=np.arange(4)),
        children={"lora_A": linear(low), "lora_B": linear(high)},
    )
    found = merged(dense)
    assert found.kind.name == "Linear"
    np.testing.assert_array_equal(found.tensors["bias"], np.arange(4))
    np.testing.assert_allclose(found.tensors["weight"], base + 0.5 * high @ low, rtol=1e-14)
    layer = wrapper("LoRAFCLayer", base=linear(base.T), tensors={"lora_A": low.T, "lora_B": high.T})
    np.testing.assert_allclose(
        merged(layer).tensors["weight"], (base + 0.5 * high @ low).T, rtol=1e-14
    )


def test_equivariant_maps_have_normalisations_of_their_own(rng):
    """Scalars and vectors in; the output has scalars and even vectors, which have no update."""

    def instruction(source, target, shape):
        return Inert(INSTRUCTION, (source, target, shape, 1 / shape[0] ** 0.5))

    bias = Inert(INSTRUCTION, (-1, 0, (5,), 1.0))
    base = linear(rng.normal(size=3 * 5 + 4 * 2), [instruction(0, 0, (3, 5)), bias,
                                                   instruction(1, 1, (4, 2))])  # fmt: skip
    low = linear(rng.normal(size=3 * 2), [instruction(0, 0, (3, 2))])
    high = linear(rng.normal(size=2 * 5), [instruction(0, 0, (2, 5))])
    found = merged(
        wrapper("LoRAO3Linear", base=base, children={"lora_A": low, "lora_B": high})
    ).tensors["weight"]
    before = base.tensors["weight"]
    np.testing.assert_array_equal(found[15:], before[15:])
    x = rng.normal(size=3)
    expected = x @ before[:15].reshape(3, 5) / 3**0.5 + 0.5 * (
        (x @ low.tensors["weight"].reshape(3, 2) / 3**0.5)
        @ high.tensors["weight"].reshape(2, 5)
        / 2**0.5
    )
    np.testing.assert_allclose(x @ found[:15].reshape(3, 5) / 3**0.5, expected, rtol=1e-13)


def test_precision_stays_and_odd_shapes_are_refused():
    ones = np.ones((3, 3), np.float32)
    layer = wrapper("LoRAFCLayer", base=linear(ones), tensors={"lora_A": ones, "lora_B": ones})
    assert merged(layer).tensors["weight"].dtype == np.float32
    layer.tensors["lora_B"] = np.ones((3, 2))
    with pytest.raises(CompatibilityError, match=r"LoRAFCLayer updates .*\(3, 3\) by \(3, 2\)"):
        merge_updates(layer)
