"""Energies computed by a program on the host, as a differentiable JAX function.

A ``HostModel`` turns structures into energies, forces and stresses. ``energies`` calls it from
compiled code, and its derivative by positions and cell are the forces and the stress the program
gives; so forces, stresses, bands and relaxations work on it unchanged, under ``jit``, ``vmap``
and ``lax.map`` and in either precision. The structures of a graph, and those along axes that
``vmap`` adds, reach the program together. Second derivatives do not exist.

With both positions r and cell vectors h as independent variables, a strain moves them together, so
``h^T dE/dh = V stress - r^T dE/dr`` gives the derivative by the cell.

A graph does not say which directions are periodic. A cell vector of zero length is none; of others
a model's ``pbc`` says so. Where that contradicts the edges of the graph an error is raised.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from ase.data import chemical_symbols
from ase.formula import Formula
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Float64

from mlffjax.arrays import Array, Float
from mlffjax.errors import InputError, MlffjaxError
from mlffjax.graphs.graph import Graph, atom_counts
from mlffjax.graphs.neighbors import neighbors_within
from mlffjax.structures.system import System

SEEN = 0.75  # of the cutoff; images nearer than this must be among a graph's edges


def _is_news(record: logging.LogRecord) -> bool:
    """JAX logs what a callback raises, with all its traceback, and raises it as well."""
    return record.exc_info is None or not isinstance(record.exc_info[1], MlffjaxError)


logging.getLogger(jax.pure_callback.__module__).addFilter(_is_news)


class HostResult(NamedTuple):
    """What a program says about a structure."""

    energy: float  # eV
    forces: Float64[np.ndarray, "atoms 3"]  # eV/Å
    stress: Float64[np.ndarray, "3 3"] | None  # eV/Å³, ASE sign; None if it cannot be had


class HostFailure(Exception):
    """A program failed for a structure.

    Attributes:
        index: of the structure among those asked about; None if that is not known.
    """

    def __init__(self, index: int | None, message: str) -> None:
        super().__init__(message)
        self.index = index


class HostModel(Protocol):
    """Something hashable that evaluates structures on the host."""

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers; ``Graph.species`` indexes this tuple."""
        ...

    @property
    def cutoff(self) -> float:
        """To which the edges of graphs reach, Å."""
        ...

    @property
    def pbc(self) -> tuple[bool, bool, bool]:
        """Directions that are periodic where the cell vector is not zero."""
        ...

    def evaluate(
        self, systems: Sequence[System], *, derivatives: bool, stress: bool
    ) -> list[HostResult]:
        """Energies of structures, with forces and stresses if asked for.

        Raises:
            HostFailure: a structure cannot be evaluated.
        """
        ...


def one_by_one(
    function: Callable[[System], HostResult], systems: Sequence[System]
) -> list[HostResult]:
    """Evaluate structures in turn.

    Raises:
        HostFailure: the function raised something.
    """
    results = []
    for index, system in enumerate(systems):
        try:
            results.append(function(system))
        except Exception as error:  # programs of others raise anything
            raise HostFailure(index, f"{type(error).__name__}: {error}") from error
    return results


def energies(model: HostModel, graph: Graph) -> Float[Array, "graphs"]:
    """Energy of each structure, eV; zero for padded structures.

    Raises:
        JaxRuntimeError: the program failed; its message ends with that of the ``InputError`` that
            names the structure.
    """
    integers = graph.shifts != 0
    crossed = (integers & graph.edge_mask[..., None]).any(axis=1)
    return _energies(
        model,
        graph.positions,
        graph.cell,
        graph.species,
        crossed,
        graph.atom_graph,
        graph.atom_mask,
        graph.graph_mask,
    )


def shares(energy: Float[Array, "graphs"], graph: Graph) -> Float[Array, "atoms"]:
    """Energies of structures dealt out evenly to their atoms: only the sums have a meaning."""
    share = energy / atom_counts(graph)
    return jnp.where(graph.atom_mask, share[graph.atom_graph], 0)


def _call(model: HostModel, rest: tuple[Array, ...], *, order: int) -> Any:
    """The host's answer: energies; with forces (order 1); with the cell derivative (order 2)."""
    positions, cell = rest[:2]
    shapes = (
        jax.ShapeDtypeStruct(cell.shape[:1], positions.dtype),
        jax.ShapeDtypeStruct(positions.shape, positions.dtype),
        jax.ShapeDtypeStruct(cell.shape, positions.dtype),
    )

    def evaluate(*arrays: Array) -> tuple[np.ndarray, ...]:
        found = _evaluate(model, [np.asarray(array) for array in arrays], order)
        return tuple(each.astype(positions.dtype) for each in found)

    return jax.pure_callback(evaluate, shapes[: order + 1], *rest, vmap_method="broadcast_all")


def _energies(model: HostModel, *rest: Array) -> Array:
    @jax.custom_jvp
    def energy(*inputs: Array) -> Array:
        return _call(model, inputs, order=0)[0]

    def tangent(primals: tuple[Array, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
        move, strain = tangents[:2]
        still = isinstance(strain, SymbolicZero)
        found = _call(model, primals, order=1 if still else 2)
        count = primals[1].shape[0]
        change = jnp.zeros_like(found[0])
        if not isinstance(move, SymbolicZero):
            work = -(found[1] * move).sum(axis=1)
            member = primals[4][:, None] == jnp.arange(count)
            change += jnp.where(member, work[:, None], 0).sum(axis=0)
        if not still:
            change += (found[2] * strain).sum(axis=(1, 2))
        return found[0], change

    energy.defjvp(tangent, symbolic_zeros=True)
    return energy(*rest)


def _evaluate(model: HostModel, arrays: list[np.ndarray], order: int) -> tuple[np.ndarray, ...]:
    """Evaluate every structure of a graph, or of graphs along leading axes."""
    lead = arrays[1].shape[:-3]
    flat = [array.reshape(-1, *array.shape[len(lead) :]) for array in arrays]
    energy = np.zeros(flat[1].shape[:2])
    forces = np.zeros(flat[0].shape)
    by_cell = np.zeros(flat[1].shape)
    places, systems = [], []
    for row in range(len(energy)):
        positions, cell, species, crossed, atom_graph, atom_mask, graph_mask = (
            a[row] for a in flat
        )
        for index in np.flatnonzero(graph_mask):
            own = (atom_graph == index) & atom_mask
            through = np.asarray(crossed[own].any(axis=0))
            places.append((row, index, own))
            systems.append(_system(model, positions[own], cell[index], species[own], through))
    for (row, index, own), system, found in zip(
        places, systems, _sound(model, systems, order), strict=True
    ):
        energy[row, index], forces[row, own] = found.energy, found.forces
        if order == 2:
            by_cell[row, index] = _by_cell(system, found)
    found = (energy, forces, by_cell)[: order + 1]
    return tuple(each.reshape(*lead, *each.shape[1:]) for each in found)


def _sound(model: HostModel, systems: Sequence[System], order: int) -> list[HostResult]:
    """The host's answers, or an error that names the structure."""
    if not systems:
        return []
    try:
        results = model.evaluate(systems, derivatives=order > 0, stress=order > 1)
    except HostFailure as error:
        raise InputError(
            f"{_describe(model)} failed for {_named(systems, error.index)}: {error}"
        ) from error
    for system, found in zip(systems, results, strict=True):
        if not (np.isfinite(found.energy) and np.isfinite(found.forces).all()):
            raise InputError(
                f"expected finite energy and forces, got NaN or infinity from {_describe(model)} "
                f"for {_formula(system)}; look at the geometry"
            )
    return results


def _named(systems: Sequence[System], index: int | None) -> str:
    if index is not None:
        return _formula(systems[index])
    return f"one of {len(systems)} structures, the first of which is {_formula(systems[0])}"


def _describe(model: HostModel) -> str:
    return getattr(model, "factory", type(model).__name__)


def _formula(system: System) -> str:
    symbols = [chemical_symbols[int(z)] for z in system.numbers]
    lengths = np.round(np.linalg.norm(system.cell, axis=1), 3).tolist()
    places = np.round(system.positions[:2], 3).tolist()
    return (
        f"{Formula.from_list(symbols).format('hill')} ({len(symbols)} atoms, cell vectors of "
        f"{lengths} Å, pbc {system.pbc.tolist()}, first atoms at {places})"
    )


def _by_cell(system: System, found: HostResult) -> np.ndarray:
    """dE/dh at fixed positions, eV/Å; NaN if the program has no stress."""
    if found.stress is None:
        return np.full((3, 3), np.nan)
    volume = abs(np.linalg.det(system.cell))
    return np.linalg.solve(system.cell.T, volume * found.stress + system.positions.T @ found.forces)


def _system(
    model: HostModel,
    positions: np.ndarray,
    cell: np.ndarray,
    species: np.ndarray,
    crossed: np.ndarray,
) -> System:
    """The structure with the directions that are periodic.

    Raises:
        InputError: edges leave the cell along an open direction, or atoms see their images along a
            periodic one and the graph has no such edges.
    """
    cell = np.asarray(cell, np.float64)
    pbc = np.array(model.pbc) & (np.linalg.norm(cell, axis=1) > 0)
    numbers = np.array(model.elements, np.int32)[species]
    system = System(np.asarray(positions, np.float64), numbers, cell, pbc)
    if (crossed & ~pbc).any():
        wrong = "the model is told that they are open"
    elif (missed := pbc & ~crossed).any() and _has_images(system, missed, SEEN * model.cutoff):
        wrong = "the structure is open there"
    else:
        return system
    raise InputError(
        f"directions that are periodic are not clear for {_formula(system)}: {wrong}; give the "
        "model the 'pbc' of the structures, and open directions a cell vector of zero"
    )


def _has_images(system: System, directions: np.ndarray, radius: float) -> bool:
    """Whether atoms are near periodic images of atoms along some directions."""
    heights = 1 / np.linalg.norm(np.linalg.pinv(system.cell), axis=0)
    fractions = system.positions @ np.linalg.pinv(system.cell)
    room = (1 - np.ptp(fractions, axis=0)) * heights
    if not (directions & (room < radius)).any():
        return False
    near = neighbors_within(system, radius)
    return bool((near.mask[..., None] & (near.shifts != 0))[..., directions].any())
