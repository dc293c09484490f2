"""The paper's vector of a configuration: energy, forces, distances, SOAP and force derivatives.

============ ======================== ==========================================================
block        columns                  content
============ ======================== ==========================================================
``energy``   1                        total energy per atom, eV
``forces``   3 atoms                  Cartesian forces, eV/Å
``rdf``      ``bins``                 all pairs of atoms within ``range``, images included, over
                                      the number an ideal gas of that density would have
``soap``     as dscribe counts them   SOAP averaged over centres before the power spectrum is
                                      taken (``average="inner"``)
``response`` 3 atoms                  change of the forces, eV/Å, when every atom is displaced
============ ======================== ==========================================================

The paper leaves open along what its "force derivatives with respect to 0.01 Å displacements" are
taken. Here every atom moves by ``displacement`` along its own fixed random direction (``seed``),
the same for all models and configurations, and the change is minus the product of the Hessian and
that displacement: exact to first order, without a step. Potentials without second derivatives are
differenced centrally.

Limits of the recipe: forces and response depend on the orientation and on the order of atoms, so
only configurations of one cell compare; ``rdf`` and ``soap`` are functions of the structure alone,
so on a common trajectory they are equal for all models, and on a model's own trajectory they tell
where it went, not what it learned.

References:
    Bartók, Kondor and Csányi, Phys. Rev. B 87, 184115 (2013), doi:10.1103/PhysRevB.87.184115.
    Himanen et al., Comput. Phys. Commun. 247, 106949 (2020), doi:10.1016/j.cpc.2019.106949.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pydantic
from jaxtyping import Float64

from mlffjax import config
from mlffjax.arrays import Array, Float
from mlffjax.errors import CompatibilityError, InputError, MissingExtra
from mlffjax.graphs.graph import Graph
from mlffjax.graphs.neighbors import neighbors_within
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import energies_and_forces, hessian_vector_product
from mlffjax.representation.embedding import standardised
from mlffjax.representation.features import in_sequence, packed
from mlffjax.structures.system import System, to_ase


class Recipe(config.Config):
    """Settings of the vector; the defaults are the paper's."""

    bins: int = pydantic.Field(default=100, ge=1)
    """Of the histogram of distances."""
    range: float = pydantic.Field(default=5.0, gt=0, description="Å")
    """Of distances and of SOAP."""
    n_max: int = pydantic.Field(default=8, ge=1)
    """Radial functions of SOAP."""
    l_max: int = pydantic.Field(default=4, ge=0)
    """Angular momentum of SOAP."""
    sigma: float = pydantic.Field(default=0.3, gt=0, description="Å")
    """Width of the atoms' Gaussians in SOAP."""
    displacement: float = pydantic.Field(default=0.01, gt=0, description="Å")
    """By which every atom is moved for the response."""
    seed: int = pydantic.Field(default=0, ge=0)
    """Of the directions in which atoms are moved."""


class Blocks(NamedTuple):
    """Descriptors of some configurations, block by block."""

    energy: Float64[np.ndarray, "frames 1"]
    forces: Float64[np.ndarray, "frames components"]
    rdf: Float64[np.ndarray, "frames bins"]
    soap: Float64[np.ndarray, "frames soap"]
    response: Float64[np.ndarray, "frames components"]


def describe(
    potential: Potential,
    systems: Sequence[System],
    settings: Recipe | None = None,
    *,
    species: Sequence[int] | None = None,
) -> Blocks:
    """The recipe for every configuration.

    Args:
        potential: whose energies and forces are taken.
        systems: configurations of one cell: equal atoms in equal order.
        settings: of the recipe.
        species: atomic numbers that SOAP counts with; by default those of the configurations.

    Raises:
        InputError: configurations differ in their atoms, or are not periodic.
        MissingExtra: dscribe is not installed.
    """
    settings = settings or Recipe()
    require_alike(systems)
    energy, forces = _of_potential(potential, systems)
    blocks = Blocks(
        energy,
        forces,
        distances(systems, settings),
        soap(systems, species or np.unique(systems[0].numbers).tolist(), settings),
        response(potential, systems, settings),
    )
    for name, block in blocks._asdict().items():
        if not np.isfinite(block).all():
            frame = int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
            raise InputError(
                f"expected finite descriptors, got NaN or infinities in block {name} of "
                f"configuration {frame}; the model has diverged there"
            )
    return blocks


def require_alike(systems: Sequence[System]) -> None:
    """Refuse configurations that cannot be stacked.

    Raises:
        InputError: there is none, atoms differ, or a direction is open.
    """
    if not systems:
        raise InputError("expected at least one configuration, got none")
    for index, system in enumerate(systems):
        if not np.array_equal(system.numbers, systems[0].numbers):
            raise InputError(
                "the recipe stacks 3N forces, so it needs equal atoms in equal order: expected "
                f"the {len(systems[0].numbers)} atoms of configuration 0, got "
                f"{len(system.numbers)} other or otherwise ordered atoms in configuration {index}; "
                "describe cells of one kind at a time, or compare features like for like"
            )
        if not system.pbc.all():
            raise InputError(
                "distances are counted against an ideal gas of the same density: expected three "
                f"periodic directions, got pbc = {system.pbc.tolist()} in configuration {index}"
            )


def _of_potential(potential: Potential, systems: Sequence[System]) -> tuple[np.ndarray, np.ndarray]:
    """Total energy per atom and forces of every configuration."""
    data = packed(systems, potential.elements, potential.cutoff, atoms=1)
    energy, forces = _energies(potential, data.graphs)
    atoms = len(systems[0].numbers)
    total = np.asarray(energy, float)[:, 0] + potential.reference_energy(systems[0])
    return total[:, None] / atoms, np.asarray(forces, float).reshape(len(systems), 3 * atoms)


@in_sequence
def _energies(potential: Potential, graph: Graph) -> Any:
    return energies_and_forces(potential, graph)


def displacements(atoms: int, settings: Recipe) -> Float64[np.ndarray, "atoms 3"]:
    """Where every atom is moved, Å: equal lengths, random directions, fixed by the seed."""
    directions = np.random.default_rng(settings.seed).normal(size=(atoms, 3))
    return settings.displacement * directions / np.linalg.norm(directions, axis=1, keepdims=True)


def response(
    potential: Potential, systems: Sequence[System], settings: Recipe | None = None
) -> Float64[np.ndarray, "frames components"]:
    """Change of all forces, eV/Å, by the fixed displacement of all atoms."""
    settings = settings or Recipe()
    atoms = len(systems[0].numbers)
    moves = displacements(atoms, settings)
    if "hessian" in potential.model.supports:
        data = packed(systems, potential.elements, potential.cutoff, atoms=1)
        products = _responses(potential, data.graphs, np.tile(moves, (len(systems), 1, 1)))
        return np.asarray(products, float).reshape(len(systems), -1)
    ends = [
        [system._replace(positions=system.positions + sign * moves) for system in systems]
        for sign in (1, -1)
    ]
    up, down = (_of_potential(potential, side)[1] for side in ends)
    return (up - down) / 2


@in_sequence
def _responses(potential: Potential, graph: Graph, moves: Float[Array, "atoms 3"]) -> Any:
    return -hessian_vector_product(potential, graph, moves)


def distances(
    systems: Sequence[System], settings: Recipe | None = None
) -> Float64[np.ndarray, "frames bins"]:
    """Histogram of all distances of atoms and their images, over that of an ideal gas."""
    settings = settings or Recipe()
    edges = np.linspace(0.0, settings.range, settings.bins + 1)
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    rows = []
    for system in systems:
        near = neighbors_within(system, settings.range)
        vectors = (
            system.positions[near.neighbors] - system.positions[:, None] + near.shifts @ system.cell
        )
        lengths = np.linalg.norm(vectors, axis=-1)[near.mask]
        density = len(system.numbers) / abs(np.linalg.det(system.cell))
        counts = np.histogram(lengths, edges)[0]
        rows.append(counts / (len(system.numbers) * density * shells))
    return np.array(rows)


def soap(
    systems: Sequence[System], species: Sequence[int], settings: Recipe | None = None
) -> Float64[np.ndarray, "frames soap"]:
    """SOAP of every configuration, averaged over its centres.

    Raises:
        CompatibilityError: an atom is not among ``species``.
        MissingExtra: dscribe is not installed.
    """
    settings = settings or Recipe()
    try:
        from dscribe.descriptors import SOAP
    except ImportError as error:
        raise MissingExtra(
            "SOAP needs dscribe; install it with pip install 'mlffjax[representation]'"
        ) from error
    unknown = {int(z) for system in systems for z in np.unique(system.numbers)} - set(species)
    if unknown:
        raise CompatibilityError(
            f"expected atomic numbers among {sorted(species)}, got {sorted(unknown)} too; name "
            "all of them"
        )
    made = SOAP(
        species=sorted(int(number) for number in species),
        periodic=True,
        r_cut=settings.range,
        n_max=settings.n_max,
        l_max=settings.l_max,
        sigma=settings.sigma,
        average="inner",
    )
    return np.array([made.create(to_ase(system)) for system in systems], np.float64)


def joined(blocks: Mapping[str, np.ndarray]) -> Float64[np.ndarray, "frames columns"]:
    """One vector a configuration, each block standardised and of the same weight.

    Give all configurations of all models at once: columns are standardised over what is given.
    Each block is divided by the square root of its columns, so that 1500 of SOAP do not drown the
    energy. Columns that do not vary are left out.

    Raises:
        InputError: a block is not finite, or nothing varies.
    """
    parts = [standardised(block) for block in blocks.values()]
    parts = [part / np.sqrt(part.shape[1]) for part in parts if part.shape[1]]
    if not parts:
        raise InputError("expected descriptors that vary, got equal configurations only")
    return np.concatenate(parts, axis=1)
