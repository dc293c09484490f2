"""One step of a search for a minimum or a saddle: rational functions along eigenvectors.

The energy is modelled by a quadratic form divided by 1 + |step|². Along one eigenvector the model
is maximised (saddle), along all others minimised, each part with its own shift:

    step_i = -g_i / (b_i - shift),    shift = sum_i g_i² / (shift - b_i),

the lowest root for the minimised part, the highest for the maximised one. Banerjee, Adams, Simons
and Shepard, J. Phys. Chem. 89, 52 (1985), doi:10.1021/j100247a015. Between exact Hessians, the one
at hand is updated after Bofill, J. Comput. Chem. 15, 1 (1994), doi:10.1002/jcc.540150102, which
keeps negative eigenvalues. Pure NumPy.
"""

import numpy as np
from jaxtyping import Float64

TINY = 1e-14
"""Squared lengths, relative, below which an update would divide noise by noise."""


def step(
    curvatures: Float64[np.ndarray, " modes"],
    slopes: Float64[np.ndarray, " modes"],
    *,
    uphill: int | None,
    radius: float,
) -> Float64[np.ndarray, " modes"]:
    """The step in the coordinates of the eigenvectors, Å, no longer than ``radius``.

    Args:
        curvatures: eigenvalues of the Hessian, eV/Å².
        slopes: gradient along the eigenvectors, eV/Å.
        uphill: number of the eigenvector to climb along; None for a minimum.
        radius: Å.
    """
    result = np.zeros_like(slopes)
    downhill = np.ones(len(slopes), bool)
    if uphill is not None:
        downhill[uphill] = False
        b, g = curvatures[uphill], slopes[uphill]
        shift = (b + np.hypot(b, 2 * g)) / 2
        result[uphill] = -g / (b - shift) if g else 0.0
    result[downhill] = _descent(curvatures[downhill], slopes[downhill])
    length = np.linalg.norm(result)
    return result * min(1.0, radius / length) if length > 0 else result


def updated(
    hessian: Float64[np.ndarray, "n n"],
    move: Float64[np.ndarray, " n"],
    change: Float64[np.ndarray, " n"],
) -> Float64[np.ndarray, "n n"]:
    """The Hessian after a move, Å, that changed the gradient by ``change``, eV/Å."""
    error = change - hessian @ move
    squared, along = move @ move, move @ error
    if error @ error <= TINY * (change @ change) or squared == 0:
        return hessian
    powell = (np.outer(error, move) + np.outer(move, error)) / squared
    powell -= along * np.outer(move, move) / squared**2
    share = along**2 / (squared * (error @ error))
    if share <= TINY:
        return hessian + powell
    return hessian + share * np.outer(error, error) / along + (1 - share) * powell


def _descent(curvatures: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Along every eigenvector downhill, whatever the sign of its curvature."""
    active = slopes != 0
    if not active.any():
        return np.zeros_like(slopes)
    b, g = curvatures[active], slopes[active]
    augmented = np.block([[np.diag(b), g[:, None]], [g[None], np.zeros((1, 1))]])
    shift = np.linalg.eigvalsh(augmented)[0]
    result = np.zeros_like(slopes)
    # Interlacing puts the shift below all b; rounding must not put it upon one.
    result[active] = -g / np.maximum(b - shift, np.finfo(float).tiny + abs(shift) * 1e-15)
    return result
