"""The aliases annotate jax arrays and can be checked at run time."""

import beartype
import jax
import jax.numpy as jnp
import jaxtyping
import pytest

from mlffjax.arrays import Array, Float, PRNGKey


@jaxtyping.jaxtyped(typechecker=beartype.beartype)
def noise(positions: Float[Array, "atoms 3"], *, key: PRNGKey) -> Float[Array, "atoms 3"]:
    return positions + jax.random.normal(key, positions.shape)


def test_shapes_and_keys_are_checked():
    key = jax.random.key(0)
    assert noise(jnp.zeros((4, 3)), key=key).shape == (4, 3)
    with pytest.raises(jaxtyping.TypeCheckError):
        noise(jnp.zeros((4, 2)), key=key)
