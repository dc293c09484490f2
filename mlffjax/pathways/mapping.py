"""One function along a leading axis: in sequence on CPUs, all at once on accelerators."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import jax

from mlffjax import trees
from mlffjax.arrays import PyTree

Result = TypeVar("Result")

# Structures of some tens of atoms evaluated together on an accelerator. More of them bring no
# speed and cost memory in proportion.
LANES = 64
ALIKE = 1.25  # structures whose numbers of atoms differ by less than this factor share a shape


def lanes(count: int) -> int:
    """How many of ``count`` evaluations to vectorise over on the present device.

    One structure already fills the cores of a CPU, where more at once only cost memory and cache.
    """
    return 1 if jax.default_backend() == "cpu" else min(count, LANES)


def mapped(function: Callable[[PyTree], Result], tree: PyTree, *, together: bool = False) -> Result:
    """Apply ``function`` to every element of the leading axis of ``tree``; stack the results.

    Args:
        function: of one element.
        tree: its leaves share the axis.
        together: vectorise over the axis on every device; for what is computed elsewhere.
    """
    count = trees.length(tree)
    return jax.lax.map(function, tree, batch_size=count if together else lanes(count))


def alike(sizes: Sequence[int]) -> list[list[int]]:
    """Indices of sizes, grouped so that padding to the largest of a group costs little."""
    groups: list[list[int]] = []
    for index in sorted(range(len(sizes)), key=lambda n: sizes[n]):
        if groups and sizes[index] <= ALIKE * sizes[groups[-1][0]]:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
