"""Evaluating the images of a band inside a compiled loop, from lists wider than the cutoff."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mlffjax.arrays import Array, Bool, Float, Int, PyTree
from mlffjax.graphs.graph import Graph
from mlffjax.graphs.skin import prune
from mlffjax.pathways import monitor
from mlffjax.pathways.mapping import lanes
from mlffjax.potential.base import EnergyModel, Potential


class Subject(NamedTuple):
    """What all images of a lane share."""

    parameters: PyTree  # folded
    members: PyTree  # of a committee, folded, along a leading axis; None without
    species: Int[Array, "atoms"]
    radii: Float[Array, "atoms"]  # covalent, Å


class Found(NamedTuple):
    """What the potential says about one image; about all of them with a leading axis."""

    energy: Float[Array, ""]  # eV, interaction energy
    forces: Float[Array, "atoms 3"]  # eV/Å, zero for padded atoms
    virial: Float[Array, "3 3"]  # derivative by the cell vectors alone, eV/Å; zero if not asked
    contact: monitor.Contact
    slots: Int[Array, ""]  # neighbours of an atom; with less room edges were lost
    disagreement: Float[Array, ""]  # spread of a committee's forces, eV/Å; NaN without one


def folded(potential: Potential) -> PyTree:
    """What an evaluation needs of the parameters, computed once before a loop of evaluations."""
    model: Any = potential.model
    return model.fold(potential.params) if hasattr(model, "fold") else potential.params


def examined(
    model: EnergyModel,
    subject: Subject,
    image: tuple[Graph, Array, Array],
    *,
    slots: int,
    by_cell: bool,
) -> Found:
    """Energy, forces and closest contact of one image.

    Args:
        model: static part of the potential.
        subject: what the images share.
        image: a graph with a list wider than the cutoff, positions (Å) and cell (Å).
        slots: room for neighbours inside the cutoff.
        by_cell: whether the derivative by the cell vectors is wanted.
    """
    wide, positions, cell = image
    wide = wide._replace(positions=positions, species=subject.species, cell=cell[None])
    graph, narrowing = prune(wide, model.cutoff, slots)

    def total(positions: Array, cell: Array, parameters: PyTree) -> Array:
        moved = graph._replace(positions=positions, cell=cell[None])
        return jnp.where(graph.atom_mask, atomic_energies(model, parameters, moved), 0).sum()

    wanted = (0, 1) if by_cell else (0,)
    energy, gradient = jax.value_and_grad(total, argnums=wanted)(
        positions, cell, subject.parameters
    )
    disagreement = jnp.full((), jnp.nan, positions.dtype)
    if subject.members is not None:
        each_member = jax.lax.map(lambda m: jax.grad(total)(positions, cell, m), subject.members)
        disagreement = jnp.sqrt(each_member.var(axis=0).sum(axis=-1).max())
    return Found(
        energy,
        -gradient[0],
        gradient[1] if by_cell else jnp.zeros_like(cell),
        monitor.contact(graph, subject.radii, 2 * model.cutoff),
        narrowing.slots,
        disagreement,
    )


def each(function: Callable[[Any], Found], active: Bool[Array, "images"], images: PyTree) -> Found:
    """Evaluate the active images: one by one on a CPU, where the others cost nothing.

    On accelerators all are evaluated together. What is returned for the others has no meaning.
    """
    if lanes(active.shape[0]) > 1:
        return jax.vmap(function)(images)
    first = jax.tree.map(lambda leaf: leaf[0], images)
    blank = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(function, first))
    return jax.lax.map(
        lambda item: jax.lax.cond(item[0], function, lambda _: blank, item[1]), (active, images)
    )


def atomic_energies(model: Any, parameters: PyTree, graph: Graph) -> Float[Array, "atoms"]:
    """Interaction energies of the atoms, eV, from what ``folded`` returned."""
    if hasattr(model, "fold"):
        return model.folded_energies(parameters, graph)
    return model.atomic_energies(parameters, graph)
