"""Between the product basis of mace-torch, which is ours, and that of mace-jax.

Both contract the same features to the same irreps, with other polynomials for a basis. Either
basis is evaluated at random points; the map between the weights is the solution of a linear system,
exact to rounding. mace-torch's basis is larger than the space it spans: on the way from mace-jax
the smallest weights that give the same function are taken.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mlffjax.errors import CompatibilityError
from mlffjax.potential.mace.contraction import coupled_basis
from mlffjax.potential.mace.irreps import Layout

POINTS = 2.0
"""Equations per unknown weight."""
TOLERANCE = 1e-9
"""Largest deviation of functions of order one; rounding gives some 1e-12."""


@functools.cache
def to_mace_jax(target: Layout, hidden: Layout, correlation: int, reduced: bool) -> np.ndarray:
    """Matrix [their weights, our weights] for the contraction of one element and channel.

    Our weights come in mace-torch's order: irreps out, and for each the degrees descending.
    """
    theirs, ours = _designs(target, hidden, correlation, reduced)
    return _solve(theirs, ours)


@functools.cache
def from_mace_jax(target: Layout, hidden: Layout, correlation: int, reduced: bool) -> np.ndarray:
    """Matrix [our weights, their weights]; see ``to_mace_jax``."""
    theirs, ours = _designs(target, hidden, correlation, reduced)
    return _solve(ours, theirs)


def degrees(target: Layout, hidden: Layout, correlation: int) -> list[tuple[int, int, int]]:
    """(irrep out, degree, number of weights) of our weights, in mace-torch's order."""
    return [
        (index, degree, paths)
        for index, ir in enumerate(hidden)
        for degree in range(correlation, 0, -1)
        if (paths := coupled_basis(target, ir, degree).mixing.shape[1])
    ]


def _solve(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    solution = np.linalg.lstsq(known, wanted, rcond=1e-10)[0]
    solution += np.linalg.lstsq(known, wanted - known @ solution, rcond=1e-10)[0]
    if (error := np.abs(known @ solution - wanted).max(initial=0)) > TOLERANCE:
        raise CompatibilityError(
            f"the product bases of mace-jax and mace-torch span different functions (by {error:.1e}"
            "); the installed mace-jax is not the one this package knows"
        )
    return solution


@functools.cache
def _designs(
    target: Layout, hidden: Layout, correlation: int, reduced: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Values [points and components, weights] of either basis, normalised by its largest entry."""
    count = sum(paths for _, _, paths in degrees(target, hidden, correlation))
    # One component has as many equations as there are points.
    points = np.random.default_rng(0).normal(size=(int(POINTS * count) + 8, target.dim))
    return (
        _theirs(points, target, hidden, correlation, reduced),
        _ours(points, target, hidden, correlation),
    )


def _ours(points: np.ndarray, target: Layout, hidden: Layout, correlation: int) -> np.ndarray:
    columns = []
    for index, degree, paths in degrees(target, hidden, correlation):
        basis = coupled_basis(target, hidden.irreps[index], degree)
        monomials = points[:, basis.monomials].prod(axis=2)
        values = np.zeros((len(points), hidden.dim, paths))
        rows = hidden.slices[index]
        values[:, rows] = np.einsum("bn,cnr,rp->bcp", monomials, basis.independent, basis.mixing)
        columns.append(values.reshape(-1, paths))
    return np.concatenate(columns, axis=1)


def _theirs(
    points: np.ndarray, target: Layout, hidden: Layout, correlation: int, reduced: bool
) -> np.ndarray:
    """All basis functions at once: as many channels, each with another unit weight."""
    from e3nn_jax import Irreps
    from mace_jax.adapters.cuequivariance.symmetric_contraction import (  # pyright: ignore[reportMissingImports]
        SymmetricContraction,
    )

    def made(channels: int) -> Any:
        return SymmetricContraction(
            Irreps("+".join(f"{channels}x{ir}" for ir in target)),
            Irreps("+".join(f"{channels}x{ir}" for ir in hidden)),
            correlation,
            1,
            use_reduced_cg=reduced,
            rngs=nnx.Rngs(0),
        )

    with jax.ensure_compile_time_eval(), jax.enable_x64(True):  # in this thread only
        count = made(1).weight.get_value().shape[1]
        module = made(count)
        module.weight.set_value(jnp.eye(count)[None])
        features = np.repeat(points[:, None], count, axis=1)
        found = np.asarray(module(jnp.asarray(features), jnp.ones((len(points), 1))))
    parts, first = [], 0
    for ir in hidden:  # [points, channels, components] of one irrep after the other
        block = found[:, first : first + count * ir.dim].reshape(len(points), count, ir.dim)
        parts.append(block.swapaxes(1, 2))
        first += count * ir.dim
    return np.concatenate(parts, axis=1).reshape(-1, count)
