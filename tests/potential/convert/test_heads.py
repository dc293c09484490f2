"""One head is what remains when the hidden channels of the others are silent."""

import numpy as np
import pytest

from mlffjax.errors import CompatibilityError
from mlffjax.potential.convert.heads import Share, choose_head, keep_head

HEADS, CHANNELS, WIDTH = 3, 5, 4


def silu(x):
    return x / (1 + np.exp(-x))


def read_out(tensors, features, mask):
    """A biased readout of e3nn: maps are divided by the root of their fan-in."""
    hidden = features
    for name in ("linear_1", "linear_mid", "linear_2"):
        weight = tensors[f"readouts.0.{name}.weight"].reshape(hidden.shape[-1], -1)
        hidden = hidden @ weight / hidden.shape[-1] ** 0.5
        hidden = hidden + tensors.get(f"readouts.0.{name}.bias", np.zeros(1))
        if name != "linear_2":
            hidden = silu(hidden) * mask
    return hidden


def test_a_head_is_what_masks_leave(rng):
    total = HEADS * WIDTH
    shapes = {
        "linear_1.weight": CHANNELS * total, "linear_mid.weight": total**2,
        "linear_mid.bias": total, "linear_2.weight": total * HEADS, "linear_2.bias": HEADS,
        "linear_1.bias": 0,
    }  # fmt: skip
    tensors = {f"readouts.0.{name}": rng.normal(size=size) for name, size in shapes.items()}
    tensors["scale_shift.scale"] = rng.normal(size=HEADS)
    tensors["atomic_energies_fn.atomic_energies"] = rng.normal(size=(HEADS, 7))
    features = rng.normal(size=(6, CHANNELS))
    whole = tensors | {"readouts.0.linear_1.bias": np.zeros(1)}
    for index in range(HEADS):
        kept = keep_head(tensors, Share(HEADS, index, CHANNELS))
        mask = np.repeat(np.arange(HEADS) == index, WIDTH)
        expected = read_out(whole, features, mask)[:, index]
        found = read_out(kept | {"readouts.0.linear_1.bias": np.zeros(1)}, features, 1)[:, 0]
        np.testing.assert_allclose(found, expected, rtol=1e-13)  # sums of some ten products
        assert kept["scale_shift.scale"] == tensors["scale_shift.scale"][index]
        energies = "atomic_energies_fn.atomic_energies"
        np.testing.assert_array_equal(kept[energies], tensors[energies][index])


def test_single_precision_stays():
    tensors = {"readouts.1.linear_2.weight": np.ones(2 * 2 * 3, np.float32)}
    assert keep_head(tensors, Share(2, 0, 4))["readouts.1.linear_2.weight"].dtype == np.float32


def test_tensors_that_cannot_be_shared_are_named():
    with pytest.raises(CompatibilityError, match=r"scale_shift\.scale .* 2 heads cannot share"):
        keep_head({"scale_shift.scale": np.ones(3)}, Share(2, 0, 4))


@pytest.mark.parametrize(
    ("heads", "wanted", "index"),
    [
        (["anything"], None, 0),
        (["pt_head", "default"], None, 1),
        (["pbe", "Default"], "pbe", 0),
    ],
)
def test_the_head_that_is_meant(heads, wanted, index):
    assert choose_head(heads, wanted) == index


@pytest.mark.parametrize(("heads", "wanted"), [(["a", "b"], None), (["a"], "b"), (["a", "A"], "B")])
def test_without_a_clear_choice_all_heads_are_listed(heads, wanted):
    with pytest.raises(CompatibilityError, match=f"choose one of: {', '.join(heads)}"):
        choose_head(heads, wanted)
