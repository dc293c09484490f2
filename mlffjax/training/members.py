"""Runs that may be trained together, and which of them one compiled program serves."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlffjax import trees
from mlffjax.arrays import PyTree
from mlffjax.errors import CompatibilityError, TrainingError
from mlffjax.structures.system import Frame
from mlffjax.training.batches import Sample
from mlffjax.training.checkpoints import Keeper
from mlffjax.training.config import TrainingConfig
from mlffjax.training.crew import Terms
from mlffjax.training.fit import check
from mlffjax.training.history import Progress
from mlffjax.training.pool import labels_and_structure
from mlffjax.training.recipe import Recipe
from mlffjax.training.shards import Layout, record_bytes
from mlffjax.training.step import as_pytree
from mlffjax.training.storage import SAMPLE_NEIGHBOR, lists_bytes, room


class Member(NamedTuple):
    """One run, with the arguments of ``fit.fit``."""

    recipe: Recipe
    train: Sequence[Frame]
    validation: Sequence[Frame]
    config: TrainingConfig
    seed: int
    observe: Callable[[Progress], None] = lambda progress: None
    checkpoint: Keeper | None = None


def groups(members: Sequence[Member]) -> tuple[tuple[int, ...], ...]:
    """Numbers of the members that share a program; the others are alone in their group."""
    together: dict[Hashable, list[int]] = {}
    for number, member in enumerate(members):
        alone = only_alone(member) is not None
        together.setdefault(number if alone else _program(member), []).append(number)
    return tuple(map(tuple, together.values()))


def only_alone(member: Member) -> str | None:
    """Why a member cannot step in company; None if it can."""
    if not jax.tree.leaves(member.recipe.trainable):
        return "it has nothing to train"
    if member.config.max_seconds is not None:
        return "max_seconds limits the time of a run, which in company is that of others too"
    if member.config.storage == "disk":
        return "storage disk keeps its structures apart"
    if member.config.storage == "auto" and _fills_memory(member):
        return "its structures would fill the memory and are read from disk"
    several = jax.device_count() > 1 and member.config.devices == "auto"
    if several or member.config.devices not in (1, "auto") or jax.process_count() > 1:
        return "its batches are spread over devices or processes"
    return None


def _fills_memory(member: Member) -> bool:
    potential = jax.eval_shape(as_pytree(member.recipe.realize), member.recipe.trainable)
    systems = [frame.system for frame in (*member.train, *member.validation)]
    return lists_bytes(systems, potential.cutoff, each=SAMPLE_NEIGHBOR) > room()


def _program(member: Member) -> Hashable:
    """Equal for members that one compiled program serves."""
    recipe, config = member.recipe, member.config
    dynamic = trees.cast(recipe.trainable, config.precision), terms(member), realize(member)
    leaves = jax.tree.leaves(dynamic)
    kinds = tuple((np.shape(leaf), str(jnp.result_type(leaf))) for leaf in leaves)
    start = jax.eval_shape(recipe.optimizer.init, dynamic[0])
    return (
        recipe.optimizer.update,
        jax.tree.structure((dynamic, start)),
        kinds,
        (config.batch, config.precision, config.buckets),
    )


def require_one_program(members: Sequence[Member]) -> None:
    """Refuse members that cannot be trained together.

    Raises:
        CompatibilityError: they do not share a program.
        TrainingError: there are none, or one of them cannot be trained at all or not in company.
    """
    if not members:
        raise TrainingError("expected at least one run to train, got none")
    for number, member in enumerate(members):
        check(member.train, member.validation, member.config)
        if reason := only_alone(member):
            raise TrainingError(f"run {number} cannot be trained in a fleet: {reason}; use fit")
    first = _program(members[0])
    if odd := [number for number, member in enumerate(members) if _program(member) != first]:
        raise CompatibilityError(
            f"runs of one program are needed to train them together, but runs {odd} differ from "
            "run 0 in architecture, optimizer, kind of loss, penalty or leash, batch, precision or "
            "buckets; use groups"
        )


def terms(member: Member) -> Terms:
    """What is minimised; numbers of Python get the precision of training, as in ``fit``."""
    loss, penalty = as_pytree(member.recipe.loss), as_pytree(member.recipe.penalty)
    # The factor of early averages is float32 in every precision, and so is the smaller of the two.
    decay = np.float32(member.config.ema or 0.0)
    return Terms(
        _numbers(loss, member),
        _numbers(penalty, member),
        decay,  # pyright: ignore[reportArgumentType]
        member.recipe.leash,
    )


def realize(member: Member) -> Any:
    """From weights to a potential, as data."""
    return _numbers(as_pytree(member.recipe.realize), member)


def _numbers(tree: PyTree, member: Member) -> Any:
    def convert(leaf: Any) -> Any:
        return np.asarray(leaf, member.config.precision) if isinstance(leaf, float) else leaf

    return jax.tree.map(convert, tree)


def require_room(sets: Sequence[Sequence[Sample]], layout: Layout, config: TrainingConfig) -> None:
    """Refuse structures that ``storage.open_feeds`` would keep on disk.

    Raises:
        TrainingError: those of all runs do not fit into memory.
    """
    distinct = {labels_and_structure(sample): sample for run in sets for sample in run}
    needed = sum(record_bytes(sample, layout) for sample in distinct.values())
    free = room() if config.storage == "auto" else None
    if free is not None and needed > free:
        raise TrainingError(
            f"expected the structures of all runs to fit into memory, got {needed / 1e9:.2g} GB "
            f"for {free / 1e9:.2g} GB; fit keeps those of one run on disk"
        )


def stacked_on_host(parts: Sequence[Any]) -> Any:
    """Trees of several members as one.

    Joined on the device, every shape of a leaf would be a compilation.
    """
    return jax.device_put(trees.stack(jax.device_get(list(parts))))
