"""How stationary points move when the potential or the cell changes, and what follows from it.

With U(x, p) and its stationary point x*(p), the implicit function theorem gives

    H dx* = -(d²U / dx dp) dp,    H = d²U / dx²,
    d²E*  = (d²U / dp²) dp dp + (d²U / dp dx) dx* dp,

on the complement of rigid motions. H is indefinite at a saddle, so conjugate gradients have no
guarantee there: small systems are solved by eigenvectors, larger ones by MINRES (Paige and
Saunders, SIAM J. Numer. Anal. 12, 617 (1975), doi:10.1137/0712047). The gradient of an observable
q(x*) by all parameters needs one solution (adjoint): H y = dq/dx, dq/dp = -y d²U / dx dp.

The smallest |eigenvalue| of H is always reported; where it vanishes (a layer that slides freely)
the point has no derivative, and the status says so.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64
from scipy.sparse.linalg import LinearOperator, minres

from mlffjax.arrays import Array, Float, Int, PyTree
from mlffjax.errors import InputError
from mlffjax.graphs.graph import Graph
from mlffjax.pathways import surface as surfaces
from mlffjax.pathways.hessians import gradient
from mlffjax.pathways.saddle import Stationary
from mlffjax.pathways.sensitivity import TOLERANCE, strained
from mlffjax.pathways.surface import Surface, complement, curvature
from mlffjax.pathways.vibrations import products, softest
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import energies

DENSE = 450
"""Free coordinates up to which the Hessian is made and decomposed."""
FLAT = 1e-3
"""eV/Å²; an eigenvalue below leaves the point undetermined."""
SOLVED = 1e-6
"""Largest residual of a linear system, relative to its right side."""


class Status(StrEnum):
    """Whether a response can be believed."""

    SOLVED = "solved"
    DEGENERATE = "degenerate"  # an eigenvalue of the Hessian is zero
    NOT_SOLVED = "not_solved"  # the iteration did not come to its end


@dataclass(frozen=True)
class Response:
    """What one stationary point does while the potential and the strain change along a line.

    Numbers are per unit of the change. Those that need the Hessian's inverse are NaN unless the
    status is ``SOLVED``.
    """

    displacement: Float64[np.ndarray, "atoms 3"]  # beyond the strain itself, Å
    slope: float  # first derivative of the point's energy, eV
    curvature: float  # second derivative of the point's energy, eV
    smallest: float  # |eigenvalue| of the Hessian, eV/Å²
    status: Status


@dataclass(frozen=True)
class ObservableGradient:
    """Derivative of an observable of a stationary point's geometry by all parameters."""

    params: PyTree  # like the potential's; NaN unless the status is ``SOLVED``
    smallest: float  # |eigenvalue| of the Hessian, eV/Å²
    status: Status


def respond(
    potential: Potential,
    point: Stationary,
    *,
    change: PyTree | None = None,
    strain: Float64[np.ndarray, "3 3"] | None = None,
    tolerance: float = TOLERANCE,
    dense: int = DENSE,
) -> Response:
    """Move a stationary point along a direction in parameters and strain, to first order.

    The energies of two such points, saddle and minimum, have slopes and curvatures whose
    differences are those of the barrier.

    Args:
        potential: the one the point was refined with.
        point: from ``saddle``; any order.
        change: direction in the parameters, a tree like ``potential.params``; None for none.
        strain: symmetric, of cell and all atoms; None for none.
        tolerance: largest force for which the point passes for stationary, eV/Å.
        dense: free coordinates up to which the Hessian is decomposed; above, MINRES.

    Raises:
        InputError: the point is not stationary, or nothing changes.
        CompatibilityError: the potential has no second derivatives, or lacks an element.
        ConfigError: JAX is not set to 64 bits.
    """
    if change is None and strain is None:
        raise InputError("expected a change of the parameters, a strain or both, got neither")
    surface, graph = _prepare(potential, point, tolerance)
    params = surface.potential.params
    direction = _Direction(
        jax.tree.map(jnp.zeros_like, params) if change is None else _like(change, params),
        jnp.zeros((3, 3)) if strain is None else jnp.asarray(strain, float),
    )
    mixed, first, second = _forcing(surface.potential, graph, surface.free, direction)
    mixed = np.asarray(mixed).reshape(-1)
    move, smallest, status = _solve(surface, point, -mixed, dense)
    displacement = np.zeros_like(point.system.positions)
    displacement[surface.free] = move.reshape(-1, 3)
    return Response(
        displacement=displacement,
        slope=float(first),
        curvature=float(second) + float(mixed @ move),
        smallest=smallest,
        status=status,
    )


def observable_gradient(
    potential: Potential,
    point: Stationary,
    derivative: Float64[np.ndarray, "atoms 3"],
    *,
    tolerance: float = TOLERANCE,
    dense: int = DENSE,
) -> ObservableGradient:
    """Gradient by all parameters of an observable of the relaxed positions.

    Args:
        potential: the one the point was refined with.
        point: from ``saddle``; any order.
        derivative: of the observable by the positions, unit of the observable per Å. Parts along
            rigid motions do not count.
        tolerance: largest force for which the point passes for stationary, eV/Å.
        dense: free coordinates up to which the Hessian is decomposed; above, MINRES.

    Raises:
        InputError: the point is not stationary, or the derivative has another shape.
        CompatibilityError: the potential has no second derivatives, or lacks an element.
        ConfigError: JAX is not set to 64 bits.
    """
    derivative = np.asarray(derivative, float)
    if derivative.shape != point.system.positions.shape:
        raise InputError(
            f"expected a derivative by {point.system.positions.shape} positions, got shape "
            f"{derivative.shape}"
        )
    surface, graph = _prepare(potential, point, tolerance)
    right = derivative[surface.free].reshape(-1)
    adjoint, smallest, status = _solve(surface, point, right, dense)
    found = _contract(surface.potential, graph, surface.free, adjoint.reshape(-1, 3))
    return ObservableGradient(found, smallest, status)


class _Direction(NamedTuple):
    params: PyTree
    strain: Float[Array, "3 3"]


@jax.jit
def _forcing(
    potential: Potential, graph: Graph, free: Int[Array, "free"], direction: _Direction
) -> tuple[Float[Array, "free 3"], Float[Array, ""], Float[Array, ""]]:
    """Derivatives along the direction: of the gradient, and first and second of the energy."""

    start = jnp.zeros((), graph.positions.dtype)
    unit = jnp.ones_like(start)

    def there(amount: Float[Array, ""]) -> tuple[Potential, Graph]:
        params = jax.tree.map(lambda p, d: p + amount * d, potential.params, direction.params)
        moved = strained(graph, amount * direction.strain)
        return dataclasses.replace(potential, params=params), moved

    def slopes(amount: Float[Array, ""]) -> Float[Array, "free 3"]:
        return gradient(*there(amount), free)[1]

    # Apart from the gradient: its own second derivative would be of third order, for nothing.
    def rate(amount: Float[Array, ""]) -> Float[Array, ""]:
        return jax.jvp(lambda amount: energies(*there(amount))[0], (amount,), (unit,))[1]

    first, second = jax.jvp(rate, (start,), (unit,))
    return jax.jvp(slopes, (start,), (unit,))[1], first, second


@jax.jit
def _contract(
    potential: Potential, graph: Graph, free: Int[Array, "free"], adjoint: Float[Array, "free 3"]
) -> PyTree:
    """Minus the gradient by parameters of the position gradient's component along a vector."""

    def component(params: PyTree) -> Float[Array, ""]:
        return -(
            gradient(dataclasses.replace(potential, params=params), graph, free)[1] * adjoint
        ).sum()

    return jax.grad(component)(potential.params)


def _prepare(potential: Potential, point: Stationary, tolerance: float) -> tuple[Surface, Graph]:
    """The surface of a point and its graph; the force is measured, not believed."""
    surface = surfaces.make(potential, point.system, fixed=point.fixed)
    _, slopes = surfaces.slope(surface, point.system.positions)
    residual = np.linalg.norm(slopes.reshape(-1, 3), axis=1).max()
    if not residual <= tolerance:
        raise InputError(
            f"expected a stationary point of this potential with forces below {tolerance:g} eV/Å, "
            f"got {residual:.3g} eV/Å; refine it with the same potential (pathways.saddle)"
        )
    return surface, jax.device_put(surfaces.graph_at(surface, point.system.positions))


def _solve(
    surface: Surface, point: Stationary, right: np.ndarray, dense: int
) -> tuple[np.ndarray, float, Status]:
    """The Hessian's inverse on a vector, without rigid motions; the smallest |eigenvalue|."""
    positions = point.system.positions
    motions = surfaces.rigid_motions(surface, positions)
    if len(right) <= dense:
        basis = complement(motions)
        values, vectors = np.linalg.eigh(basis.T @ curvature(surface, positions) @ basis)
        smallest = float(np.abs(values).min())
        if smallest >= FLAT:
            solution = basis @ (vectors @ ((vectors.T @ (basis.T @ right)) / values))
            return solution, smallest, Status.SOLVED
        return np.full_like(right, np.nan), smallest, Status.DEGENERATE
    multiply = products(surface, positions)
    smallest = _smallest(multiply, motions, point.order)
    if smallest < FLAT:
        return np.full_like(right, np.nan), smallest, Status.DEGENERATE
    return _iterate(multiply, motions, right, smallest)


def _smallest(
    multiply: Callable[[np.ndarray], np.ndarray], motions: np.ndarray, order: int
) -> float:
    """The smallest |eigenvalue|: of the lowest ones, since only ``order`` may be negative."""
    count = order + 1
    while True:
        values, _ = softest(multiply, motions, count)
        if values[-1] > 0:
            return float(np.abs(values).min())
        count *= 2


def _iterate(
    multiply: Callable[[np.ndarray], np.ndarray],
    motions: np.ndarray,
    right: np.ndarray,
    smallest: float,
) -> tuple[np.ndarray, float, Status]:
    size = len(right)

    def without(vector: np.ndarray) -> np.ndarray:
        return vector - motions.T @ (motions @ vector)

    def projected(vector: np.ndarray) -> np.ndarray:
        return without(multiply(without(np.reshape(vector, -1))))

    right = without(right)
    if not right.any():
        return np.zeros(size), smallest, Status.SOLVED
    operator = LinearOperator((size, size), matvec=projected, dtype=np.float64)  # pyright: ignore[reportCallIssue]
    # Its stopping rule compares with |H| |x| too, so ask for more than is needed.
    solution, _ = minres(operator, right, rtol=1e-3 * SOLVED, maxiter=10 * size)
    solution = without(solution)
    error = np.linalg.norm(projected(solution) - right) / np.linalg.norm(right)
    if error > SOLVED:
        return np.full(size, np.nan), smallest, Status.NOT_SOLVED
    return solution, smallest, Status.SOLVED


def _like(change: PyTree, params: PyTree) -> PyTree:
    if jax.tree.structure(change) != jax.tree.structure(params):
        raise InputError(
            f"expected a change with the tree of the parameters, {jax.tree.structure(params)}, "
            f"got {jax.tree.structure(change)}; use zeros for what stays"
        )
    return jax.tree.map(lambda d, p: jnp.asarray(d, p.dtype), change, params)
