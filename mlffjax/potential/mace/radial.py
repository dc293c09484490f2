"""Radial functions of the distance, and the envelope under which they vanish at the cutoff."""

from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np

from mlffjax.arrays import Array, Float
from mlffjax.potential.mace.config import MaceConfig


def envelope(scaled: Float[Array, "..."], power: int) -> Float[Array, "..."]:
    """Polynomial that falls from 1 to 0 with two vanishing derivatives at 1, and is 0 beyond.

    Equation (8) of arXiv:2003.03123.
    """
    p = float(power)
    value = (
        1
        - (p + 1) * (p + 2) / 2 * scaled**power
        + p * (p + 2) * scaled ** (power + 1)
        - p * (p + 1) / 2 * scaled ** (power + 2)
    )
    return jnp.where(scaled < 1, value, 0)


def radial_functions(
    argument: Float[Array, "..."],
    factor: Float[Array, "..."],
    constants: Mapping[str, Array],
    config: MaceConfig,
) -> Float[Array, "... radial"]:
    """Functions of a distance (Å) or of what a transform made of it, times a factor.

    Args:
        argument: what the functions are of.
        factor: multiplies all of them.
        constants: the potential's; see ``radial_constants``.
        config: says which functions.
    """
    return FUNCTIONS[config.radial_type](argument, factor, constants, config)


def radial_constants(config: MaceConfig, dtype: type = np.float64) -> dict[str, np.ndarray]:
    """Constants of the radial functions as a new model has them: frequencies or centres."""
    count = config.num_bessel
    if config.radial_type == "bessel":
        degrees = np.arange(1, count + 1, dtype=dtype)
        return {"bessel_frequencies": degrees * dtype(np.pi / config.r_max)}
    if config.radial_type == "gaussian":
        return {"gaussian_centers": np.linspace(0, config.r_max, count, dtype=dtype)}
    return {}


def _bessel(argument: Array, factor: Array, constants: Mapping, config: MaceConfig) -> Array:
    """sqrt(2 / r_max) sin(w r) / r; equation (7) of arXiv:2003.03123."""
    frequencies = constants["bessel_frequencies"]
    factor = (2 / config.r_max) ** 0.5 * factor / argument
    return jnp.sin(argument[..., None] * frequencies) * factor[..., None]


def _gaussian(argument: Array, factor: Array, constants: Mapping, config: MaceConfig) -> Array:
    """exp(-(r - centre)^2 / 2 s^2), s the spacing of evenly spaced centres."""
    spacing = config.r_max / (config.num_bessel - 1)
    offsets = argument[..., None] - constants["gaussian_centers"]
    return jnp.exp(-0.5 / spacing**2 * offsets**2) * factor[..., None]


def _chebyshev(argument: Array, factor: Array, constants: Mapping, config: MaceConfig) -> Array:
    """Chebyshev polynomials of the first kind, degrees 1 to the number of functions."""
    del constants
    # They grow fast where the envelope is zero: beyond the cutoff it would meet an infinity.
    x = jnp.minimum(argument, config.r_max)
    values = [jnp.ones_like(x), x]
    for _ in range(config.num_bessel - 1):
        values.append(2 * x * values[-1] - values[-2])
    return jnp.stack(values[1:], axis=-1) * factor[..., None]


FUNCTIONS: dict[str, Callable[[Array, Array, Mapping, MaceConfig], Array]] = {
    "bessel": _bessel,
    "gaussian": _gaussian,
    "chebyshev": _chebyshev,
}
