"""Invariant node features of a potential at given structures, and outputs where it has none."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float64, Int32

from mlffjax import trees
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.graphs.batching import stacked
from mlffjax.graphs.graph import Graph
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import energies_and_forces
from mlffjax.structures.system import System

PACK = 128  # atoms evaluated together on a CPU; a larger structure comes alone
LANES = 16  # such packs at a time on an accelerator


class NodeFeatures(NamedTuple):
    """Features of all atoms of some structures; rows follow structures and atoms.

    Attributes:
        layers: by layer of the model, first to last; widths may differ.
        numbers: atomic numbers.
        frame: which structure an atom belongs to, counted from 0.
    """

    layers: tuple[Float64[np.ndarray, "atoms channels"], ...]
    numbers: Int32[np.ndarray, " atoms"]
    frame: Int32[np.ndarray, " atoms"]


class Outputs(NamedTuple):
    """What every potential says of some structures, features or not."""

    energy: Float64[np.ndarray, " frames"]  # eV
    forces: Float64[np.ndarray, "atoms 3"]  # eV/Å


class Packed(NamedTuple):
    """Structures as graphs of one shape, on the host."""

    graphs: Graph  # leading axis: packs
    numbers: np.ndarray  # [atoms]
    frame: np.ndarray  # [atoms]


def packed(
    systems: Sequence[System],
    elements: tuple[int, ...],
    cutoff: float,
    *,
    atoms: int = PACK,
    dtype: Any = np.float64,
) -> Packed:
    """Lay structures of any size out for one compiled program.

    Args:
        systems: structures, at least one.
        elements: atomic numbers the potential knows, in its order.
        cutoff: Å.
        atoms: of a pack, as far as no structure is larger; 1 puts each structure alone.
        dtype: of positions and cells.

    Raises:
        InputError: there is no structure.
        CompatibilityError: an element is not among ``elements``.
    """
    if not systems:
        raise InputError("expected at least one structure to evaluate, got none")
    groups = _packs([len(system.numbers) for system in systems], atoms)
    return Packed(
        stacked(systems, groups, elements, cutoff, dtype=dtype),
        np.concatenate([system.numbers for system in systems]).astype(np.int32),
        np.repeat(np.arange(len(systems), dtype=np.int32), [len(s.numbers) for s in systems]),
    )


def _packs(sizes: Sequence[int], most: int) -> list[list[int]]:
    """Neighbours in order together, as long as their atoms fit."""
    groups: list[list[int]] = []
    room = 0
    for index, size in enumerate(sizes):
        if size > room:
            groups.append([])
            room = most
        groups[-1].append(index)
        room -= size
    return groups


def node_features(
    potential: Potential, systems: Sequence[System], *, dtype: Any = np.float64
) -> NodeFeatures:
    """Scalar node features after every layer: invariant under rotation, atoms in given order.

    Args:
        potential: must support "features".
        systems: structures, of any sizes.
        dtype: in which positions are given to the potential.

    Raises:
        InputError: there is no structure, or features of one are not finite; it is named.
        CompatibilityError: the potential has no features, or does not know an element.
    """
    require_features(potential)
    data = packed(systems, potential.elements, potential.cutoff, dtype=dtype)
    return from_arrays(layers_of(potential, data), systems)


def layers_of(potential: Potential, data: Packed) -> tuple[np.ndarray, ...]:
    """Features by layer [atoms, channels] of structures that are packed; not checked."""
    every = _mapped_features(potential, data.graphs)
    return tuple(_rows(layer, data) for layer in every)


def outputs(potential: Potential, systems: Sequence[System], *, dtype: Any = np.float64) -> Outputs:
    """Total energies and forces: what can be compared between any two potentials.

    Raises:
        InputError: there is no structure.
        CompatibilityError: the potential does not know an element.
    """
    said = outputs_of(potential, packed(systems, potential.elements, potential.cutoff, dtype=dtype))
    references = np.array([potential.reference_energy(system) for system in systems])
    return said._replace(energy=said.energy + references)


def outputs_of(potential: Potential, data: Packed) -> Outputs:
    """Interaction energies (no reference energies) and forces of structures that are packed."""
    energy, forces = _mapped_outputs(potential, data.graphs)
    known = np.asarray(data.graphs.graph_mask)
    return Outputs(np.asarray(energy, np.float64)[known], _rows(forces, data))


def _rows(values: Any, data: Packed) -> np.ndarray:
    """Rows of the real atoms of all packs."""
    return np.asarray(values, np.float64)[np.asarray(data.graphs.atom_mask)]


def _lanes(count: int) -> int:
    # One pack fills the cores of a CPU, where more only cost memory.
    return 1 if jax.default_backend() == "cpu" else min(count, LANES)


def in_sequence(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``function(potential, *arrays)`` and map it over the leading axis of the arrays."""

    @functools.wraps(function)
    def every(potential: Potential, *data: Any) -> Any:
        width = _lanes(trees.length(data))
        return jax.lax.map(lambda one: function(potential, *one), data, batch_size=width)

    return jax.jit(every)


@in_sequence
def _mapped_features(potential: Potential, graph: Graph) -> Any:
    model: Any = potential.model
    return model.features(potential.params, graph)


@in_sequence
def _mapped_outputs(potential: Potential, graph: Graph) -> Any:
    return energies_and_forces(potential, graph)


def require_features(potential: Potential) -> None:
    """Refuse a potential without node features.

    Raises:
        CompatibilityError: names its kind and what can be done.
    """
    if "features" not in potential.model.supports:
        kind = potential.model.settings.get("kind", type(potential.model).__name__)
        raise CompatibilityError(
            f"expected a potential with node features, got one of kind {kind!r}, which has none; "
            "compare its forces (outputs), or give features that its own program wrote as arrays "
            "(from_arrays)"
        )


def from_arrays(layers: Sequence[np.ndarray], systems: Sequence[System]) -> NodeFeatures:
    """Features that another program computed, one row an atom, in the order of the structures.

    Args:
        layers: [atoms, channels] by layer, atoms of all structures one after the other.
        systems: the structures they belong to.

    Raises:
        InputError: a layer has another number of rows, or is not finite; the structure is named.
    """
    sizes = [len(system.numbers) for system in systems]
    frame = np.repeat(np.arange(len(systems), dtype=np.int32), sizes)
    made = []
    for place, layer in enumerate(layers, start=1):
        rows = np.asarray(layer, np.float64)
        if rows.ndim != 2 or len(rows) != len(frame):
            raise InputError(
                f"layer {place}: expected features of shape ({len(frame)}, channels), one row an "
                f"atom, got {rows.shape}"
            )
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(bad):
            first = int(frame[bad[0]])
            raise InputError(
                f"layer {place}: expected finite features, got NaN or infinities for {len(bad)} "
                f"atoms, first in structure {first} (counted from 0); the model has diverged there"
            )
        made.append(rows)
    if not made:
        raise InputError("expected features of at least one layer, got none")
    numbers = np.concatenate([system.numbers for system in systems]).astype(np.int32)
    return NodeFeatures(tuple(made), numbers, frame)


def pooled(
    features: NodeFeatures,
    elements: Sequence[int],
    *,
    layers: Sequence[int] = (-1,),
    spread: bool = True,
) -> Float64[np.ndarray, "frames columns"]:
    """One row a structure: mean, and standard deviation, of its atoms' features by element.

    Args:
        features: of all atoms.
        elements: atomic numbers, which give the order of columns; atoms of others are left out.
        layers: which, counted as Python does; -1 is the last.
        spread: whether standard deviations (of the population) follow the means.

    Returns:
        For every layer and element its means, then its deviations; zeros where a structure has no
        such atom. Columns depend on the model and ``elements`` only, rows are sums over atoms and
        so do not depend on their order.
    """
    frames = int(features.frame[-1]) + 1
    lookup = np.full(max(*elements, *features.numbers.tolist()) + 1, -1)
    lookup[list(elements)] = np.arange(len(elements))
    kind = lookup[features.numbers]
    known = kind >= 0
    cell = (features.frame * len(elements) + kind)[known]
    count = np.maximum(np.bincount(cell, minlength=frames * len(elements)), 1)[:, None]
    columns = []
    for layer in layers:
        rows = features.layers[layer][known]
        mean = _summed(rows, cell, len(count)) / count
        parts = [mean]
        if spread:
            parts.append(np.sqrt(_summed((rows - mean[cell]) ** 2, cell, len(count)) / count))
        shaped = [part.reshape(frames, len(elements), -1) for part in parts]
        columns.append(np.concatenate(shaped, axis=2).reshape(frames, -1))
    return np.concatenate(columns, axis=1)


def _summed(rows: np.ndarray, cell: np.ndarray, cells: int) -> np.ndarray:
    total = np.zeros((cells, rows.shape[1]))
    np.add.at(total, cell, rows)
    return total
