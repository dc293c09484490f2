"""One probe on many potentials, the potentials spread over the devices of this process."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from mlffjax import trees
from mlffjax.arrays import PyTree
from mlffjax.pathways.mapping import lanes, mapped
from mlffjax.potential.base import Potential

AXIS = "potentials"


def width(count: int) -> int:
    """How many of ``count`` potentials to hand to ``measured`` at a time."""
    return min(count, lanes(count) * jax.local_device_count())


def measured(measure: Any, potentials: Sequence[Potential]) -> list[PyTree]:
    """What a compiled probe says about potentials of one structure, on the host.

    Args:
        measure: potential -> arrays, as a ``jax.tree_util.Partial``.
        potentials: at least two; each device takes an equal share of them.
    """
    devices = np.array(jax.local_devices()[: len(potentials)])
    # The last shares are filled up with a potential whose numbers nobody reads.
    empty = -len(potentials) % len(devices)
    stacked = trees.stack([*potentials, *[potentials[-1]] * empty])
    results = _measure(measure, stacked, mesh=Mesh(devices, (AXIS,)))
    return trees.unstack(jax.device_get(results))[: len(potentials)]


@functools.partial(jax.jit, static_argnames="mesh")
def _measure(measure: Any, potentials: Potential, *, mesh: Mesh) -> PyTree:
    everywhere, parts = PartitionSpec(), PartitionSpec(AXIS)
    spread = jax.shard_map(
        mapped_with,
        mesh=mesh,
        in_specs=(everywhere, parts),
        out_specs=parts,
        check_vma=False,  # devices exchange nothing
    )
    return spread(measure, potentials)


def mapped_with(measure: Any, potentials: Potential) -> PyTree:
    """``mapped`` with the function as an argument, so that its arrays are data."""
    return mapped(measure, potentials)
