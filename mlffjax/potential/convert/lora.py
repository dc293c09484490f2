"""Models with low-rank updates (LoRA) that were saved before the updates were added up.

mace-torch wraps a linear map W as W + scaling A B. Afterwards the map takes the wrapper's place, as
its ``merge_lora_weights`` does.
"""

from dataclasses import replace
from itertools import accumulate

import numpy as np

from mlffjax.errors import CompatibilityError
from mlffjax.potential.convert.inert_pickle import Inert
from mlffjax.potential.convert.parts import number, part
from mlffjax.potential.convert.read_torch import Module

Key = tuple[int, int]


def merge_updates(root: Module) -> Module:
    """The module with every wrapped map replaced by the sum; the module itself is left alone.

    Raises:
        CompatibilityError: a wrapper does not hold what mace-torch puts into it.
    """
    children = {name: merge_updates(child) for name, child in root.children.items()}
    merged = replace(root, children=children)
    merge = MERGE.get(root.kind.name)
    if merge is None or not root.kind.module.startswith("mace."):
        return merged
    scaling = number(root.attributes.get("scaling"))
    base = part(merged, "base")
    weight = base.tensors["weight"]
    delta = merge(merged, weight)
    if delta.shape != weight.shape:
        raise CompatibilityError(
            f"a {root.kind} updates weights of shape {weight.shape} by {delta.shape}, which is not "
            "supported yet"
        )
    total = (weight + scaling * delta).astype(weight.dtype)
    return replace(base, tensors=base.tensors | {"weight": total})


def _dense(wrapper: Module, weight: np.ndarray) -> np.ndarray:
    """torch's own linear map, [out, in]."""
    del weight
    low, high = (part(wrapper, name).tensors["weight"] for name in ("lora_A", "lora_B"))
    return high @ low


def _layer(wrapper: Module, weight: np.ndarray) -> np.ndarray:
    """A layer of e3nn's perceptron, [in, out]."""
    del weight
    return wrapper.tensors["lora_A"] @ wrapper.tensors["lora_B"]


def _equivariant(wrapper: Module, weight: np.ndarray) -> np.ndarray:
    """e3nn's linear map: block by block, each map with normalisations of its own."""
    low, high = (_blocks(part(wrapper, name)) for name in ("lora_A", "lora_B"))
    parts = []
    for (source, target), (block, norm) in _blocks(part(wrapper, "base")).items():
        delta = np.zeros_like(block)
        for (first, middle), (down, down_norm) in low.items():
            if first == source and (middle, target) in high:
                up, up_norm = high[middle, target]
                delta = delta + down_norm * up_norm / norm * (down @ up)
        parts.append(delta.reshape(-1))
    return np.concatenate(parts) if parts else np.zeros_like(weight)


def _blocks(linear: Module) -> dict[Key, tuple[np.ndarray, float]]:
    """Blocks of an e3nn linear map and their normalisations, by irrep in and irrep out."""
    found = [
        item.arguments
        for item in linear.attributes.get("instructions") or ()
        if isinstance(item, Inert) and item.arguments[0] >= 0  # the others are biases
    ]
    shapes = [tuple(arguments[2]) for arguments in found]
    ends = list(accumulate((int(np.prod(shape)) for shape in shapes), initial=0))
    weight = linear.tensors["weight"]
    return {
        (arguments[0], arguments[1]): (
            weight[first:last].reshape(shape),
            number(arguments[3]),
        )
        for arguments, shape, first, last in zip(found, shapes, ends, ends[1:], strict=False)
    }


MERGE = {"LoRADenseLinear": _dense, "LoRAFCLayer": _layer, "LoRAO3Linear": _equivariant}
"""Wrappers of mace-torch, and what they add."""
