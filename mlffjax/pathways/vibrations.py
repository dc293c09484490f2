"""Normal modes in the harmonic approximation.

Eigenvalues L of the Hessian weighted by masses, H_ij / sqrt(m_i m_j), on the complement of rigid
motions; omega = sqrt(L), frequency = omega / 2 pi. A negative L is a direction in which the energy
falls: its frequency is imaginary and is written as a negative number.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float64
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from mlffjax.errors import InputError
from mlffjax.pathways import hessians
from mlffjax.pathways.surface import (
    Surface,
    complement,
    curvature,
    graph_at,
    make,
    rigid_motions,
)
from mlffjax.potential.base import Potential
from mlffjax.structures import elements
from mlffjax.structures.system import System
from mlffjax.units import FS

WAVENUMBER = 1e10 / 299792458.0
"""One terahertz, cm⁻¹."""

_product = jax.jit(hessians.product)


class NormalModes(NamedTuple):
    """Vibrations of one structure, softest first."""

    eigenvalues: Float64[np.ndarray, " modes"]  # eV/(Å² u)
    displacements: Float64[np.ndarray, "modes atoms 3"]  # unit norm over 3N; zero for fixed atoms
    freedom: int  # vibrations the structure has; equal to the number of modes if all are here

    @property
    def frequencies(self) -> Float64[np.ndarray, " modes"]:
        """THz; negative if imaginary."""
        return frequency(self.eigenvalues)

    @property
    def wavenumbers(self) -> Float64[np.ndarray, " modes"]:
        """cm⁻¹; negative if imaginary."""
        return self.frequencies * WAVENUMBER

    def unstable(self, threshold: float = 0.1) -> int:
        """Number of modes whose frequency is imaginary and larger than a threshold, THz."""
        return int((self.frequencies < -threshold).sum())


def frequency(
    eigenvalues: Float64[np.ndarray, " modes"],
) -> Float64[np.ndarray, " modes"]:
    """Frequencies, THz, of eigenvalues, eV/(Å² u); negative if imaginary."""
    return np.sign(eigenvalues) * np.sqrt(np.abs(eigenvalues)) * (1e3 * FS) / (2 * np.pi)


def normal_modes(
    potential: Potential,
    system: System,
    *,
    masses: Float64[np.ndarray, " atoms"] | None = None,
    fixed: Bool[np.ndarray, " atoms"] | None = None,
) -> NormalModes:
    """All vibrations, from the dense Hessian; for some hundreds of free coordinates.

    Args:
        potential: an energy model with second derivatives; evaluated in float64.
        system: a stationary point; elsewhere the numbers depend on the coordinates.
        masses: u; standard atomic weights by default.
        fixed: atoms that stand still; rigid motions are projected out only if there is none.

    Raises:
        InputError: a mass is not positive, no atom is free, or nothing can vibrate.
        CompatibilityError: the potential has no second derivatives, or lacks an element.
        ConfigError: JAX is not set to 64 bits.
    """
    roots = _roots(masses, system)
    surface = make(potential, system, fixed=fixed)
    basis = complement(rigid_motions(surface, system.positions, roots))
    _require_freedom(basis.shape[1], 1, "nothing can vibrate")
    inverse = 1 / np.repeat(roots[surface.free], 3)
    weighted = curvature(surface, system.positions) * inverse[:, None] * inverse
    eigenvalues, vectors = np.linalg.eigh(basis.T @ weighted @ basis)
    return _modes(surface, eigenvalues, (basis @ vectors).T * inverse, basis.shape[1])


def lowest_modes(
    potential: Potential,
    system: System,
    *,
    count: int = 4,
    masses: Float64[np.ndarray, " atoms"] | None = None,
    fixed: Bool[np.ndarray, " atoms"] | None = None,
) -> NormalModes:
    """The softest vibrations, from products of the Hessian with vectors (Lanczos, by ARPACK).

    For structures whose dense Hessian is too long in coming: the number of products hardly grows
    with the number of atoms. Rigid motions are lifted above the spectrum.

    Raises:
        InputError: as ``normal_modes``; also if fewer than ``count`` + 1 vibrations exist or the
            iteration does not converge.
        CompatibilityError: the potential has no second derivatives, or lacks an element.
        ConfigError: JAX is not set to 64 bits.
    """
    roots = _roots(masses, system)
    surface = make(potential, system, fixed=fixed)
    motions = rigid_motions(surface, system.positions, roots)
    freedom = 3 * len(surface.free) - len(motions)
    _require_freedom(freedom, count + 1, "use normal_modes")
    inverse = 1 / np.repeat(roots[surface.free], 3)
    multiply = products(surface, system.positions)
    eigenvalues, vectors = softest(lambda v: inverse * multiply(inverse * v), motions, count)
    return _modes(surface, eigenvalues, vectors * inverse, freedom)


def products(
    surface: Surface, positions: Float64[np.ndarray, "atoms 3"]
) -> Callable[[np.ndarray], np.ndarray]:
    """The Hessian at some positions as a function that multiplies vectors [coordinates]."""
    graph = jax.device_put(graph_at(surface, positions))

    def multiply(vector: np.ndarray) -> np.ndarray:
        direction = np.reshape(vector, (-1, 3))
        return np.asarray(_product(surface.potential, graph, surface.free, direction)).reshape(-1)

    return multiply


def softest(
    multiply: Callable[[np.ndarray], np.ndarray],
    motions: Float64[np.ndarray, "motions coordinates"],
    count: int,
) -> tuple[Float64[np.ndarray, " count"], Float64[np.ndarray, "count coordinates"]]:
    """Lowest eigenvalues, ascending, and unit eigenvectors of a symmetric operator.

    Args:
        multiply: the operator.
        motions: orthonormal directions to be left out.
        count: eigenpairs wanted.

    Raises:
        InputError: the iteration does not converge.
    """
    size = motions.shape[1]
    start = np.random.default_rng(0).normal(size=size)
    start -= motions.T @ (motions @ start)
    start /= np.linalg.norm(start)
    lift = 10 * np.linalg.norm(multiply(start))  # far above the softest, not far above the hardest

    def lifted(vector: np.ndarray) -> np.ndarray:
        vector = vector.reshape(-1)
        part = motions.T @ (motions @ vector)
        result = multiply(vector - part)
        return result - motions.T @ (motions @ result) + lift * part

    operator = LinearOperator((size, size), matvec=lifted, dtype=np.float64)  # pyright: ignore[reportCallIssue]
    try:
        found = eigsh(operator, k=count, which="SA", v0=start, tol=1e-10)  # pyright: ignore[reportArgumentType]
    except ArpackNoConvergence as error:
        raise InputError(
            f"expected the {count} lowest modes of {size} coordinates, but Lanczos iterations did "
            "not converge; ask for more modes, so that their spacing grows, or use the dense "
            "Hessian"
        ) from error
    eigenvalues, vectors = found
    order = np.argsort(eigenvalues)
    return eigenvalues[order], vectors.T[order]


def _modes(
    surface: Surface, eigenvalues: np.ndarray, directions: np.ndarray, freedom: int
) -> NormalModes:
    """Modes from Cartesian directions of the free coordinates [modes, coordinates]."""
    displacements = np.zeros((len(eigenvalues), len(surface.system.numbers), 3))
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    displacements[:, surface.free] = unit.reshape(len(unit), -1, 3)
    return NormalModes(eigenvalues, displacements, freedom)


def _roots(masses: np.ndarray | None, system: System) -> np.ndarray:
    masses = np.asarray(elements.masses(system.numbers) if masses is None else masses, float)
    if masses.shape != system.numbers.shape:
        raise InputError(
            f"expected one mass for each of {len(system.numbers)} atoms, got shape {masses.shape}"
        )
    if bad := np.flatnonzero(~(np.isfinite(masses) & (masses > 0))).tolist():
        raise InputError(
            f"expected positive masses, u, got {masses[bad[0]]:g} for atom {bad[0]}; fix an atom "
            "rather than give it no mass"
        )
    return np.sqrt(masses)


def _require_freedom(freedom: int, needed: int, otherwise: str) -> None:
    if freedom < needed:
        raise InputError(
            f"expected a structure with at least {needed} vibrations, got {freedom}: {otherwise}"
        )
