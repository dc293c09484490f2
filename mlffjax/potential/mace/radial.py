"""Radial part: Bessel functions under a polynomial envelope, and the MLP that mixes them."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp

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


def bessel_functions(
    distance: Float[Array, "..."], frequencies: Float[Array, "radial"], config: MaceConfig
) -> Float[Array, "... radial"]:
    """sqrt(2 / r_max) sin(w r) / r under the envelope; equation (7) of arXiv:2003.03123."""
    cut = envelope(distance / config.r_max, config.num_polynomial_cutoff)
    factor = (2 / config.r_max) ** 0.5 * cut / distance
    return jnp.sin(distance[..., None] * frequencies) * factor[..., None]


class RadialMlp(nn.Module):
    """Multi-layer perceptron without biases: zero beyond the cutoff stays zero."""

    inputs: int
    widths: tuple[int, ...]
    outputs: int

    def setup(self) -> None:
        """Declare the weights."""
        sizes = (self.inputs, *self.widths, self.outputs)
        self.weights = [
            self.param(f"layer_{k}", nn.initializers.ones, shape)
            for k, shape in enumerate(itertools.pairwise(sizes))
        ]

    def fold(self) -> list[Float[Array, "fan_in fan_out"]]:
        """Weight matrices with their normalisations; the last one is linear."""
        return [w / w.shape[0] ** 0.5 for w in self.weights]


def hidden_features(
    features: Float[Array, "... radial"], folded: list[Array], activation_scale: float
) -> Float[Array, "... width"]:
    """Output of the last hidden layer of a folded MLP, before its final linear map."""
    for weight in folded[:-1]:
        features = jax.nn.silu(features @ weight) * activation_scale
    return features
