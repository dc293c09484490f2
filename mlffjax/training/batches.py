"""Labelled structures in fixed shapes, from which every epoch draws new batches on the device.

Each structure is padded once, alone, to the shape of its bucket and lies on the device in arrays
with a leading axis. A batch is a gather of rows, flattened into one graph: which structures meet
in a batch changes every epoch, but the shapes do not, so a training step is compiled once per
bucket and batch size, whatever the number of structures.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from mlffjax import trees
from mlffjax.arrays import Array, Bool, Float, Int
from mlffjax.errors import CapacityError, TrainingError
from mlffjax.graphs.batching import SLOT_STEP, Shape, assemble, species_of
from mlffjax.graphs.graph import Graph
from mlffjax.graphs.neighbors import neighbors_within
from mlffjax.potential.base import Potential
from mlffjax.structures.system import Frame, System
from mlffjax.training.workers import answers, helpers

WORTHWHILE = 0.15
"""Another bucket must save this fraction of the padded work, for it costs a compilation."""
SHARE = 256
"""Structures whose neighbours one process counts at once."""
WORTH_PROCESSES = 8
"""Shares from which on more processes than one count; each takes seconds to start."""
EMPTY = -1
"""Row number of a place in a batch that holds no structure."""


class Sample(NamedTuple):
    """One structure as training sees it."""

    system: System
    energy: float | None  # interaction energy: total minus reference energies, eV
    forces: np.ndarray  # f8 [atoms, 3], eV/Å
    stress: np.ndarray | None  # f8 [3, 3], eV/Å³
    weight: float = 1.0  # factor of its terms in the loss
    head: int = 0  # which set of labels it carries; for losses that tell sets apart


class Batch(NamedTuple):
    """A few structures as one graph, with labels; padded structures have weight 0."""

    graph: Graph
    energy: Float[Array, "graphs"]  # interaction energy, eV; 0 where there is no label
    forces: Float[Array, "atoms 3"]  # eV/Å
    stress: Float[Array, "graphs 3 3"]  # eV/Å³; 0 where there is no label
    weight: Float[Array, "graphs"]
    has_energy: Bool[Array, "graphs"]
    has_stress: Bool[Array, "graphs"]
    head: Int[Array, "graphs"]


class Bucket(NamedTuple):
    """Samples of one shape; ``rows`` stacks batches of one structure each [samples, ...]."""

    rows: Batch
    index: np.ndarray  # i4 [samples], position of each row in the sequence it was made from


class Indexed(Protocol):
    """Anything with rows of one shape; where they are is its own affair."""

    @property
    def index(self) -> np.ndarray:
        """Position of each row in the sequence it was made from; i4 [samples]."""
        ...


class Draw(NamedTuple):
    """One batch to come: rows of a bucket, ``EMPTY`` where there are too few."""

    bucket: int
    rows: np.ndarray  # i4 [batch]


def samples(frames: Sequence[Frame], potential: Potential) -> tuple[Sample, ...]:
    """Frames with the reference energies of a potential taken off, in float64.

    Raises:
        TrainingError: a frame has no forces.
        CompatibilityError: a frame holds an element the potential does not know.
    """
    made = []
    for frame in frames:
        if frame.forces is None:
            raise TrainingError(
                f"{frame.source}: expected forces on every atom, got none; label the frame or "
                "leave it out of training and validation"
            )
        energy = frame.energy
        if energy is not None:
            energy = energy - potential.reference_energy(frame.system)
        made.append(Sample(frame.system, energy, frame.forces, frame.stress))
    return tuple(made)


def plan(systems: Sequence[System], cutoff: float, *, most: int) -> tuple[Shape, ...]:
    """Shapes of at most ``most`` buckets that pad the structures least.

    A bucket holds a range of sizes. The padded work, atoms times slots, is minimised exactly for
    one bucket, two, and so on, as long as one more saves the fraction ``WORTHWHILE`` of it.

    Args:
        systems: structures, at least one.
        cutoff: Å.
        most: largest number of buckets.

    Returns:
        Shapes for one structure each, from few to many atoms.
    """
    slots: dict[int, int] = {}
    counts: dict[int, int] = {}
    for system, widest in zip(systems, _widths(systems, cutoff), strict=True):
        atoms = len(system.numbers)
        slots[atoms] = max(slots.get(atoms, 0), -(-widest // SLOT_STEP) * SLOT_STEP)
        counts[atoms] = counts.get(atoms, 0) + 1
    sizes = sorted(slots)

    def bucket(first: int, last: int) -> tuple[float, tuple[Shape, ...]]:
        inside = sizes[first : last + 1]
        shape = Shape(inside[-1], max(slots[size] for size in inside), 1)
        return float(sum(counts[size] for size in inside) * shape.atoms * shape.slots), (shape,)

    return _partition(bucket, len(sizes), most)


def _widths(systems: Sequence[System], cutoff: float) -> list[int]:
    """Largest number of neighbours of an atom, for each structure."""
    parts = [(systems[i : i + SHARE], cutoff) for i in range(0, len(systems), SHARE)]
    found = answers(_widths_of, parts, helpers() if len(parts) >= WORTH_PROCESSES else 1)
    return [width for part in found for width in part]


def _widths_of(part: tuple[Sequence[System], float]) -> list[int]:
    systems, cutoff = part
    return [neighbors_within(system, cutoff).neighbors.shape[1] for system in systems]


def _partition(
    bucket: Callable[[int, int], tuple[float, tuple[Shape, ...]]], sizes: int, most: int
) -> tuple[Shape, ...]:
    """Cut a sequence of sizes into ranges of least total work by dynamic programming.

    ``bucket(first, last)`` is the work and the shape of one range.
    """
    # least[last]: the best way to hold the sizes up to ``last`` in the current number of ranges
    least = [bucket(0, last) for last in range(sizes)]
    work, shapes = least[-1]
    for _ in range(1, min(most, sizes)):
        more = []
        for last in range(sizes):
            choices = [least[last]]
            for cut in range(1, last + 1):
                (before, those), (after, this) = least[cut - 1], bucket(cut, last)
                choices.append((before + after, those + this))
            more.append(min(choices, key=lambda choice: choice[0]))
        if more[-1][0] > (1 - WORTHWHILE) * work:
            break
        least, (work, shapes) = more, more[-1]
    return shapes


def collect(
    members: Sequence[Sample],
    elements: tuple[int, ...],
    cutoff: float,
    shapes: Sequence[Shape],
    *,
    dtype: Any = np.float32,
) -> tuple[Bucket, ...]:
    """Pad samples into the cheapest shape that holds them and put them on the device.

    Raises:
        CapacityError: a structure fits into none of the shapes.
        CompatibilityError: a structure holds an element that is not among ``elements``.
    """
    rows: dict[Shape, list[Batch]] = {shape: [] for shape in shapes}
    index: dict[Shape, list[int]] = {shape: [] for shape in shapes}
    for position, sample in enumerate(members):
        shape, row = padded(sample, position, elements, cutoff, shapes, dtype=dtype)
        rows[shape].append(row)
        index[shape].append(position)
    return tuple(
        Bucket(jax.device_put(trees.stack(rows[shape])), np.array(index[shape], np.int32))
        for shape in shapes
        if rows[shape]
    )


def padded(
    sample: Sample,
    position: int,
    elements: tuple[int, ...],
    cutoff: float,
    shapes: Sequence[Shape],
    *,
    dtype: Any = np.float32,
) -> tuple[Shape, Batch]:
    """A sample as a batch of one with NumPy leaves, in the cheapest shape that holds it.

    Args:
        sample: what to pad.
        position: how an error calls it.
        elements: atomic numbers the potential knows, in its order.
        cutoff: Å.
        shapes: to choose from.
        dtype: precision of coordinates and labels.

    Raises:
        CapacityError: none of the shapes holds it.
        CompatibilityError: it contains an element that is not among ``elements``.
    """
    near = neighbors_within(sample.system, cutoff)
    species = species_of(sample.system, elements)
    needed = len(species), int(near.mask.sum(axis=1).max(initial=0))
    fitting = [s for s in shapes if s.atoms >= needed[0] and s.slots >= needed[1]]
    if not fitting:
        raise CapacityError(
            f"structure {position} needs {needed[0]} atoms and {needed[1]} neighbour slots, "
            f"which none of the shapes {list(shapes)} holds; plan shapes with it included"
        )
    shape = min(fitting, key=lambda s: s.atoms * s.slots)
    graph = assemble([sample.system], [species], [near], shape=shape, dtype=dtype)
    return shape, _row(sample, graph, dtype)


def _row(sample: Sample, graph: Graph, dtype: Any) -> Batch:
    """One sample as a batch of one, with NumPy leaves."""
    forces = np.zeros_like(graph.positions)
    forces[: len(sample.forces)] = sample.forces
    stress = np.zeros((3, 3)) if sample.stress is None else sample.stress
    leaves: dict[str, Any] = {
        # Small integers until they are used: shifts are a third of the memory of a graph.
        "graph": graph._replace(shifts=graph.shifts.astype(np.int16)),
        "energy": np.array([0.0 if sample.energy is None else sample.energy], dtype),
        "forces": forces,
        "stress": np.asarray(stress, dtype)[None],
        "weight": np.array([sample.weight], dtype),
        "has_energy": np.array([sample.energy is not None]),
        "has_stress": np.array([sample.stress is not None]),
        "head": np.array([sample.head], np.int32),
    }
    return Batch(**leaves)


@jax.jit
def gather(bucket: Batch, rows: Int[Array, "batch"]) -> Batch:
    """Rows of a bucket as one batch; ``EMPTY`` places are masked and have weight 0."""
    return _joined(jax.tree.map(lambda leaf: leaf[jnp.maximum(rows, 0)], bucket), rows >= 0)


@jax.jit
def join(rows: Batch, real: Bool[Array, "batch"]) -> Batch:
    """Batches of one structure each, stacked, as one batch; those not real are masked."""
    return _joined(rows, real)


def _joined(picked: Batch, real: Bool[Array, "batch"]) -> Batch:
    graph = picked.graph
    graph = flatten(
        graph._replace(
            shifts=graph.shifts.astype(graph.positions.dtype),
            edge_mask=graph.edge_mask & real[:, None, None],
            atom_mask=graph.atom_mask & real[:, None],
            graph_mask=graph.graph_mask & real[:, None],
        )
    )
    joined = jax.tree.map(_join, picked._replace(graph=()))
    return joined._replace(
        graph=graph,
        weight=jnp.where(graph.graph_mask, joined.weight, 0),
        has_energy=joined.has_energy & graph.graph_mask,
        has_stress=joined.has_stress & graph.graph_mask,
    )


def flatten(graph: Graph) -> Graph:
    """Graphs of one shape along a leading axis as one graph; indices are offset, nothing else."""
    members, atoms, slots = graph.neighbors.shape
    structures = graph.cell.shape[1]
    number = jnp.arange(members, dtype=graph.neighbors.dtype)
    joined = jax.tree.map(_join, graph)
    first = jnp.repeat(number, atoms) * atoms
    return joined._replace(
        neighbors=joined.neighbors + first[:, None],
        reverse=joined.reverse + first[:, None] * slots,
        atom_graph=joined.atom_graph + jnp.repeat(number, atoms) * structures,
    )


def _join(leaf: Array) -> Array:
    return leaf.reshape((-1, *leaf.shape[2:]))


def shuffled(buckets: Sequence[Indexed], batch: int, *, seed: int, epoch: int) -> list[Draw]:
    """All samples once, in batches that depend on seed and epoch only.

    Batches hold structures of one bucket; their sequence mixes the buckets. The last batch of a
    bucket may have empty places.
    """
    random = np.random.default_rng([seed, epoch])
    draws = _draws([random.permutation(len(bucket.index)) for bucket in buckets], batch)
    return [draws[i] for i in random.permutation(len(draws))]


def in_order(buckets: Sequence[Indexed], batch: int) -> list[Draw]:
    """All samples once, bucket by bucket."""
    return _draws([np.arange(len(bucket.index)) for bucket in buckets], batch)


def _draws(orders: Sequence[np.ndarray], batch: int) -> list[Draw]:
    draws = []
    for number, order in enumerate(orders):
        padded = np.full(-(-len(order) // batch) * batch, EMPTY, np.int32)
        padded[: len(order)] = order
        draws += [Draw(number, rows) for rows in padded.reshape(-1, batch)]
    return draws
