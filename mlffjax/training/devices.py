"""Training with the rows of a batch spread over devices, of one process or of several.

Every device holds all weights and a part of the structures of each batch. Neighbours are in the
same structure, so devices exchange nothing but counts, losses and gradients: a step equals that of
one device up to the order of sums. Processes (``jax.distributed``) do the same work in the same
order, and what could differ between them, clocks and scores, is that of the first one.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mlffjax.arrays import Array, Float, PyTree
from mlffjax.errors import TrainingError
from mlffjax.training import spread
from mlffjax.training.batches import Batch
from mlffjax.training.config import TrainingConfig
from mlffjax.training.leash import Leash
from mlffjax.training.losses import Loss
from mlffjax.training.optimizers import Optimizer
from mlffjax.training.step import State, step

Tree = TypeVar("Tree")
Result = TypeVar("Result")

WHOLE, ROWS = PartitionSpec(), PartitionSpec(spread.AXIS)
LONGEST = 2000
"""Bytes of an error that the other processes are told."""


class Unanimous(TrainingError):
    """An error of one process that all processes raise, so that all can do something else."""


def mesh_for(config: TrainingConfig) -> Mesh | None:
    """The devices that ``config.devices`` asks for; None for one device of one process.

    ``auto`` takes as many devices as divide a batch.

    Raises:
        TrainingError: there are fewer devices than asked for, they do not divide a batch, or not
            all of several processes could take part.
    """
    processes, present = jax.process_count(), jax.device_count()
    wanted = _largest(config.batch, present) if config.devices == "auto" else config.devices
    if wanted > present:
        raise TrainingError(
            f"training.devices: expected at most the {present} devices there are, got {wanted}; "
            "lower it or set it to auto"
        )
    if config.batch % wanted:
        raise TrainingError(
            f"training.devices: expected a number that divides training.batch, got {wanted} for "
            f"batches of {config.batch}; take batches of {-(-config.batch // wanted) * wanted}, or "
            f"{_largest(config.batch, wanted)} devices"
        )
    if processes > 1 and wanted != present:
        raise TrainingError(
            f"training.devices: expected all {present} devices of the {processes} processes to "
            f"share a batch, got {wanted} for batches of {config.batch}; set it to auto and "
            f"training.batch to a multiple of {present}, or start one process"
        )
    return None if wanted == 1 else Mesh(np.array(jax.devices()[:wanted]), (spread.AXIS,))


def _largest(batch: int, present: int) -> int:
    return max(count for count in range(1, present + 1) if batch % count == 0)


def replicated(tree: Tree, mesh: Mesh | None) -> Tree:
    """Arrays that every device of the mesh holds whole, from arrays that every process holds.

    Python numbers stay as they are, for they take the type of what they meet.
    """
    if mesh is None:
        return tree
    sharding = NamedSharding(mesh, WHOLE)

    def place(leaf: Any) -> Any:
        if isinstance(leaf, int | float):
            return leaf
        if jax.process_count() == 1:
            return jax.device_put(leaf, sharding)
        own = [jax.device_put(leaf, device) for device in sharding.addressable_devices]
        return jax.make_array_from_single_device_arrays(own[0].shape, sharding, own)

    return jax.tree.map(place, tree)


def local(tree: Tree, mesh: Mesh | None) -> Tree:
    """Replicated arrays as arrays of one device of this process."""
    if mesh is None:
        return tree
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def distributed(batch: Batch, mesh: Mesh) -> Batch:
    """A batch that every process holds, with its rows spread over the devices of the mesh."""
    count = jax.process_count()
    if count == 1:
        return jax.device_put(batch, NamedSharding(mesh, ROWS))
    own = _block(batch, jax.process_index(), count=count)
    here = NamedSharding(Mesh(np.array(mesh.local_devices), (spread.AXIS,)), ROWS)
    everywhere = NamedSharding(mesh, ROWS)

    def join(leaf: Array) -> Array:
        parts = [shard.data for shard in leaf.addressable_shards]
        shape = (leaf.shape[0] * count, *leaf.shape[1:])
        return jax.make_array_from_single_device_arrays(shape, everywhere, parts)

    return jax.tree.map(join, jax.device_put(own, here))


@functools.partial(jax.jit, static_argnames="count")
def _block(batch: Batch, number: Array, *, count: int) -> Batch:
    """One of ``count`` equal parts of the rows; indices stay those of the whole batch."""

    def cut(leaf: Array) -> Array:
        length = leaf.shape[0] // count
        return jax.lax.dynamic_slice_in_dim(leaf, number * length, length)

    return jax.tree.map(cut, batch)


@functools.partial(jax.jit, static_argnames=("optimizer", "mesh"))
def advance(
    state: State,
    batch: Batch,
    *,
    loss: Loss,
    penalty: Callable[[PyTree], Float[Array, ""]],
    rate: float,
    decay: float,
    optimizer: Optimizer,
    mesh: Mesh,
    leash: Leash | None = None,
) -> State:
    """``step.step`` on a batch from ``distributed``, with everything else ``replicated``."""

    def part(
        state: State, batch: Batch, loss: Any, penalty: Any, rate: Any, decay: Any, leash: Any
    ) -> State:
        return step(
            state,
            _renumbered(batch),
            loss=loss,
            penalty=penalty,
            rate=rate,
            decay=decay,
            optimizer=optimizer,
            leash=leash,
        )

    return jax.shard_map(
        part,
        mesh=mesh,
        in_specs=(WHOLE, ROWS, WHOLE, WHOLE, WHOLE, WHOLE, WHOLE),
        out_specs=WHOLE,
        check_vma=False,  # sums over devices are written out in ``step``
    )(state, batch, loss, penalty, rate, decay, leash)


def _renumbered(batch: Batch) -> Batch:
    """The rows of one device with indices that start at its own first atom, edge and structure."""
    graph, number = batch.graph, spread.number()
    atoms, slots = graph.neighbors.shape
    return batch._replace(
        graph=graph._replace(
            neighbors=graph.neighbors - number * atoms,
            reverse=graph.reverse - number * atoms * slots,
            atom_graph=graph.atom_graph - number * graph.cell.shape[0],
        )
    )


def agreed(values: Tree) -> Tree:
    """Numbers of the first process, for all processes."""
    if jax.process_count() == 1:
        return values
    # Bytes, for jax without 64-bit numbers would round them.
    leaves, structure = jax.tree.flatten(values)
    arrays = [np.asarray(leaf) for leaf in leaves]
    sent = [np.frombuffer(array.tobytes(), np.uint8) for array in arrays]
    got = multihost_utils.broadcast_one_to_all(sent)
    back = [
        np.frombuffer(np.asarray(x).tobytes(), a.dtype) for x, a in zip(got, arrays, strict=True)
    ]
    return jax.tree.unflatten(structure, [array.item() for array in back])


def sent(content: bytes) -> bytes:
    """Bytes of the first process, for all processes."""
    size = agreed(len(content))
    own = np.frombuffer(content.ljust(size, b"\0")[:size], np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(own)).tobytes()


def unanimous(action: Callable[[], Result]) -> Result:
    """What an action gives, if it succeeds in all processes.

    Args:
        action: does not wait for other processes; all of them call this function.

    Raises:
        Unanimous: it raised an error in some of several processes.
        Exception: what it raised in the only process.
    """
    if jax.process_count() == 1:
        return action()
    own: Exception | None = None
    result: Result | None = None
    try:
        result = action()
    except Exception as error:
        own = error
    said = "" if own is None else f"{type(own).__name__}: {own}"
    padded = said.encode()[:LONGEST].ljust(LONGEST, b"\0")
    everything = multihost_utils.process_allgather(np.frombuffer(padded, np.uint8))
    for heard in np.asarray(everything):
        if text := heard.tobytes().rstrip(b"\0").decode(errors="replace"):
            raise Unanimous(text) from own
    return cast("Result", result)


def is_first() -> bool:
    """Whether this process is the one that writes files and talks to the user."""
    return jax.process_index() == 0
