"""One head of a model that was trained with several reference methods.

Heads share all but reference energies, scale, shift and readouts. In a readout's hidden layer every
head has channels of its own, and mace-torch silences those of the others; what is silent is left
out here, and the number of channels that e3nn divides by is made up for.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mlffjax.errors import CompatibilityError


class Share(NamedTuple):
    """How many heads share a tensor, which one is wanted, and the channels of the features."""

    heads: int
    index: int
    channels: int


def choose_head(heads: Sequence[str], wanted: str | None) -> int:
    """Index of the head that is asked for; by default the only one, or else that called Default.

    Raises:
        CompatibilityError: there is no such head, or the choice is not clear; the message lists
            all heads.
    """
    listed = ", ".join(heads)
    if wanted is None:
        found = [k for k, head in enumerate(heads) if len(heads) == 1 or head.lower() == "default"]
        if len(found) != 1:
            raise CompatibilityError(f"the model has {len(heads)} heads; choose one of: {listed}")
        return found[0]
    if wanted not in heads:
        raise CompatibilityError(f"the model has no head {wanted!r}; choose one of: {listed}")
    return list(heads).index(wanted)


def keep_head(tensors: Mapping[str, np.ndarray], share: Share) -> dict[str, np.ndarray]:
    """Tensors of the model with one head, by torch name.

    Raises:
        CompatibilityError: a tensor cannot be divided among so many heads.
    """
    kept = dict(tensors)
    for name, tensor in tensors.items() if share.heads > 1 else ():
        for pattern, pick in PICKS.items():
            if not re.fullmatch(pattern, name) or not tensor.size:
                continue
            try:
                kept[name] = pick(tensor, share)
            except (IndexError, ValueError) as error:
                raise CompatibilityError(
                    f"{name} has shape {tensor.shape}, which {share.heads} heads cannot share; it "
                    "is not supported yet"
                ) from error
    return kept


def _row(tensor: np.ndarray, share: Share) -> np.ndarray:
    """[heads, ...]: reference energies, biases."""
    return tensor.reshape(share.heads, -1)[share.index]


def _number(tensor: np.ndarray, share: Share) -> np.ndarray:
    """[heads]: scale and shift."""
    return tensor.reshape(share.heads)[share.index]


def _columns(tensor: np.ndarray, share: Share) -> np.ndarray:
    """[channels, heads, hidden channels of one head]: into the hidden layer, or to energies."""
    return tensor.reshape(share.channels, share.heads, -1)[:, share.index].reshape(-1)


def _middle(tensor: np.ndarray, share: Share) -> np.ndarray:
    """[heads, width, heads, width] of the hidden layers, divided by the root of all channels."""
    heads, width = share.heads, round((tensor.size / share.heads**2) ** 0.5)
    own = tensor.reshape(heads, width, heads, width)[share.index, :, share.index]
    return own.reshape(-1) / heads**0.5


def _last(tensor: np.ndarray, share: Share) -> np.ndarray:
    """[heads, width, heads] from the hidden layer, divided by the root of all its channels."""
    own = tensor.reshape(share.heads, -1, share.heads)[share.index, :, share.index]
    return own / share.heads**0.5


PICKS: dict[str, Callable[[np.ndarray, Share], np.ndarray]] = {
    r"atomic_energies_fn\.atomic_energies": _row,
    r"scale_shift\.(scale|shift)": _number,
    r"readouts\.\d+\.(linear|linear_1)\.weight": _columns,
    r"readouts\.\d+\.linear_mid\.weight": _middle,
    r"readouts\.\d+\.linear_2\.weight": _last,
    r"readouts\.\d+\.(linear_mid|linear_2)\.bias": _row,
}
"""How the tensors that heads do not have in common are divided, by a pattern of their names."""
